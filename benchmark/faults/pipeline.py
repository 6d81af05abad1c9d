"""`cairn run` under faults: the workload, the stock client and the two oracles of tests/oracle, bad rows among the good ones."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import chaos
import oracle_admit
import oracle_runs
import servers
import workload
from common import KafkaTopics
from kafka import ROOT, Trouble, wait_until

NAMES = "ab"  # instances by number
SESSION_MS = 6_000
TRANSACTION_MS = 10_000


class Flow:
    """A fresh data directory and topics on a fresh broker, a producer at a rate, up to two instances; `finish` drains and judges."""

    session_s, transaction_s = SESSION_MS / 1000, TRANSACTION_MS / 1000

    def __init__(self, binary, broker, registry_url, work, seed, records, rate, settings=None, java=False):
        self.broker, self.url, self.rate = broker, registry_url, rate
        self.work = work
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self.binary = chaos.own_copy(Path(binary), work)
        self.environment = {
            **chaos.environment(work), "CAIRN_LOG_SESSION_TIMEOUT_MS": str(SESSION_MS),
            # faults come quicker here than a pause that doubles allows for
            "CAIRN_RUNTIME_RESTART_BACKOFF_MS_MAX": "400", **(settings or {}),
        }
        self.entries = workload.make(seed, records, int(time.time() * 1000))
        if not java:
            for entry in self.entries:
                entry["client"] = "python"
        self.base = [str(self.binary), "--data", str(work / "data"), "--kafka", broker.direct, "--registry", registry_url]
        self.behind_proxy = [part if part != broker.direct else broker.proxied for part in self.base]
        chaos.call([*self.base, "init"], self.environment, 60)
        chaos.call([*self.base, "topics", "apply"], self.environment, 120)
        self.topics = KafkaTopics(broker.direct, registry_url)
        self.processes, self.exits, self.troubles, self.starts = {}, [], [], 0
        self.producer = None
        self.keep = False  # logs and files, where something went wrong

    def of(self, instance):
        """Says of a transactional id whether it is an instance's."""
        return lambda name: name.startswith("cairn.") and name.split(".")[2] == NAMES[instance]

    def stateful(self, instance):
        return lambda name: name == f"cairn.runs.{NAMES[instance]}.0"

    def ours(self, name):
        """admit and runs are always at work; refit and cockpit now and then, so that a fault for them might wait for long."""
        return name.startswith(("cairn.runs.", "cairn.admit."))

    def log(self, instance):
        return self.work / f"run-{NAMES[instance]}.log"

    def start(self, instance):
        self.starts += 1
        with open(self.log(instance), "a") as log:
            self.processes[instance] = subprocess.Popen(
                [*self.behind_proxy, "--log", "info", "run", "--instance-id", NAMES[instance]], env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

    def forget_snapshots(self, instance):
        """So that a restore has the whole changelog to read."""
        shutil.rmtree(self.work / "data" / "snapshots" / NAMES[instance], ignore_errors=True)

    def running(self):
        return sorted(self.processes)

    def signal(self, instance, number):
        os.killpg(self.processes[instance].pid, number)

    def kill(self, instance):
        self.signal(instance, signal.SIGKILL)
        self.processes.pop(instance).wait()

    def stop(self, instance, patience_s=60):
        process = self.processes.pop(instance)
        os.killpg(process.pid, signal.SIGTERM)
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.troubles.append(f"instance {NAMES[instance]} did not stop within {patience_s} s of SIGTERM")
            return None

    def revive(self):
        for instance, process in list(self.processes.items()):
            if (status := process.poll()) is not None:
                self.exits.append((NAMES[instance], status, self.last_words(instance)))
                self.start(instance)

    def last_words(self, instance):
        """What it said last, librdkafka left out."""
        said = [line for line in self.log(instance).read_text().splitlines() if '"target":"librdkafka"' not in line]
        return said[-1][-500:] if said else "nothing"

    def feed(self):
        path = chaos.write_workload(self.entries, self.work)
        self.sent = self.work / "sent.txt"
        self.producer_log = self.work / "producer.log"
        with open(self.producer_log, "w") as output:
            self.producer = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "oracle" / "produce.py"), "--workload", str(path), "--client", "python",
                 "--bootstrap", self.broker.direct, "--registry", self.url, "--sent", str(self.sent), "--rate", str(self.rate)],
                stdin=subprocess.PIPE, stdout=output, stderr=output, env=self.environment,
            )
        chaos.await_line(self.producer_log, "ready", self.producer, 120)
        self.producer.stdin.write(b"%d\n" % (time.time() * 1000 + 200))
        self.producer.stdin.close()

    def fed(self):
        return self.producer.poll() is not None

    def _offsets(self, ask, topic):
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.broker.direct, "group.id": f"cairn.{ask}", "enable.auto.commit": False,
                             "isolation.level": "read_uncommitted"})
        try:
            places = [TopicPartition(topic, p) for p in consumer.list_topics(topic, timeout=10).topics[topic].partitions]
            found = consumer.committed(places, timeout=10)
            ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
            return {(topic, place.partition): (max(place.offset, 0), end) for place, end in zip(found, ends)}
        finally:
            consumer.close()

    def positions(self):
        """What admit and runs have committed, and how far their inputs reach."""
        return {**self._offsets("admit", "telemetry.training"), **self._offsets("runs", "runs.events")}

    def taken_over(self, before, patience_s):
        """When every partition into which something came after that moment has moved on."""
        def look():
            self.revive()
            now = self.positions()
            came = [place for place, (_, end) in now.items() if end > before[place][1]]
            moved = [place for place in came if now[place][0] > before[place][0]]
            return len(came) >= 6 and len(moved) >= len(came) and time.monotonic()

        return wait_until("a takeover", patience_s, look)

    def finish(self, patience_s=300):
        """Waits for the producer, drains, and asks both oracles."""
        if self.producer.wait(len(self.entries) / self.rate + patience_s) != 0:
            raise Trouble(f"the producer failed: {self.producer_log.read_text()[-600:]}")
        wait_until("quiet", 10, lambda: self.revive() or True)
        time.sleep(1.0)
        self.revive()
        for instance in self.running():
            if (status := self.stop(instance)) != 0:
                self.troubles.append(f"instance {NAMES[instance]} left at SIGTERM with {status}")
        chaos.call([*self.base, "--json", "run", "--instance-id", "a", "--drain", "--timeout-s", "300"], self.environment, 320)
        return self.judge()

    def judge(self):
        sent = {}
        for line in self.sent.read_text().splitlines():
            number, partition, offset, digest = line.split()
            # a repeated request's answer does not say where the first copy lies
            sent[int(number)] = (int(partition), None if offset == "None" else int(offset), digest)
        self.locate(sent)
        repeated = self.add_repeated(sent)
        events, self.letters = list(self.topics.read("runs.events")), list(self.topics.read("deadletter"))
        one = oracle_admit.compare(self.entries, sent, events, self.letters, True)
        two = oracle_runs.compare(self.topics, chaos.END_GRACE_MS, chaos.FORGET_AFTER_END_MS, drained=True)
        for report in (one, two):
            report.show()
            self.troubles += [f"{report.title}: {note[5:]}" for note in report.notes if note.startswith("FAIL")]
        rows = one.rows + two.rows
        found = {
            "rows": len(self.entries), "outputs": sum(row[1] for row in rows), "lost": sum(row[3] for row in rows),
            "doubled": sum(row[4] for row in rows), "wrong": sum(row[5] for row in rows), "troubles": self.troubles,
            "dead": sum(entry["expect"] != "taken" for entry in self.entries),
        }
        found["opened"] = self.open_letters(sent)
        if repeated:
            found["repeated"] = repeated
        return found

    def add_repeated(self, sent):
        """What the feeder's idempotent client put into the log twice, as it was seen to when a broker died under it, was sent twice: the
        log is what the program is given. How many these are."""
        by_content = {(entry["topic"], sent[entry["n"]][2]): entry for entry in self.entries}
        known = {(entry["topic"], *sent[entry["n"]][:2]) for entry in self.entries}
        before = len(self.entries)
        for topic in sorted({entry["topic"] for entry in self.entries}):
            for record in self.topics.raw(topic):
                if (topic, record.partition, record.offset) in known:
                    continue
                digest = hashlib.sha256(record.value).hexdigest()
                if (topic, digest) not in by_content:
                    raise Trouble(f"{topic}[{record.partition}] {record.offset}: nobody sent this")
                copy = {**by_content[topic, digest], "n": len(self.entries)}
                self.entries.append(copy)
                sent[copy["n"]] = (record.partition, record.offset, digest)
        return len(self.entries) - before

    def locate(self, sent):
        """Finds the places that no answer told, by content; of two copies it does not matter which is which."""
        topics = {entry["n"]: entry["topic"] for entry in self.entries}
        known = {(topics[number], partition, offset) for number, (partition, offset, _) in sent.items()}
        unknown = [number for number, (_, offset, _) in sent.items() if offset is None]
        free = {}
        for topic in {topics[number] for number in unknown}:
            for record in self.topics.raw(topic):
                if (topic, record.partition, record.offset) not in known:
                    digest = hashlib.sha256(record.value).hexdigest()
                    free.setdefault((topic, record.partition, digest), []).append(record.offset)
        for number in unknown:
            partition, _, digest = sent[number]
            places = free.get((topics[number], partition, digest))
            if not places:
                raise Trouble(f"record {number} was acknowledged, and is not in {topics[number]}[{partition}]")
            sent[number] = (partition, places.pop(0), digest)

    def open_letters(self, sent, most=40):
        """Opens sealed originals and compares them with what was sent; how many were right."""
        originals = {sent[entry["n"]][2]: entry for entry in self.entries if entry["expect"] != "taken"}
        opened = 0
        letters = [letter.value for letter in self.letters if letter.value["operator"] == "admit"]
        for letter in letters[:: max(1, len(letters) // most)]:
            command = [*self.base, "--json", "deadletter", "show", letter["deadletter_id"], "--open"]
            shown = json.loads(chaos.call(command, self.environment, 60))
            entry = originals[letter["plaintext_sha256"].hex()]
            # the command prints text; where the bytes are none, their digest has to do
            wanted = bytes.fromhex(entry["raw"]).decode("utf-8", "replace") if entry["raw"] else None
            if wanted is not None and shown["original"] != wanted or shown["sha256"] != letter["plaintext_sha256"].hex():
                self.troubles.append(f"dead letter {letter['deadletter_id']} opens to something else")
            opened += 1
        return opened

    def end(self):
        for process in [*self.processes.values(), self.producer]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(120)
        if not self.keep:
            shutil.rmtree(self.work, ignore_errors=True)
