package bench;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * One input row, decoded by hand and normalised; {@code error} is set where that was not possible. One instance is reused
 * for all rows (object reuse), and it is a Flink POJO so that the variant with a hash exchange can ship it.
 */
public final class Row {
    static final VarHandle DOUBLE = MethodHandles.byteArrayViewVarHandle(double[].class, ByteOrder.LITTLE_ENDIAN);
    private static final long MICROSECONDS_FROM = 100_000_000_000_000L;

    public String error;
    /** run, 0, canonical metric, one character a byte; empty in a bad row */
    public String group = "";
    public long step;
    public long eventMs;
    public double loss;
    public double logPerplexity;
    public int partition;
    public long offset;
    /** the input's key and value, in a bad row only */
    public byte[] inputKey;
    public byte[] payload;

    private transient byte[] p;
    private transient int at;
    private transient byte[] scratch;

    void read(ConsumerRecord<byte[], byte[]> record, int schemaId) {
        partition = record.partition();
        offset = record.offset();
        p = record.value();
        error = read(schemaId);
        boolean bad = error != null;
        inputKey = bad ? record.key() : null;
        payload = bad ? p : null;
        if (bad) {
            group = "";
        }
    }

    private String read(int schemaId) {
        if (p.length < 5 || p[0] != 0
                || ((p[1] & 255) << 24 | (p[2] & 255) << 16 | (p[3] & 255) << 8 | p[4] & 255) != schemaId) {
            return "frame";
        }
        at = 5;
        try {
            int runLength = length();
            int run = at;
            at += runLength;
            int hostLength = length();
            at += hostLength;
            int metricLength = length();
            int metric = at;
            at += metricLength;
            step = longValue();
            long tokens = longValue();
            eventMs = longValue();
            loss = doubleValue();
            long branch = longValue();
            if (branch != 0 && branch != 1) {
                return "decode";
            }
            double perplexity = branch == 1 ? doubleValue() : Double.NaN;
            double learningRate = doubleValue();
            double gradNorm = doubleValue();
            if (at != p.length) {
                return "decode";
            }
            boolean valid = runLength > 0 && step >= 0 && tokens >= 0 && eventMs > 0
                    && loss >= 0 && loss <= 100
                    && (branch == 0 || perplexity >= 1 && perplexity < Double.POSITIVE_INFINITY)
                    && learningRate >= 0 && learningRate < Double.POSITIVE_INFINITY
                    && gradNorm >= 0 && gradNorm < Double.POSITIVE_INFINITY;
            if (!valid || !name(run, runLength, metric, metricLength)) {
                return "invalid";
            }
            if (eventMs >= MICROSECONDS_FROM) {
                eventMs /= 1000;
            }
            // a missing perplexity is exp(loss), so its logarithm is the loss
            logPerplexity = branch == 0 ? loss : Math.log(perplexity);
            return null;
        } catch (IndexOutOfBoundsException | IllegalArgumentException e) {
            return "decode";
        }
    }

    /** Sets the group's name; false if nothing is left of the metric. */
    private boolean name(int run, int runLength, int metric, int metricLength) {
        int to = metric + metricLength;
        while (metric < to && p[metric] == ' ') {
            metric++;
        }
        while (to > metric && p[to - 1] == ' ') {
            to--;
        }
        int length = runLength + 1 + to - metric;
        if (scratch == null || scratch.length < length) {
            scratch = new byte[2 * length];
        }
        System.arraycopy(p, run, scratch, 0, runLength);
        int i = runLength;
        scratch[i++] = 0;
        for (; metric < to; metric++) {
            byte b = p[metric];
            if (b == '/' || b == '.' || b == '-' || b == ' ') {
                b = '_';
            } else if (b >= 'A' && b <= 'Z') {
                b += 32;
            }
            scratch[i++] = b;
        }
        group = new String(scratch, 0, length, StandardCharsets.ISO_8859_1);
        return i > runLength + 1;
    }

    private long longValue() {
        long value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            byte b = p[at++];
            value |= (long) (b & 0x7f) << shift;
            if (b >= 0) {
                return value >>> 1 ^ -(value & 1);
            }
        }
        throw new IllegalArgumentException("varint");
    }

    private double doubleValue() {
        double value = (double) DOUBLE.get(p, at);
        at += 8;
        return value;
    }

    private int length() {
        long length = longValue();
        if (length < 0 || length > p.length - at) {
            throw new IllegalArgumentException("length");
        }
        return (int) length;
    }
}
