package bench;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** A loop by hand over kafka-clients: one thread that polls, computes and sends. */
public final class Loop {
    public static void main(String[] arguments) {
        String bootstrap = arguments[0], topic = arguments[1], output = arguments[2];
        Map<String, Object> reads = new HashMap<>();
        reads.put("bootstrap.servers", bootstrap);
        reads.put("group.id", output);
        reads.put("enable.auto.commit", false);
        reads.put("max.poll.records", 10_000);
        reads.put("fetch.max.wait.ms", 10);
        reads.put("receive.buffer.bytes", 1 << 20);
        Map<String, Object> writes = new HashMap<>();
        writes.put("bootstrap.servers", bootstrap);
        writes.put("linger.ms", 5);
        writes.put("batch.size", 512 << 10);
        writes.put("buffer.memory", 256L << 20);
        Map<String, Ewma.State> states = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
                        reads, new ByteArrayDeserializer(), new ByteArrayDeserializer());
                KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(
                        writes, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (PartitionInfo one : consumer.partitionsFor(topic)) {
                partitions.add(new TopicPartition(topic, one.partition()));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (true) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    Ewma.Reading reading = Ewma.read(record.value());
                    Ewma.State state =
                            states.computeIfAbsent(reading.series_id, id -> new Ewma.State());
                    double ewma = state.step(reading.value);
                    byte[] event = Ewma.write(reading.series_id, reading.ts, reading.value, ewma);
                    producer.send(new ProducerRecord<>(output, record.key(), event));
                }
            }
        }
    }

    private Loop() {}
}
