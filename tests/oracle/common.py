"""What the oracles share: the contract's schemas, topics read as written, numbers compared, servers' folders."""

import json
import math
import os
import pathlib
import subprocess
import sys
import time
from collections import namedtuple

import fastavro

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "avro" / "schemas"

# topic: schema file of its records
FILES = {
    "telemetry.training": "training_telemetry",
    "telemetry.runtime": "runtime_telemetry",
    "telemetry.tooluse": "tool_use",
    "eval.results": "eval_result",
    "safety.results": "safety_result",
    "runs.config": "run_config",
    "runs.lifecycle": "run_lifecycle",
    "runs.planned": "run_planned",
    "runs.tags": "run_tags",
    "runs.events": "run_events",
    "runs.windows": "window",
    "breaker.verdicts": "verdict",
    "late": "late",
    "experiments.rows": "experiment_row",
    "deadletter": "dead_letter",
    "ticks.run": "tick",
    "cuts.run": "cut",
}
INGRESS = [topic for topic in FILES if topic.split(".")[0] in ("telemetry", "eval", "safety")] + [
    "runs.config", "runs.lifecycle", "runs.planned", "runs.tags",
]

Record = namedtuple("Record", "topic partition offset time_ms key headers value")


class Trouble(Exception):
    """The test could not be done; not a verdict about the product."""


def schema_text(topic):
    return (SCHEMAS / f"{FILES[topic]}.avsc").read_text()


# --- schemas -> defaults and types, by name -------------------------------------------------------------------------------

_named = {}


def _collect(schema):
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch)
    elif isinstance(schema, dict):
        kind = schema.get("type")
        if kind in ("record", "enum", "fixed"):
            _named[f"{schema.get('namespace', 'cairn.v1')}.{schema['name']}"] = schema
            _named.setdefault(schema["name"], schema)
        for field in schema.get("fields", []):
            _collect(field["type"])
        for inner in ("items", "values"):
            if inner in schema:
                _collect(schema[inner])
        if isinstance(kind, (dict, list)):
            _collect(kind)


def _schema(topic):
    schema = json.loads(schema_text(topic))
    _collect(schema)
    return schema


def complete(topic, value):
    """Contract JSON (defaults left out, bytes as hexadecimal digits, "NaN" as text) to what an Avro reader would give."""
    return _fill(_schema_of(topic), value, topic)


_cache = {}


def _schema_of(topic):
    if topic not in _cache:
        _cache[topic] = _schema(topic)
    return _cache[topic]


_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _fill(schema, value, topic):
    if isinstance(schema, str):
        if schema in _named:
            return _fill(_named[schema], value, topic)
        if schema == "bytes":
            return bytes.fromhex(value)
        if schema == "double":
            return _FLOATS[value] if isinstance(value, str) else float(value)
        return value
    if isinstance(schema, list):
        if value is None:
            return None
        branches = [branch for branch in schema if branch != "null"]
        if len(branches) == 1:
            return _fill(branches[0], value, topic)
        # the union of payloads: contract JSON names the branch
        ((name, inner),) = value.items()
        return _fill(_named[name], inner, topic)
    kind = schema["type"]
    if kind == "record":
        out = {}
        inner = value.get("topic", topic) if schema["name"] == "RunEvent" else topic
        for field in schema["fields"]:
            name = field["name"]
            if name in value:
                out[name] = _fill(field["type"], value[name], inner)
            else:
                out[name] = _default(field)
        return out
    if kind == "array":
        return [_fill(schema["items"], item, topic) for item in value]
    if kind == "map":
        return {key: _fill(schema["values"], item, topic) for key, item in value.items()}
    if kind == "enum":
        return value
    return _fill(kind, value, topic)


def _default(field):
    if "default" not in field:
        raise Trouble(f"{field['name']} is missing and has no default")
    value = field["default"]
    if isinstance(value, dict) and _type_name(field["type"]) == "record":
        return _fill(field["type"], value, "")
    return json.loads(json.dumps(value))


def _type_name(schema):
    if isinstance(schema, str):
        return _type_name(_named[schema]) if schema in _named else schema
    if isinstance(schema, list):
        return "union"
    return schema["type"] if isinstance(schema["type"], str) else _type_name(schema["type"])


# --- topics, read-committed ---------------------------------------------------------------------------------------------


