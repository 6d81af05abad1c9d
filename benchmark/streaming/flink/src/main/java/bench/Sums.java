package bench;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * Sums of one (run, metric) in one window, stored as 96 bytes. Steps and logarithms are relative to the first row, so that
 * the least squares do not cancel.
 */
final class Sums {
    long count;
    double lossMin;
    double lossMax;
    private double lossSum;
    long lastStep;
    private long firstStep;
    private long leastStep;
    private double firstY;
    private double x;
    private double y;
    private double xx;
    private double xy;

    void add(Row row) {
        if (count == 0) {
            lossMin = lossMax = row.loss;
            lastStep = firstStep = leastStep = row.step;
            firstY = row.logPerplexity;
        }
        count++;
        lossMin = Math.min(lossMin, row.loss);
        lossMax = Math.max(lossMax, row.loss);
        lossSum += row.loss;
        lastStep = Math.max(lastStep, row.step);
        leastStep = Math.min(leastStep, row.step);
        double dx = row.step - firstStep;
        double dy = row.logPerplexity - firstY;
        x += dx;
        y += dy;
        xx += dx * dx;
        xy += dx * dy;
    }

    double lossMean() {
        return lossSum / count;
    }

    boolean hasSlope() {
        return leastStep < lastStep;
    }

    double slope() {
        return (count * xy - x * y) / (count * xx - x * x);
    }

    /** By hand: Flink's POJO serializer goes through reflection for every field. */
    static final class Serializer extends TypeSerializerSingleton<Sums> {
        static final Serializer INSTANCE = new Serializer();

        @Override
        public boolean isImmutableType() {
            return false;
        }

        @Override
        public Sums createInstance() {
            return new Sums();
        }

        @Override
        public Sums copy(Sums from) {
            return copy(from, new Sums());
        }

        @Override
        public Sums copy(Sums from, Sums to) {
            to.count = from.count;
            to.lossMin = from.lossMin;
            to.lossMax = from.lossMax;
            to.lossSum = from.lossSum;
            to.lastStep = from.lastStep;
            to.firstStep = from.firstStep;
            to.leastStep = from.leastStep;
            to.firstY = from.firstY;
            to.x = from.x;
            to.y = from.y;
            to.xx = from.xx;
            to.xy = from.xy;
            return to;
        }

        @Override
        public int getLength() {
            return 12 * 8;
        }

        @Override
        public void serialize(Sums s, DataOutputView out) throws IOException {
            out.writeLong(s.count);
            out.writeDouble(s.lossMin);
            out.writeDouble(s.lossMax);
            out.writeDouble(s.lossSum);
            out.writeLong(s.lastStep);
            out.writeLong(s.firstStep);
            out.writeLong(s.leastStep);
            out.writeDouble(s.firstY);
            out.writeDouble(s.x);
            out.writeDouble(s.y);
            out.writeDouble(s.xx);
            out.writeDouble(s.xy);
        }

        @Override
        public Sums deserialize(DataInputView in) throws IOException {
            return deserialize(new Sums(), in);
        }

        @Override
        public Sums deserialize(Sums s, DataInputView in) throws IOException {
            s.count = in.readLong();
            s.lossMin = in.readDouble();
            s.lossMax = in.readDouble();
            s.lossSum = in.readDouble();
            s.lastStep = in.readLong();
            s.firstStep = in.readLong();
            s.leastStep = in.readLong();
            s.firstY = in.readDouble();
            s.x = in.readDouble();
            s.y = in.readDouble();
            s.xx = in.readDouble();
            s.xy = in.readDouble();
            return s;
        }

        @Override
        public void copy(DataInputView from, DataOutputView to) throws IOException {
            to.write(from, getLength());
        }

        @Override
        public TypeSerializerSnapshot<Sums> snapshotConfiguration() {
            return new Snapshot();
        }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Sums> {
            public Snapshot() {
                super(() -> INSTANCE);
            }
        }
    }
}
