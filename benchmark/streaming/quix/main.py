"""Quix Streams 3.28, exactly once, one process.

How it is written, and why not otherwise:
- The windows are one stateful `apply` and not `tumbling_window`: Quix windows belong to the message key, so (run, metric)
  would cost a `group_by`, that is every row once more through the broker; they take four accesses of the store a row (this
  takes two); and a row given to `on_late` cannot be sent to a topic inside the transaction.
- The clock is that of each (run, metric), in its state: no partition waits for another.
- State is RocksDB with a changelog topic, Quix's only store; `State.get_bytes` and `set_bytes` spare its JSON.
- The transactional id is fixed: Quix would make a new one at each start, and after a SIGKILL the dead one's transaction would
  be waited for until its time-out.
- `to_topic` with a callable: one step for all three outputs, instead of three branches that each copy the row.
"""

import json
import os
import pathlib

from fastavro import parse_schema
from quixstreams import Application, message_context
from quixstreams.models import Serializer

import job


class Framed(Serializer):
    """Output values are (topic, bytes), already framed."""

    def __call__(self, value, ctx):
        return value[1]


def schema(name):
    return parse_schema(json.loads((pathlib.Path(os.environ["SCHEMA_DIR"]) / f"{name}.avsc").read_text()))


def main():
    env = os.environ
    app = Application(
        broker_address=env["BROKERS"],
        consumer_group=env["APP_ID"],
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=int(env["COMMIT_MS"]) / 1000,
        state_dir=env["STATE_DIR"],
        consumer_extra_config={
            "isolation.level": "read_committed",
            "fetch.min.bytes": 65_536,
            "session.timeout.ms": int(env["SESSION_MS"]),
            "fetch.queue.backoff.ms": 5,  # the default pauses a partition for a second whenever its queue is full
        },
        producer_extra_config={
            "transactional.id": f"{env['APP_ID']}-{env['INSTANCE']}",
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 20,
            "batch.size": 262_144,
        },
    )
    rows = app.topic(env["INPUT"], value_deserializer="bytes")
    windows, dead, late = (app.topic(env[k], value_serializer=Framed()) for k in ("WINDOWS", "DLQ", "LATE"))

    telemetry, telemetry_frame = schema("telemetry"), job.header(int(env["TELEMETRY_ID"]))
    window, window_frame = schema("window"), job.header(int(env["WINDOW_ID"]))
    dead_letter, dead_letter_frame = schema("dead_letter"), job.header(int(env["DEAD_LETTER_ID"]))
    late_row, late_frame = schema("late"), job.header(int(env["LATE_ID"]))

    def process(value, key, timestamp, headers, state):
        try:
            run_id, metric, step, event_ms, loss, y = job.decode(value, telemetry_frame, telemetry)
        except job.Bad as bad:
            row = {**source(), "error": bad.args[0], "payload": value}
            return [(dead, job.frame(dead_letter_frame, dead_letter, row))]
        name = metric.encode()
        added = job.add(state.get_bytes(name), step, event_ms, loss, y)
        if added is None:
            row = {**source(), "run_id": run_id, "metric": metric, "step": step, "event_time": event_ms}
            return [(late, job.frame(late_frame, late_row, row))]
        packed, closed = added
        state.set_bytes(name, packed)
        return [(windows, job.frame(window_frame, window, job.window(run_id, metric, sums))) for sums in closed]

    out = app.dataframe(rows).apply(process, stateful=True, expand=True, metadata=True)
    out.to_topic(lambda value, key, timestamp, headers: value[0])
    app.run()


def source():
    context = message_context()
    return {"source_partition": context.partition, "source_offset": context.offset}


main()
