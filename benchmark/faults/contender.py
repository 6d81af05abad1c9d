"""The benchmark's contender `cairn` under faults: the harness's data, oracle and verdict, fed at a rate so that a fault finds it at work.

BENCH_WORK (a work folder of its own) must be set before this is imported: the harness reads it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

from kafka import ROOT, Trouble, wait_until

HARNESS = ROOT / "benchmark" / "streaming" / "harness"


def harness():
    """The harness's modules; its `common` and the oracle tests' have the same name, so each is imported where it is alone."""
    kept = sys.modules.pop("common", None)
    sys.path.insert(0, str(HARNESS))
    try:
        import bench
        import oracle
        import sut
        import verify
    finally:
        sys.path.remove(str(HARNESS))
        sys.modules.pop("common", None)
        if kept is not None:
            sys.modules["common"] = kept
    return bench, oracle, sut, verify


SESSION_MS = 6_000
TRANSACTION_MS = 10_000


class Flow:
    """Fresh topics, a loader at a rate, up to two instances; `finish` waits for the end and judges."""

    session_s, transaction_s = SESSION_MS / 1000, TRANSACTION_MS / 1000

    def __init__(self, broker, work, data, rate, commit_ms=100, extra="", rows=None, settings=None):
        self.bench, self.oracle, self.sut, self.verify = harness()
        self.broker, self.work, self.data, self.rate = broker, work, data, rate
        self.about = json.loads((work / "data" / f"{data}.json").read_text())
        self.rows = sum(self.about["per_partition"])
        self.app = f"cairn-{time.strftime('%H%M%S')}"
        self.commit_ms, self.extra, self.settings = commit_ms, extra, settings or {}
        self.contender = self.sut.Contender("cairn", self.app, f"open.{self.app}", commit_ms)
        self.create_topics(*self.contender.topics.values())
        self.processes, self.exits, self.troubles = {}, [], []
        self.loader = None

    def create_topics(self, *names):
        """As the harness does, with as many replicas as this cluster wants."""
        from confluent_kafka.admin import AdminClient, NewTopic

        client = AdminClient({"bootstrap.servers": self.broker.direct})  # must outlive the futures
        count = len(self.bench.broker.partitions("any"))
        for future in client.create_topics([NewTopic(name, count, self.broker.replication) for name in names]).values():
            future.result()

    def of(self, instance):
        """Says of a transactional id whether it is an instance's."""
        return lambda name: name.startswith(f"{self.app}.windows.{instance}.")

    stateful = of

    def ours(self, name):
        return name.startswith(f"{self.app}.")

    def start(self, instance):
        state = self.work / "state" / self.app / str(instance)
        state.mkdir(parents=True, exist_ok=True)
        constants = self.sut
        environment = {
            **os.environ, **self.contender.topics, "BROKERS": self.broker.proxied, "SCHEMA_DIR": str(constants.SCHEMAS),
            "TELEMETRY_ID": str(constants.TELEMETRY_ID), "WINDOW_ID": str(constants.WINDOW_ID),
            "DEAD_LETTER_ID": str(constants.DEAD_LETTER_ID), "LATE_ID": str(constants.LATE_ID),
            "COMMIT_MS": str(self.commit_ms), "SESSION_MS": str(SESSION_MS), "APP_ID": self.app, "STATE_DIR": str(state),
            "INSTANCE": str(instance), "EXTRA": self.extra, **self.settings,
        }
        (self.work / "logs").mkdir(exist_ok=True)
        with open(self.work / "logs" / f"{self.app}.{instance}.log", "a") as log:
            self.processes[instance] = subprocess.Popen(
                [str(ROOT / "benchmark" / "streaming" / "cairn" / "run")], env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )

    def forget_snapshots(self, instance):
        """It has none."""

    def running(self):
        return sorted(self.processes)

    def signal(self, instance, number):
        os.killpg(self.processes[instance].pid, number)

    def kill(self, instance):
        self.signal(instance, signal.SIGKILL)
        self.processes.pop(instance).wait()

    def stop(self, instance, patience_s=60):
        """SIGTERM and its end; the exit status."""
        process = self.processes.pop(instance)
        os.killpg(process.pid, signal.SIGTERM)
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.troubles.append(f"instance {instance} did not stop within {patience_s} s of SIGTERM")
            return None

    def revive(self):
        """Starts again whoever ended by itself, and notes it; what a supervisor would do."""
        for instance, process in list(self.processes.items()):
            if (status := process.poll()) is not None:
                self.exits.append((instance, status, f"see {instance}.log"))
                self.start(instance)

    def feed(self):
        settings = [f"brokers={self.broker.direct}", f"topic={self.contender.topics['INPUT']}", f"rate={self.rate}", "limit=0"]
        self.loader = subprocess.Popen(
            [self.bench.LOADER, "load", str(self.work / "data" / f"{self.data}.rows"), *settings], stdout=subprocess.PIPE, text=True,
        )

    def positions(self):
        """The group's offset in each partition of the input, pending ones left out."""
        from confluent_kafka import Consumer

        settings = {"bootstrap.servers": self.broker.direct, "group.id": self.app, "enable.auto.commit": False,
                    "isolation.level": "read_uncommitted"}
        consumer = Consumer(settings)
        try:
            found = consumer.committed(self.bench.broker.partitions(self.contender.topics["INPUT"]), timeout=10)
            return [max(place.offset, 0) for place in found]
        finally:
            consumer.close()

    def taken_over(self, before, patience_s):
        """When every partition had moved on from there."""
        def look():
            self.revive()
            return all(now > then for then, now in zip(before, self.positions())) and time.monotonic()

        return wait_until("a takeover", patience_s, look)

    def fed(self):
        """Whether everything was sent: then a fault would find nothing to disturb."""
        return self.loader.poll() is not None

    def finish(self, patience_s=300):
        """Waits until everything sent is committed and visible; what the oracle says."""
        if self.loader.wait((self.rows / self.rate if self.rate else 0) + patience_s) != 0:
            raise Trouble("the loader failed")
        progress = self.bench.Progress(self.contender, self.about["per_partition"])
        wait_until("the last row", patience_s, lambda: self.revive() or progress.committed() >= self.rows, 0.2)
        wait_until("the end of every transaction", 60, progress.all_visible, 0.2)
        for instance in self.running():
            status = self.stop(instance)
            if status != 0:
                self.troubles.append(f"instance {instance} left at SIGTERM with {status}")
        found = self.verify.verify(self.oracle.load(self.data), self.contender.topics)
        self.contender.clean()
        self.bench.broker.delete_topics(self.contender.topics["INPUT"])
        self.bench.broker.delete_topics(f"{self.app}-changelog")
        shutil.rmtree(self.work / "state" / self.app, ignore_errors=True)
        parts = [found[k] for k in ("windows", "dlq", "late")]
        return {
            "rows": self.rows, "outputs": sum(p["expected"] for p in parts), "lost": sum(p["lost"] for p in parts),
            "doubled": sum(p["duplicated"] + p["unexpected"] for p in parts), "wrong": sum(p["wrong"] for p in parts),
            "troubles": self.troubles,
        }

    def end(self):
        for process in [*self.processes.values(), self.loader]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(120)
