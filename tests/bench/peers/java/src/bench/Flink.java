package bench;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Flink's mini-cluster: KafkaSource, a keyed process function on the heap, KafkaSink. */
public final class Flink {
    private static final TypeInformation<Tuple3<String, Long, Double>> READING =
            TypeInformation.of(new TypeHint<Tuple3<String, Long, Double>>() {});
    private static final TypeInformation<Tuple4<String, Long, Double, Double>> EVENT =
            TypeInformation.of(new TypeHint<Tuple4<String, Long, Double, Double>>() {});

    private static final class Read
            implements KafkaRecordDeserializationSchema<Tuple3<String, Long, Double>> {
        @Override
        public void deserialize(
                ConsumerRecord<byte[], byte[]> record,
                Collector<Tuple3<String, Long, Double>> out) {
            Ewma.Reading reading = Ewma.read(record.value());
            out.collect(Tuple3.of(reading.series_id, reading.ts, reading.value));
        }

        @Override
        public TypeInformation<Tuple3<String, Long, Double>> getProducedType() {
            return READING;
        }
    }

    private static final class Write
            implements KafkaRecordSerializationSchema<Tuple4<String, Long, Double, Double>> {
        private final String output;

        Write(String output) {
            this.output = output;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(
                Tuple4<String, Long, Double, Double> event,
                KafkaSinkContext context,
                Long timestamp) {
            byte[] key = event.f0.getBytes(java.nio.charset.StandardCharsets.UTF_8);
            return new ProducerRecord<>(
                    output, key, Ewma.write(event.f0, event.f1, event.f2, event.f3));
        }
    }

    private static final class Smooth
            extends KeyedProcessFunction<
                    String, Tuple3<String, Long, Double>, Tuple4<String, Long, Double, Double>> {
        private transient ValueState<Tuple2<Double, Double>> state;

        @Override
        public void open(OpenContext context) {
            state =
                    getRuntimeContext()
                            .getState(
                                    new ValueStateDescriptor<>(
                                            "ewma", Types.TUPLE(Types.DOUBLE, Types.DOUBLE)));
        }

        @Override
        public void processElement(
                Tuple3<String, Long, Double> reading,
                Context context,
                Collector<Tuple4<String, Long, Double, Double>> out)
                throws Exception {
            Tuple2<Double, Double> kept = state.value();
            Ewma.State now = new Ewma.State();
            if (kept != null) {
                now.average = kept.f0;
                now.power = kept.f1;
            }
            double ewma = now.step(reading.f2);
            state.update(Tuple2.of(now.average, now.power));
            out.collect(Tuple4.of(reading.f0, reading.f1, reading.f2, ewma));
        }
    }

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0], topic = arguments[1], output = arguments[2];
        Configuration options = new Configuration();
        options.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.createLocalEnvironment(1, options);
        environment.getConfig().enableObjectReuse();
        environment.enableCheckpointing(10_000);
        environment.setBufferTimeout(5);
        KafkaSource<Tuple3<String, Long, Double>> source =
                KafkaSource.<Tuple3<String, Long, Double>>builder()
                        .setBootstrapServers(bootstrap)
                        .setTopics(topic)
                        .setGroupId(output)
                        .setStartingOffsets(OffsetsInitializer.earliest())
                        .setDeserializer(new Read())
                        .setProperty("max.poll.records", "10000")
                        .setProperty("fetch.max.wait.ms", "10")
                        .build();
        KafkaSink<Tuple4<String, Long, Double, Double>> sink =
                KafkaSink.<Tuple4<String, Long, Double, Double>>builder()
                        .setBootstrapServers(bootstrap)
                        .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
                        .setProperty("linger.ms", "5")
                        .setProperty("batch.size", String.valueOf(512 << 10))
                        .setRecordSerializer(new Write(output))
                        .build();
        environment
                .fromSource(source, WatermarkStrategy.noWatermarks(), "in", READING)
                .keyBy(reading -> reading.f0)
                .process(new Smooth())
                .returns(EVENT)
                .sinkTo(sink);
        environment.execute("ewma");
    }

    private Flink() {}
}
