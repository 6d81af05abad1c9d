package bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceOptions;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.RecoveryClaimMode;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerConfig;

/**
 * Flink 2.2 in one JVM (its local cluster). STORE=memory (default) or rocksdb; TXN=pooling (default) or incrementing names of
 * transactions; EXCHANGE=none (default) or hash.
 *
 * <p>Everything is one chain on one task thread. The rows of a (run, metric) all come to the one subtask there is, so keying
 * them needs no exchange ({@code reinterpretAsKeyedStream}); EXCHANGE=hash is the plain {@code keyBy}, which serialises every
 * row to a second thread.
 *
 * <p><b>One instance only.</b> Flink does not share the partitions of a job by a consumer group: a second JVM would be a second
 * job that reads all partitions itself and writes everything twice (or, under the same transactional ids, fences the
 * first). Taking over is a matter of a cluster with high availability (ZooKeeper or Kubernetes), which this form lacks.
 * INSTANCE other than 0 therefore ends at once, and {@code kill --second} and {@code pause} are "cannot", not "pass".
 */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        if (!text("INSTANCE").equals("0")) {
            System.err.println("Flink in one JVM has no second instance: see bench.Main");
            System.exit(64);
        }
        boolean rocksdb = option("STORE", "memory").equals("rocksdb");
        Path state = Path.of(text("STATE_DIR"));
        StreamExecutionEnvironment env =
                StreamExecutionEnvironment.createLocalEnvironment(1, configuration(state, rocksdb));

        int schemaId = number("TELEMETRY_ID");
        KafkaSource<Row> source = KafkaSource.<Row>builder()
                .setBootstrapServers(text("BROKERS"))
                .setGroupId(text("APP_ID"))
                .setTopics(text("INPUT"))
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new Rows(schemaId))
                .setProperty(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed")
                .setProperty(ConsumerConfig.FETCH_MIN_BYTES_CONFIG, "65536")
                .setProperty(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, "5000")
                // Alignment begins when every partition has a clock. Until then one fetch bounds how far they drift; with the
                // default of 1 MiB that was up to 9 minutes of a set of 1 M rows (of one of 10 M a tenth of it).
                .setProperty(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, "262144")
                .setProperty(KafkaSourceOptions.COMMIT_OFFSETS_ON_CHECKPOINT.key(), "false") // see Progress
                .build();
        // The partitions differ in size; without alignment a drain would run through the small ones first. How far they may
        // drift is 60 s; how often that is looked at (by default every second) must suit a drain, in which 60 s of a set of
        // 10 M rows last less than half a second.
        WatermarkStrategy<Row> clock = WatermarkStrategy.<Row>forGenerator(context -> new Clock())
                .withTimestampAssigner((row, timestamp) -> row.error == null ? row.eventMs : Long.MIN_VALUE)
                .withWatermarkAlignment("rows", Duration.ofSeconds(60), Duration.ofMillis(50));
        DataStream<Row> rows = env.fromSource(source, clock, "rows").uid("rows");

        KeyedStream<Row, String> groups = option("EXCHANGE", "none").equals("hash")
                ? rows.keyBy(row -> row.group, Types.STRING)
                : DataStreamUtils.reinterpretAsKeyedStream(rows, row -> row.group, Types.STRING);

        Properties producer = new Properties();
        producer.setProperty(ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4");
        producer.setProperty(ProducerConfig.LINGER_MS_CONFIG, "20");
        producer.setProperty(ProducerConfig.BATCH_SIZE_CONFIG, "262144");
        producer.setProperty(ProducerConfig.ACKS_CONFIG, "all");
        // the sink's default is an hour, a broker's greatest allowed value 15 minutes
        producer.setProperty(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, "900000");
        KafkaSink<Out> sink = KafkaSink.<Out>builder()
                .setBootstrapServers(text("BROKERS"))
                .setKafkaProducerConfig(producer)
                .setRecordSerializer(new Out.Serializer(text("WINDOWS"), text("DLQ"), text("LATE")))
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(text("APP_ID") + ".out")
                .setTransactionNamingStrategy(
                        TransactionNamingStrategy.valueOf(option("TXN", "pooling").toUpperCase()))
                .build();
        Progress progress = new Progress(text("BROKERS"), text("APP_ID"), text("INPUT"));
        groups.process(new Windows(
                        number("WINDOW_ID"), number("DEAD_LETTER_ID"), number("LATE_ID"), rocksdb, progress))
                .uid("windows").name("windows")
                .sinkTo(sink).uid("out").name("out");

        JobClient job = env.executeAsync(text("APP_ID"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(job)));
        job.getJobExecutionResult().get();
    }

    private static Configuration configuration(Path state, boolean rocksdb) throws IOException {
        Configuration c = new Configuration();
        c.set(PipelineOptions.OBJECT_REUSE, true);
        c.set(PipelineOptions.GENERIC_TYPES, false);
        c.set(CheckpointingOptions.CHECKPOINTING_CONSISTENCY_MODE, CheckpointingMode.EXACTLY_ONCE);
        c.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofMillis(number("COMMIT_MS")));
        c.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        Path checkpoints = Files.createDirectories(state.resolve("checkpoints"));
        c.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, checkpoints.toUri().toString());
        c.set(CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION,
                ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        c.set(StateBackendOptions.STATE_BACKEND, rocksdb ? "rocksdb" : "hashmap");
        c.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, rocksdb);
        c.set(TaskManagerOptions.NUM_TASK_SLOTS, 1);
        c.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(rocksdb ? 256 : 0));
        c.set(CoreOptions.TMP_DIRS, state.resolve("tmp").toString());
        // a restart goes on from the newest complete checkpoint, and takes it over so that it is deleted in its time
        newest(checkpoints).ifPresent(path -> {
            System.err.println("restoring " + path);
            c.set(StateRecoveryOptions.SAVEPOINT_PATH, path.toUri().toString());
            c.set(StateRecoveryOptions.RESTORE_MODE, RecoveryClaimMode.CLAIM);
        });
        return c;
    }

    /**
     * Checkpoints lie in JOB/chk-N. Numbers go on over restarts, and a checkpoint is complete with its file {@code _metadata},
     * which is renamed into place before any transaction of that checkpoint is committed.
     */
    private static Optional<Path> newest(Path checkpoints) throws IOException {
        try (Stream<Path> paths = Files.walk(checkpoints, 2)) {
            return paths.filter(path -> Files.exists(path.resolve("_metadata")))
                    .max(Comparator.comparingLong(path ->
                            Long.parseLong(path.getFileName().toString().substring("chk-".length()))));
        }
    }

    /** Open transactions are aborted by the sink as it closes; what they held is read again after the last checkpoint. */
    private static void stop(JobClient job) {
        int code = 0;
        try {
            job.cancel().get(15, TimeUnit.SECONDS);
            while (!job.getJobStatus().get(15, TimeUnit.SECONDS).isGloballyTerminalState()) {
                Thread.sleep(20);
            }
        } catch (Exception e) {
            e.printStackTrace();
            code = 1;
        }
        Runtime.getRuntime().halt(code);
    }

    /** Decodes into one reused row; nothing downstream keeps it. */
    private static final class Rows implements KafkaRecordDeserializationSchema<Row> {
        private final int schemaId;
        private transient Row row;

        Rows(int schemaId) {
            this.schemaId = schemaId;
        }

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Row> output) {
            if (row == null) {
                row = new Row();
            }
            row.read(record, schemaId);
            output.collect(row);
        }

        @Override
        public TypeInformation<Row> getProducedType() {
            return TypeInformation.of(Row.class);
        }
    }

    private static String option(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }

    private static String text(String name) {
        String value = System.getenv(name);
        if (value == null) {
            throw new IllegalStateException(name + " must be set");
        }
        return value;
    }

    private static int number(String name) {
        return Integer.parseInt(text(name));
    }
}