class KafkaTopics:
    """Topics of a broker, decoded with the registry's schemas."""

    def __init__(self, bootstrap, registry):
        self.bootstrap = bootstrap
        self.registry = registry
        self._schemas = {}

    def read(self, topic, deadline_s=120):
        """Every committed record, partitions one after the other, in offset order."""
        for record in self.raw(topic, deadline_s):
            yield record._replace(value=self._decode(topic, record.value))

    def raw(self, topic, deadline_s=120):
        """The same, the values as bytes."""
        from confluent_kafka import Consumer, KafkaError, TopicPartition, TIMESTAMP_NOT_AVAILABLE

        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "cairn-oracle", "enable.auto.commit": False,
            "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "earliest",
        })
        try:
            meta = consumer.list_topics(topic, timeout=20).topics[topic]
            if meta.error is not None:
                raise Trouble(f"{topic}: {meta.error}")
            waiting = set(meta.partitions)
            consumer.assign([TopicPartition(topic, p, 0) for p in waiting])
            found = []
            end = time.monotonic() + deadline_s
            while waiting:
                if time.monotonic() > end:
                    raise Trouble(f"{topic} was not read to its end in {deadline_s} s")
                for message in consumer.consume(1000, timeout=1.0):
                    if message.error():
                        if message.error().code() != KafkaError._PARTITION_EOF:
                            raise Trouble(f"{topic}: {message.error()}")
                        waiting.discard(message.partition())
                        continue
                    kind, time_ms = message.timestamp()
                    assert kind != TIMESTAMP_NOT_AVAILABLE
                    found.append((message.partition(), message.offset(), time_ms, message.key(), message.headers() or [], message.value()))
        finally:
            consumer.close()
        found.sort(key=lambda row: row[:2])
        for partition, offset, time_ms, key, headers, value in found:
            key = key.decode() if key is not None else None
            yield Record(topic, partition, offset, time_ms, key, headers, value)

    def _decode(self, topic, value):
        if value is None:
            return None
        if value[0] != 0:
            return json.loads(value)
        import io

        identity = int.from_bytes(value[1:5], "big")
        if identity not in self._schemas:
            import urllib.request

            with urllib.request.urlopen(f"{self.registry}/schemas/ids/{identity}", timeout=20) as answer:
                self._schemas[identity] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
        body = io.BytesIO(value[5:])
        decoded = fastavro.schemaless_reader(body, self._schemas[identity], None, handle_unicode_errors="strict")
        if body.read(1):
            raise Trouble(f"{topic}: bytes behind a datum")
        return plain(decoded)


class EmbeddedTopics:
    """Topics of an embedded log, through `cairn tail`."""

    def __init__(self, cairn, data, environment):
        self.cairn, self.data, self.environment = str(cairn), str(data), environment

    def read(self, topic, deadline_s=120):
        command = [self.cairn, "--data", self.data, "--json", "tail", topic, "--from-start", "--until-end"]
        ran = subprocess.run(command, capture_output=True, timeout=deadline_s, env=self.environment)
        if ran.returncode != 0:
            raise Trouble(f"{' '.join(command)}: exit {ran.returncode}: {ran.stderr.decode()[-500:]}")
        found = []
        for line in ran.stdout.splitlines():
            row = json.loads(line)
            value = row["value"]
            if isinstance(value, dict) and "unreadable" in value:
                raise Trouble(f"{topic}: {line[:300]!r}")
            value = complete(topic, value) if value is not None else None
            headers = [(name, text.encode()) for name, text in row["headers"].items()]
            found.append(Record(topic, row["partition"], row["offset"], row["timestamp_ms"], row["key"], headers, value))
        found.sort(key=lambda record: (record.partition, record.offset))
        yield from found


def plain(value):
    """fastavro's answer with times as milliseconds and unions as their plain value."""
    import datetime

    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime.datetime):
        # exact: a datetime holds microseconds, the wire holds milliseconds
        delta = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000
    return value


# --- comparing ----------------------------------------------------------------------------------------------------------

RELATIVE = 1e-9


def alike(one, other, scale=None):
    """Equal, with floats as close as 1e-9 of themselves (or of `scale`)."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(alike(a, b) for a, b in zip(one, other))
    if isinstance(one, float) or isinstance(other, float):
        if one is None or other is None or isinstance(one, str) or isinstance(other, str):
            return False
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return one == other or abs(one - other) <= RELATIVE * max(abs(one), abs(other), scale or 0.0)
    return one == other


def differences(want, got):
    """The members that differ, for people."""
    keys = sorted(set(want) | set(got))
    return "; ".join(f"{key}: oracle {want.get(key)!r}, topic {got.get(key)!r}" for key in keys if not alike(want.get(key), got.get(key)))


def frozen(value):
    """A value that can be a key."""
    if isinstance(value, dict):
        return tuple(sorted((key, frozen(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return value


class Report:
    """One table of what was compared; the exit status follows from it."""

    def __init__(self, title):
        self.title, self.rows, self.notes, self.failed = title, [], [], False

    def row(self, what, expected, found, missing, extra, different):
        self.failed |= bool(missing or extra or different)
        self.rows.append((what, expected, found, missing, extra, different))

    def claim(self, holds, text):
        self.notes.append(f"{'ok  ' if holds else 'FAIL'} {text}")
        self.failed |= not holds

    def note(self, text):
        self.notes.append(f"     {text}")

    def show(self):
        head = ("compared", "oracle", "topic", "lost", "doubled or unknown", "different")
        table = [head] + [tuple(str(cell) for cell in row) for row in self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(head))]
        print(f"\n{self.title}")
        for row in table:
            print("  " + "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))))
        for note in self.notes:
            print("  " + note)
        print(f"  => {'DIFFERENT' if self.failed else 'equal'}", flush=True)
        return not self.failed


def servers_folder():
    named = os.environ.get("CAIRN_SERVERS_DIR")
    return pathlib.Path(named) if named else pathlib.Path.home() / ".cache" / "cairn" / "servers"


def say(text):
    print(text, file=sys.stderr, flush=True)
