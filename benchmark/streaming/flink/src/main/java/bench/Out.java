package bench;

import java.util.List;
import java.util.Optional;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetIdentifier;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacetProvider;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;

/** One output row with its topic. All three kinds go through one sink: one transaction for a checkpoint instead of three. */
public final class Out {
    static final int WINDOWS = 0;
    static final int DLQ = 1;
    static final int LATE = 2;

    public int topic;
    public byte[] key;
    public byte[] value;

    Out set(int topic, byte[] key, byte[] value) {
        this.topic = topic;
        this.key = key;
        this.value = value;
        return this;
    }

    public Out() {}

    /** Names its topics, so that the sink can list (and abort) the transactions a predecessor left open on them. */
    static final class Serializer implements KafkaRecordSerializationSchema<Out>, KafkaDatasetFacetProvider {
        private final String[] topics;

        Serializer(String windows, String dlq, String late) {
            topics = new String[] {windows, dlq, late};
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(Out out, KafkaSinkContext context, Long timestamp) {
            return new ProducerRecord<>(topics[out.topic], out.key, out.value);
        }

        @Override
        public Optional<KafkaDatasetFacet> getKafkaDatasetFacet() {
            return Optional.of(new DefaultKafkaDatasetFacet(DefaultKafkaDatasetIdentifier.ofTopics(List.of(topics))));
        }
    }
}
