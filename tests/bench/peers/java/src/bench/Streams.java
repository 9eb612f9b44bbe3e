package bench;

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Kafka Streams: the processor API with a store in memory, its changes logged; one thread. */
public final class Streams {
    private static final String STORE = "ewma";

    /** Keeps average and power of a series as 16 bytes. */
    private static final class Smooth implements Processor<String, byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, byte[]> store;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            this.store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, byte[]> record) {
            Ewma.Reading reading = Ewma.read(record.value());
            Ewma.State state = new Ewma.State();
            byte[] kept = store.get(reading.series_id);
            if (kept != null) {
                ByteBuffer buffer = ByteBuffer.wrap(kept);
                state.average = buffer.getDouble();
                state.power = buffer.getDouble();
            }
            double ewma = state.step(reading.value);
            byte[] keep = new byte[16];
            ByteBuffer.wrap(keep).putDouble(state.average).putDouble(state.power);
            store.put(reading.series_id, keep);
            context.forward(
                    record.withValue(
                            Ewma.write(reading.series_id, reading.ts, reading.value, ewma)));
        }
    }

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0], topic = arguments[1], output = arguments[2];
        Properties options = new Properties();
        options.put(StreamsConfig.APPLICATION_ID_CONFIG, output);
        options.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        options.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        options.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
        options.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 10_000);
        options.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        options.put(
                StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory("streams").toString());
        options.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        options.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        options.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 10);
        options.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        options.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 512 << 10);
        Topology topology = new Topology();
        topology.addSource("in", new StringDeserializer(), new ByteArrayDeserializer(), topic)
                .addProcessor("smooth", Smooth::new, "in")
                .addStateStore(
                        Stores.keyValueStoreBuilder(
                                        Stores.inMemoryKeyValueStore(STORE),
                                        Serdes.String(),
                                        Serdes.ByteArray())
                                .withCachingEnabled(),
                        "smooth")
                .addSink("out", output, new StringSerializer(), new ByteArraySerializer(), "smooth");
        KafkaStreams streams = new KafkaStreams(topology, options);
        CountDownLatch failed = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    Runtime.getRuntime().halt(1);
                    return null;
                });
        streams.start();
        failed.await();
    }

    private Streams() {}
}
