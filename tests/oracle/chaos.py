"""Kills the pipeline while stock clients send, and looks what was lost or doubled.

    chaos.py --cairn BINARY [--log kafka|embedded] [--records 200000] [--seed N] [--kills 10] [--rate N] [--keep DIR]

Exit: 0 equal, 1 different, 2 it could not be done.
"""

import argparse
import hashlib
import json
import math
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import oracle_admit
import oracle_runs
import workload
from common import EmbeddedTopics, KafkaTopics, Report, Trouble, say, schema_text

END_GRACE_MS = 5_000
FORGET_AFTER_END_MS = 20_000
HERE = pathlib.Path(__file__).resolve().parent


class Cairn:
    """One `cairn run`, started anew whenever it is killed."""

    def __init__(self, name, command, environment, work):
        self.name, self.command, self.environment, self.work = name, command, environment, work
        self.process, self.starts, self.kills, self.troubles = None, 0, 0, []

    def start(self):
        self.starts += 1
        log = open(self.work / f"run-{self.name}-{self.starts}.log", "w")
        with log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self):
        return (self.work / f"run-{self.name}-{self.starts}.log").read_text()

    def watch(self, until):
        """Waits for a moment; a process that ends by itself meanwhile is a finding, and is started again."""
        while (left := until - time.monotonic()) > 0:
            try:
                status = self.process.wait(timeout=left)
            except subprocess.TimeoutExpired:
                return
            self.troubles.append(f"{self.name} ended by itself with {status}: {self.log()[-300:]}")
            if len(self.troubles) > 5:
                raise Trouble("; ".join(self.troubles))
            self.start()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)
        self.kills += 1

    def stop(self, patience_s=60):
        """SIGTERM; the exit status."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=30)
            self.troubles.append(f"{self.name} did not stop within {patience_s} s of SIGTERM: {self.log()[-300:]}")
            return None

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)


def environment(work):
    """Ours without settings of the caller's, and the settings of this test."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")}
    (work / "config").mkdir(exist_ok=True)
    ours.update(
        XDG_CONFIG_HOME=str(work / "config"),
        CAIRN_GATEWAY_LISTEN="127.0.0.1:0",
        CAIRN_RUNS_FOLLOW_TIME_END_GRACE_MS=str(END_GRACE_MS),
        CAIRN_RUNS_FORGET_AFTER_END_MS=str(FORGET_AFTER_END_MS),
        CAIRN_LOG_SESSION_TIMEOUT_MS="6000",
    )
    return ours


def call(command, env, timeout_s, allowed=(0,)):
    ran = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout_s)
    if ran.returncode not in allowed:
        raise Trouble(f"{' '.join(map(str, command))}: exit {ran.returncode}: {ran.stdout[-300:]}{ran.stderr[-1500:]}")
    return ran.stdout


