package bench;

import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * The job per (run, metric): open windows by their start, a timer for each.
 *
 * <p>Flink does not checkpoint watermarks: after a restore they begin at minus infinity, and a late row read before all
 * partitions have moved them would open its closed window again. So the greatest watermark that was acted upon is kept as
 * operator state and is the least one that counts.
 */
final class Windows extends KeyedProcessFunction<String, Row, Out>
        implements CheckpointedFunction, CheckpointListener {
    private static final long WINDOW_MS = 10_000;

    private final int windowId;
    private final int deadLetterId;
    private final int lateId;
    private final boolean storeEveryRow;
    private final Progress progress;

    private transient Frame frame;
    private transient Out out;
    private transient MapState<Long, Sums> windows;
    private transient ListState<Long> storedClock;
    private transient long clockMs;

    /**
     * @param storeEveryRow false for the store on the heap: it hands out the live object (and copies it first where a
     *     snapshot still reads it), so that a changed one need not be put back.
     */
    Windows(int windowId, int deadLetterId, int lateId, boolean storeEveryRow, Progress progress) {
        this.windowId = windowId;
        this.deadLetterId = deadLetterId;
        this.lateId = lateId;
        this.storeEveryRow = storeEveryRow;
        this.progress = progress;
    }

    @Override
    public void initializeState(FunctionInitializationContext context) throws Exception {
        storedClock = context.getOperatorStateStore()
                .getUnionListState(new ListStateDescriptor<>("clock", LongSerializer.INSTANCE));
        clockMs = Long.MIN_VALUE;
        for (long stored : storedClock.get()) {
            clockMs = Math.max(clockMs, stored);
        }
        progress.restore(context);
    }

    @Override
    public void snapshotState(FunctionSnapshotContext context) throws Exception {
        storedClock.clear();
        storedClock.add(clockMs);
        progress.snapshot(context.getCheckpointId());
    }

    @Override
    public void notifyCheckpointComplete(long checkpointId) {
        progress.commit(checkpointId);
    }

    @Override
    public void close() {
        progress.close();
    }

    @Override
    public void open(OpenContext context) {
        progress.open();
        frame = new Frame();
        out = new Out();
        windows = getRuntimeContext().getMapState(
                new MapStateDescriptor<>("windows", LongSerializer.INSTANCE, Sums.Serializer.INSTANCE));
    }

    @Override
    public void processElement(Row row, Context context, Collector<Out> output) throws Exception {
        progress.seen(row);
        if (row.error != null) {
            source(deadLetterId, row).bytes(row.error.getBytes(StandardCharsets.ISO_8859_1)).bytes(row.payload);
            output.collect(out.set(Out.DLQ, row.inputKey, frame.end()));
            return;
        }
        clockMs = Math.max(clockMs, context.timerService().currentWatermark());
        long start = row.eventMs - row.eventMs % WINDOW_MS;
        long lastMs = start + WINDOW_MS - 1;
        if (lastMs <= clockMs) {
            byte[] group = row.group.getBytes(StandardCharsets.ISO_8859_1);
            int separator = row.group.indexOf(0);
            source(lateId, row).bytes(group, 0, separator).bytes(group, separator + 1, group.length)
                    .longValue(row.step).longValue(row.eventMs);
            output.collect(out.set(Out.LATE, key(row.group, separator), frame.end()));
            return;
        }
        Sums sums = windows.get(start);
        boolean store = storeEveryRow;
        if (sums == null) {
            sums = new Sums();
            context.timerService().registerEventTimeTimer(lastMs);
            store = true;
        }
        sums.add(row);
        if (store) {
            windows.put(start, sums);
        }
    }

    @Override
    public void onTimer(long lastMs, OnTimerContext context, Collector<Out> output) throws Exception {
        clockMs = Math.max(clockMs, context.timerService().currentWatermark());
        long start = lastMs - WINDOW_MS + 1;
        Sums sums = windows.get(start);
        String name = context.getCurrentKey();
        byte[] group = name.getBytes(StandardCharsets.ISO_8859_1);
        int separator = name.indexOf(0);
        frame.begin(windowId).bytes(group, 0, separator).bytes(group, separator + 1, group.length)
                .longValue(start).longValue(sums.count)
                .doubleValue(sums.lossMin).doubleValue(sums.lossMax).doubleValue(sums.lossMean())
                .longValue(sums.lastStep);
        if (sums.hasSlope()) {
            frame.longValue(1).doubleValue(sums.slope());
        } else {
            frame.longValue(0);
        }
        output.collect(out.set(Out.WINDOWS, key(name, separator), frame.end()));
        windows.remove(start);
    }

    private Frame source(int schemaId, Row row) {
        return frame.begin(schemaId).longValue(row.partition).longValue(row.offset);
    }

    /** The input's key is the run. */
    private static byte[] key(String name, int separator) {
        return name.substring(0, separator).getBytes(StandardCharsets.ISO_8859_1);
    }
}
