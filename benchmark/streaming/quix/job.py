"""The job itself: one input value and the state of its (run, metric) in, output rows out. Knows nothing of Kafka.

The state of a (run, metric) is a few bytes packed by hand: its clock, then 104 bytes for each open window. Steps and
logarithms are relative to a window's first row, so that the least squares do not cancel.
"""

import io
import math
import struct

from fastavro import schemaless_reader, schemaless_writer

WINDOW_MS = 10_000
DISORDER_MS = 10_000
MICROSECONDS_FROM = 100_000_000_000_000

CLOCK = struct.Struct("<q")
# start, count, min, max, sum, last step, first step, least step, first y, sums of x, y, xx, xy
SUMS = struct.Struct("<qqdddqqqddddd")

CANONICAL = str.maketrans("/.- ", "____")
INFINITY = math.inf
BROKEN = (EOFError, IndexError, ValueError, OverflowError, MemoryError, struct.error)


class Bad(Exception):
    """The row is a dead letter; the argument says why."""


def header(schema_id):
    return struct.pack(">bI", 0, schema_id)


def frame(prefix, schema, row):
    out = io.BytesIO(prefix)
    out.seek(len(prefix))
    schemaless_writer(out, schema, row)
    return out.getvalue()


def decode(value, prefix, schema):
    """Metric, step, time in ms, loss and ln(perplexity) of a valid row, and its run."""
    if value is None or value[:5] != prefix:
        raise Bad("frame")
    body = io.BytesIO(value)
    body.seek(5)
    try:
        row = schemaless_reader(body, schema, None)
    except BROKEN:
        raise Bad("decode") from None
    if body.tell() != len(value):
        raise Bad("decode")
    metric = row["metric"].strip(" ")
    step, loss, perplexity, event_ms = row["step"], row["loss"], row["perplexity"], row["event_time"]
    # written so that a NaN fails
    if not (
        row["run_id"]
        and metric
        and step >= 0
        and row["tokens"] >= 0
        and event_ms > 0
        and 0 <= loss <= 100
        and (perplexity is None or 1 <= perplexity < INFINITY)
        and 0 <= row["learning_rate"] < INFINITY
        and 0 <= row["grad_norm"] < INFINITY
    ):
        raise Bad("invalid")
    if event_ms >= MICROSECONDS_FROM:
        event_ms //= 1000
    # a missing perplexity is exp(loss), so its logarithm is the loss
    y = loss if perplexity is None else math.log(perplexity)
    return row["run_id"], metric.lower().translate(CANONICAL), step, event_ms, loss, y


def add(state, step, event_ms, loss, y):
    """Adds a row to the state of its (run, metric); the new state and the windows it closed, or None for a late row."""
    start = event_ms - event_ms % WINDOW_MS
    if state is None:
        packed = CLOCK.pack(event_ms) + SUMS.pack(start, 1, loss, loss, loss, step, step, step, y, 0.0, 0.0, 0.0, 0.0)
        return packed, ()
    (clock_ms,) = CLOCK.unpack_from(state)
    if start + WINDOW_MS <= clock_ms - DISORDER_MS:
        return None
    packed = bytearray(state)
    size = SUMS.size
    for at in range(CLOCK.size, len(packed), size):
        if CLOCK.unpack_from(packed, at)[0] == start:
            _, count, low, high, total, last, first, least, first_y, x, y_, xx, xy = SUMS.unpack_from(packed, at)
            dx, dy = float(step - first), y - first_y
            SUMS.pack_into(
                packed,
                at,
                start,
                count + 1,
                loss if loss < low else low,
                loss if loss > high else high,
                total + loss,
                step if step > last else last,
                first,
                step if step < least else least,
                first_y,
                x + dx,
                y_ + dy,
                xx + dx * dx,
                xy + dx * dy,
            )
            break
    else:
        packed += SUMS.pack(start, 1, loss, loss, loss, step, step, step, y, 0.0, 0.0, 0.0, 0.0)
    if event_ms <= clock_ms:
        return bytes(packed), ()
    CLOCK.pack_into(packed, 0, event_ms)
    closed = []
    for at in range(len(packed) - size, 0, -size):
        if CLOCK.unpack_from(packed, at)[0] + WINDOW_MS <= event_ms - DISORDER_MS:
            closed.append(SUMS.unpack_from(packed, at))
            del packed[at : at + size]
    return bytes(packed), closed


def window(run_id, metric, sums):
    start, n, low, high, total, last, _, least, _, x, y, xx, xy = sums
    return {
        "run_id": run_id,
        "metric": metric,
        "window_start": start,
        "count": n,
        "loss_min": low,
        "loss_max": high,
        "loss_mean": total / n,
        "last_step": last,
        "slope": (n * xy - x * y) / (n * xx - x * x) if least < last else None,
    }