def replayed(base, env, work):
    """All that was written, once more and equal to the byte: whether, and the counts."""
    begun = time.monotonic()
    ran = subprocess.run(
        [*base, "--json", "replay", "--from", "earliest", "--into", str(work / "again")],
        env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    topics = [line for line in lines if "records" in line]
    equal = ran.returncode == 0 and topics and all(
        line["sha256"] == line["sha256_original"] and line["records"] == line["equal"] for line in topics
    )
    counts = ", ".join(f"{line['topic']} {line['equal']}" for line in topics)
    trouble = "" if equal else f" {ran.stdout[-1500:]}{ran.stderr[-800:]}"
    return bool(equal), f"replay gives the same bytes ({counts}; {time.monotonic() - begun:.0f} s){trouble}"


def await_line(path, line, process, patience_s):
    """Waits until a process has written a line."""
    end = time.monotonic() + patience_s
    while line not in path.read_text().splitlines():
        if process.poll() is not None or time.monotonic() > end:
            raise Trouble(f"{path.name} never said {line!r}: {path.read_text()[-800:]}")
        time.sleep(0.05)  # between two looks


def write_workload(entries, work):
    path = work / "workload.jsonl"
    with open(path, "w") as lines:
        for entry in entries:
            lines.write(json.dumps(entry) + "\n")
    return path


def kafka(arguments, entries, chance, work, finish):
    import servers

    broker, bootstrap = servers.kafka(work)
    finish.append(broker.stop)
    registry, url = servers.registry(work)
    finish.append(registry.stop)
    java = servers.java_producer(work)
    env = environment(work)
    base = [str(arguments.cairn), "--data", str(work / "data"), "--kafka", bootstrap, "--registry", url]
    call([*base, "init"], env, 60)
    call([*base, "topics", "apply"], env, 120)
    with urllib.request.urlopen(f"{url}/subjects/runs.events-value/versions/latest", timeout=20) as answer:
        if json.loads(json.load(answer)["schema"]) != json.loads(schema_text("runs.events")):
            raise Trouble("the binary was built from other schemas than avro/schemas; build it again")
    path = write_workload(entries, work)

    commands = {"python": [sys.executable, str(HERE / "produce.py")], "java": java}
    producers, sent_files = {}, {}
    a = Cairn("a", [*base, "--log", "info", "run", "--instance-id", "a"], env, work)
    b = Cairn("b", [*base, "--log", "info", "run", "--instance-id", "b"], env, work)
    finish += [a.end, b.end]
    a.start()
    for client, command in commands.items():
        sent_files[client] = work / f"sent-{client}.txt"
        output = open(work / f"producer-{client}.log", "w")
        with output:
            producers[client] = subprocess.Popen(
                [*command, "--workload", str(path), "--client", client, "--bootstrap", bootstrap, "--registry", url,
                 "--sent", str(sent_files[client]), "--rate", str(arguments.rate)],
                stdin=subprocess.PIPE, stdout=output, stderr=output, env=env,
            )
        finish.append(producers[client].kill)
    for client, producer in producers.items():
        await_line(work / f"producer-{client}.log", "ready", producer, 120)
    # both begin at once, when both can
    for producer in producers.values():
        producer.stdin.write(b"%d\n" % (time.time() * 1000 + 500))
        producer.stdin.close()

    length = len(entries) / arguments.rate + 1.0
    events = [(chance.uniform(1.0, length + 3.0), "kill") for _ in range(arguments.kills)]
    join = chance.uniform(0.1, 0.4) * length
    if not arguments.alone:
        events += [(join, "join"), (join + max(8.0, chance.uniform(0.2, 0.4) * length), "leave")]
    events.sort()
    say("moments (s): " + ", ".join(f"{kind} {moment:.2f}" for moment, kind in events))
    begun = time.monotonic()
    b_status = None
    for moment, kind in events:
        a.watch(begun + moment)
        if kind == "kill":
            a.kill()
            a.start()
        elif kind == "join":
            b.start()
        else:
            b_status = b.stop()
    for client, producer in producers.items():
        status = producer.wait(timeout=length * 5 + 120)
        if status != 0:
            raise Trouble(f"the {client} producer ended with {status}: {(work / f'producer-{client}.log').read_text()[-800:]}")
    a.watch(time.monotonic() + 1.0)
    a_status = a.stop()
    began_drain = time.monotonic()
    drained = call([*base, "--json", "run", "--instance-id", "a", "--drain", "--timeout-s", "400"], env, 420)
    say(f"drain after {time.monotonic() - began_drain:.1f} s: {drained.strip()[:400]}")

    sent = {}
    for file in sent_files.values():
        for line in file.read_text().splitlines():
            number, partition, offset, digest = line.split()
            sent[int(number)] = (int(partition), int(offset), digest)
    claims = [
        (a.kills == arguments.kills, f"instance a: {a.kills} times killed with SIGKILL, {a.starts} starts"),
        (a_status == 0, f"instance a leaves at SIGTERM with 0 ({a_status})"),
        (arguments.alone or b_status == 0, f"instance b joins, and leaves at SIGTERM with 0 ({b_status})"),
        (not a.troubles and not b.troubles, f"nobody ended by itself {a.troubles + b.troubles or ''}"),
        replayed(base, env, work),
    ]
    return KafkaTopics(bootstrap, url), sent, True, claims


def contract_json(value):
    """Contract JSON: what is not finite is text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: contract_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [contract_json(item) for item in value]
    return value


def embedded(arguments, entries, chance, work, finish):
    env = environment(work)
    base = [str(arguments.cairn), "--data", str(work / "data")]
    call([*base, "init"], env, 60)
    files, sent = [], {}
    count = 6
    for number in range(count):
        path = work / f"events-{number}.jsonl"
        with open(path, "wb") as out:
            for entry in entries[number * len(entries) // count : (number + 1) * len(entries) // count]:
                if entry["raw"] is not None and not entry.get("json"):
                    line = bytes.fromhex(entry["raw"])
                    entry["expect"] = "json" if entry["expect"] == "frame" else entry["expect"]
                else:
                    value = contract_json(entry["value"])
                    line = json.dumps({"topic": entry["topic"], **({"event_id": entry["event_id"]} if entry["event_id"] else {}), **value}).encode()
                out.write(line + b"\n")
                # ingest judges as admit does: everything refused is sealed as the file has it
                sent[entry["n"]] = (None, None, hashlib.sha256(line).hexdigest())
        files.append(path)
    run = Cairn("run", [*base, "--log", "info", "run"], env, work)
    finish.append(run.end)
    run.start()
    ingest_kills, ingest_calls, next_kill = 0, 0, time.monotonic() + chance.uniform(0.5, 4.0)
    most = arguments.kills
    longest = 0.3  # of a call, as far as is known: a kill must fall into it
    for number, path in enumerate(files):
        kills_here = most // count + (number < most % count)
        end = time.monotonic() + 300
        while True:
            if time.monotonic() > end:
                raise Trouble(f"{path.name} was not ingested within 300 s")
            ingest_calls += 1
            with open(work / f"ingest-{ingest_calls}.log", "w") as log:
                process = subprocess.Popen([*base, "--json", "ingest", str(path)], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            finish.append(process.kill)
            called = time.monotonic()
            killed_at = called + chance.uniform(0.02, longest) if kills_here else None
            while process.poll() is None:
                now = time.monotonic()
                if killed_at is not None and now >= killed_at:
                    process.kill()
                    ingest_kills, kills_here = ingest_kills + 1, kills_here - 1
                    process.wait(timeout=30)
                    break
                if run.kills < most and now >= next_kill:
                    run.kill()
                    run.start()
                    next_kill = time.monotonic() + chance.uniform(0.5, 6.0)
                moments = [moment for moment in (killed_at, next_kill if run.kills < most else None) if moment is not None]
                try:
                    process.wait(timeout=max(0.0, min(moments, default=now + 60) - time.monotonic()))
                except subprocess.TimeoutExpired:
                    pass
            else:
                if process.returncode not in (0, 3):
                    raise Trouble(f"ingest of {path.name}: exit {process.returncode}: {(work / f'ingest-{ingest_calls}.log').read_text()[-600:]}")
                longest = max(0.05, 0.9 * (time.monotonic() - called))
                break
    while run.kills < most:
        run.watch(next_kill)
        run.kill()
        run.start()
        next_kill = time.monotonic() + chance.uniform(0.5, 4.0)
    again = call([*base, "--json", "ingest", *map(str, files)], env, 300, allowed=(0, 3))
    repeated = sum(json.loads(line)["accepted"] + json.loads(line)["rejected"] for line in again.splitlines())
    run.watch(time.monotonic() + 1.0)
    status = run.stop()
    drained = call([*base, "--json", "run", "--drain", "--timeout-s", "400"], env, 420)
    say(f"drain: {drained.strip()[:400]}")
    claims = [
        (run.kills == most, f"cairn run: {run.kills} times killed with SIGKILL, {run.starts} starts"),
        (ingest_kills > 0, f"cairn ingest: {ingest_kills} times killed with SIGKILL, {ingest_calls} calls for {count} files"),
        (repeated == 0, f"the same files again add nothing ({repeated} records)"),
        (status == 0, f"cairn run leaves at SIGTERM with 0 ({status})"),
        (not run.troubles, f"nobody ended by itself {run.troubles or ''}"),
        replayed(base, env, work),
    ]
    return EmbeddedTopics(arguments.cairn, work / "data", env), sent, False, claims


def judge(arguments, entries, topics, sent, by_position, claims):
    first = Report("chaos")
    for holds, text in claims:
        first.claim(holds, text)
    events, letters = list(topics.read("runs.events")), list(topics.read("deadletter"))
    one = oracle_admit.compare(entries, sent, events, letters, by_position)
    two = oracle_runs.compare(topics, END_GRACE_MS, FORGET_AFTER_END_MS, drained=True)
    # a test that met none of the hard cases says nothing
    for name, least in (("windows", 40), ("late", 20), ("verdicts", 5), ("dead", 2), ("duplicates", 50), ("token windows", 5)):
        two.claim(two.counts[name] >= least, f"there was something to compare: {two.counts[name]} {name}, at least {least}")
    return all([report.show() for report in (first, one, two)])


def own_copy(binary, work):
    """The binary as it is now: a build beside the test must not change it between two starts."""
    copy = work / "cairn"
    try:
        copy.hardlink_to(binary.resolve())
    except OSError:
        shutil.copy2(binary, copy)
    return copy


def tie_to_standard_input():
    """Whoever started us holds our standard input open; when that closes, everything is ended."""

    def wait():
        # The descriptor, not sys.stdin: a buffer that a daemon thread has locked aborts the interpreter at its end.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def stopped(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what was started is being ended
    raise Trouble("stopped on request")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cairn", type=pathlib.Path, required=True)
    parser.add_argument("--log", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rate", type=float, default=2_500.0)
    parser.add_argument("--alone", action="store_true", help="without a second instance: a killed one's partitions lag for nobody else")
    parser.add_argument("--keep", type=pathlib.Path, default=None, help="leave logs and files there; a new folder")
    parser.add_argument("--tied", action="store_true", help="end when standard input closes")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stopped)
    if arguments.tied:
        tie_to_standard_input()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"log {arguments.log}, records {arguments.records}, seed {seed}, kills {arguments.kills}", flush=True)
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True)
    work = (arguments.keep or pathlib.Path(tempfile.mkdtemp(prefix="cairn-chaos-"))).resolve()
    finish, begun = [], time.monotonic()
    equal = False
    arguments.cairn = own_copy(arguments.cairn, work)
    try:
        entries = workload.make(seed, arguments.records, int(time.time() * 1000))
        do = kafka if arguments.log == "kafka" else embedded
        outcome = do(arguments, entries, random.Random(f"chaos/{seed}"), work, finish)
        say(f"fed and worked off after {time.monotonic() - begun:.0f} s")
        equal = judge(arguments, entries, *outcome)
        print(f"seed {seed}: {'equal' if equal else 'DIFFERENT'} in {time.monotonic() - begun:.0f} s", flush=True)
    except (Trouble, subprocess.TimeoutExpired) as trouble:
        print(f"seed {seed}: could not be done: {trouble}", flush=True)
        sys.exit(2)
    finally:
        for end in reversed(finish):
            end()
        if arguments.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
