"""A Kafka, a registry, `cairn run` on them, and rows as the bytes that a stock Avro client would send: what the chain's measurements share."""

import io
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "oracle"))

import chaos  # noqa: E402
import servers  # noqa: E402
from common import Trouble, schema_text  # noqa: E402

TOPIC = "telemetry.training"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Rows:
    """Encodes rows of `telemetry.training` in the registry's frame."""

    def __init__(self, registry):
        import fastavro

        with urllib.request.urlopen(f"{registry}/subjects/{TOPIC}-value/versions/latest", timeout=10) as answer:
            self.head = b"\0" + json.load(answer)["id"].to_bytes(4, "big")
        self.schema = fastavro.parse_schema(json.loads(schema_text(TOPIC)))
        self.write = fastavro.schemaless_writer

    def __call__(self, row):
        out = io.BytesIO()
        out.write(self.head)
        self.write(out, self.schema, row)
        return out.getvalue()


def row(run, step, now_ms, loss):
    return {"run_id": run, "step": step, "event_time_ms": now_ms, "tokens": step * 4096, "loss": loss, "learning_rate": 3e-4, "grad_norm": 0.7}


class SteadyRows:
    """Rows of some runs in turn, put together from parts encoded once: the client's work must not be what is measured."""

    def __init__(self, registry, runs):
        self.whole = Rows(registry)
        self.names = [f"steady-{run:03}".encode() for run in range(runs)]
        # a record begins with its run, then attempt, step and tokens, then the time
        self.heads = [self.whole.head + _long(len(name)) + name + _long(0) for name in self.names]
        self.steps = []
        self.set_time(int(time.time() * 1000))
        for number in (0, runs * 3 + 1):
            name, value = self.encode(number)
            assert value == self.whole(self._row(name.decode(), number // runs + 1)), "the schema has another order of fields"

    def _row(self, name, step):
        return row(name, step, self.now_ms, 3.0 + 4.0 / (step + 10))

    def set_time(self, now_ms):
        self.now_ms, self.time = now_ms, _long(1) + _long(now_ms)

    def encode(self, number):
        """Key and value of a row."""
        step = number // len(self.names)
        while len(self.steps) <= step:
            known = len(self.steps) + 1
            before = _long(known) + _long(1) + _long(known * 4096)
            whole = self.whole(self._row(self.names[0].decode(), known))
            self.steps.append((before, whole[len(self.heads[0]) + len(before) + len(self.time):]))
        run = number % len(self.names)
        before, after = self.steps[step]
        return self.names[run], self.heads[run] + before + self.time + after


def _long(value):
    """Avro's zigzag variable-length integer, as `int` and `long` and the branch of a union are written."""
    value, out = (value << 1) ^ (value >> 63), bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Stage:
    """The servers and one instance. `settings` are environment variables."""

    def __init__(self, work, binary, settings=None):
        self.work = pathlib.Path(work).resolve()
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.process, self.starts, self.stopping = None, 0, []
        try:
            broker, self.bootstrap = servers.kafka(self.work)
            self.stopping.append(broker)
            self.broker_pid = broker.process.pid
            registry, self.registry = servers.registry(self.work)
            self.stopping.append(registry)
            self.binary = chaos.own_copy(pathlib.Path(binary), self.work)
            self.port = servers.free_port()
            # what a user would run: only the address is ours
            self.environment = {
                **{name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")},
                "XDG_CONFIG_HOME": str(self.work / "config"), "CAIRN_GATEWAY_LISTEN": f"127.0.0.1:{self.port}", **(settings or {}),
            }
            self.base = [str(self.binary), "--data", str(self.work / "data"), "--kafka", self.bootstrap, "--registry", self.registry]
            self.call("init")
            self.call("topics", "apply")
        except BaseException:
            self.end()
            raise

    def call(self, *arguments, timeout_s=900, allowed=(0,)):
        return chaos.call([*self.base, *arguments], self.environment, timeout_s, allowed)

    def start(self, patience_s=600):
        """Starts `cairn run`; seconds until it says `ready`."""
        self.starts += 1
        path = self.work / f"run-{self.starts}.log"
        begun = time.monotonic()
        with open(path, "w") as log:
            self.process = subprocess.Popen([*self.base, "--log", "info", "run"], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.run_log = path
        while "ready" not in path.read_text().splitlines():
            if self.process.poll() is not None or time.monotonic() - begun > patience_s:
                raise Trouble(f"it is not ready: {path.read_text()[-800:]}")
            time.sleep(0.02)  # between two looks
        return time.monotonic() - begun

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def metrics(self):
        """Every sample of `/metrics` by its name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {name: float(value) for name, value in re.findall(r"^(cairn_\S+) (\S+)$", text, re.M)}

    def lag(self, operator, topic):
        """Records that an operator has still to commit of a topic."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": f"cairn.{operator}", "enable.auto.commit": False})
        try:
            places = [TopicPartition(topic, number) for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions]
            committed = consumer.committed(places, timeout=10)
            lag = 0
            for place in committed:
                start, end = consumer.get_watermark_offsets(place, timeout=10)
                lag += end - max(place.offset, start)
            return lag
        finally:
            consumer.close()

    def wait_until_caught_up(self, patience_s=3600):
        """Until admit and runs have committed what there is; markers of transactions leave a few offsets at each end."""
        end = time.monotonic() + patience_s
        while self.lag("admit", TOPIC) + self.lag("runs", "runs.events") > 50:
            if self.process.poll() is not None or time.monotonic() > end:
                raise Trouble(f"it does not catch up: {self.run_log.read_text()[-800:]}")
            time.sleep(0.5)  # between two looks

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for server in reversed(self.stopping):
            server.stop()
        shutil.rmtree(self.work, ignore_errors=True)


def cpu_s(pid):
    """User and system seconds of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def memory_mib(pid):
    """Resident now, and the most there ever was."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return tuple(int(re.search(rf"{name}:\s+(\d+)", text).group(1)) / 1024 for name in ("VmRSS", "VmHWM"))


def producer(bootstrap):
    from confluent_kafka import Producer

    return Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4",
                     "queue.buffering.max.messages": 1_000_000})


def quantile(values, q):
    """The smallest value that at least a share q of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * q) - 1)]
