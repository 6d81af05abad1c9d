package bench;

import java.io.Serializable;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/**
 * Tells the consumer group how far the last complete checkpoint has come. It is for the harness alone: Flink restarts from
 * its checkpoint. KafkaSource would do the same, but its fetcher sends the commit only when its poll returns, which takes
 * 10 s (a constant) once there is nothing left to read: every drain would seem to last that much longer. One subtask only.
 */
final class Progress implements Serializable {
    private final String brokers;
    private final String group;
    private final String topic;

    private transient Admin admin;
    /** next offset by partition */
    private transient long[] next;
    private transient TreeMap<Long, long[]> taken;
    private transient ListState<Long> stored;

    Progress(String brokers, String group, String topic) {
        this.brokers = brokers;
        this.group = group;
        this.topic = topic;
    }

    void open() {
        Properties p = new Properties();
        p.put(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        admin = Admin.create(p);
    }

    void restore(FunctionInitializationContext context) throws Exception {
        stored = context.getOperatorStateStore()
                .getListState(new ListStateDescriptor<>("next offsets", LongSerializer.INSTANCE));
        next = new long[0];
        for (long offset : stored.get()) {
            next = Arrays.copyOf(next, next.length + 1);
            next[next.length - 1] = offset;
        }
        taken = new TreeMap<>();
    }

    void seen(Row row) {
        if (row.partition >= next.length) {
            next = Arrays.copyOf(next, row.partition + 1);
        }
        next[row.partition] = row.offset + 1;
    }

    void snapshot(long checkpointId) throws Exception {
        stored.clear();
        for (long offset : next) {
            stored.add(offset);
        }
        taken.put(checkpointId, next.clone());
    }

    void commit(long checkpointId) {
        long[] done = taken.get(checkpointId);
        taken.headMap(checkpointId, true).clear();
        if (done == null) {
            return;
        }
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (int partition = 0; partition < done.length; partition++) {
            if (done[partition] > 0) {
                offsets.put(new TopicPartition(topic, partition), new OffsetAndMetadata(done[partition]));
            }
        }
        if (!offsets.isEmpty()) {
            // not waited for: a lost one is made good by the next
            admin.alterConsumerGroupOffsets(group, offsets);
        }
    }

    void close() {
        if (admin != null) {
            admin.close(Duration.ZERO);
        }
    }
}
