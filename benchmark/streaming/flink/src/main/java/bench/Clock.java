package bench;

import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;

/**
 * The clock of one partition: bounded disorder, like Flink's own, but said at every full second of event time and not only
 * at every 200 ms of wall time. In a drain those 200 ms are minutes of event time: windows would stay open longer, the
 * partitions could not be kept aligned, and a checkpoint between the last row and its watermark would lack the last windows.
 */
final class Clock implements WatermarkGenerator<Row> {
    private static final long DISORDER_MS = 10_000;
    private static final long EVERY_MS = 1000;

    private long greatestMs = Long.MIN_VALUE;
    private long saidMs = Long.MIN_VALUE;
    private long sayFromMs = Long.MIN_VALUE;

    @Override
    public void onEvent(Row row, long timestamp, WatermarkOutput output) {
        // a bad row must not move the clock
        if (row.error == null && row.eventMs > greatestMs) {
            greatestMs = row.eventMs;
            if (greatestMs >= sayFromMs) {
                onPeriodicEmit(output);
            }
        }
    }

    @Override
    public void onPeriodicEmit(WatermarkOutput output) {
        if (greatestMs > saidMs) {
            saidMs = greatestMs;
            sayFromMs = greatestMs - greatestMs % EVERY_MS + EVERY_MS;
            output.emitWatermark(new Watermark(greatestMs - DISORDER_MS - 1));
        }
    }
}
