"""A disk that is full: under the snapshots of a pipeline on Kafka, and under the embedded log. A small tmpfs, so only for root."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import time

import chaos
import oracle_admit
import oracle_runs
import scenarios
import workload
from common import EmbeddedTopics
from kafka import Trouble, wait_until

SNAPSHOT_BYTES = 24 << 20
EMBEDDED_BYTES = 40 << 20


@contextlib.contextmanager
def small(folder, size):
    """A disk of that size."""
    if os.geteuid() != 0:
        raise Trouble("skipped: a disk that fills up needs root, to mount a small tmpfs")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        for _ in range(20):
            if subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0:
                break
            time.sleep(0.5)  # somebody may still have a file open
        shutil.rmtree(folder, ignore_errors=True)


def fill(folder):
    """Takes all the room there is."""
    with open(folder / "filler", "ab", buffering=0) as filler:
        piece = bytes(1 << 16)
        while piece:
            try:
                filler.write(piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece = piece[: len(piece) // 2]


def snapshots(on_cairn, dice, work):
    """Snapshots on a full disk: said, nothing lost, and a snapshot again for whoever starts when there is room."""
    with small(work / "tmpfs", SNAPSHOT_BYTES) as folder:
        def tell(flow, watch, told, stage):
            for _ in range(3):
                scenarios.flowing(flow, watch, flow.stateful(0))
                seen = len(flow.log(0).read_text())
                fill(folder)
                told.injected += 1
                wait_until("a line about the full disk", 60, lambda: flow.revive() or "snapshot given up" in flow.log(0).read_text()[seen:])
                scenarios.flowing(flow, watch, flow.stateful(0))
                # started on the full disk
                flow.kill(0)
                killed = time.monotonic()
                flow.start(0)
                told.recovered(scenarios.commits_again(flow, watch, flow.stateful(0), killed))
                (folder / "filler").unlink()
                flow.kill(0)
                killed = time.monotonic()
                flow.start(0)
                told.recovered(scenarios.commits_again(flow, watch, flow.stateful(0), killed))
                wait_until("snapshots that grow again", 60, lambda: flow.revive() or grows(folder))
            line = next(line for line in flow.log(0).read_text().splitlines() if "snapshot given up" in line)
            told.notes.append(f"what it says: `{line[line.find('snapshot given up') - 0:][:160]}`")
            if flow.exits:
                told.findings.append(f"ended by itself on a full disk: {flow.exits}")

        settings = {"CAIRN_RUNTIME_SNAPSHOT_DIR": str(folder), "CAIRN_RUNTIME_SNAPSHOT_MARK_INTERVAL_MS": "500"}
        return on_cairn(250, 20_000, tell, (0,), settings)


def grows(folder):
    def size():
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    before = size()
    time.sleep(1.0)
    return size() > before


def lines_of(entries):
    """The workload as lines of a file, and what ingest must make of each."""
    sent, lines = {}, []
    for entry in entries:
        if entry["raw"] is not None and not entry.get("json"):
            line = bytes.fromhex(entry["raw"])
            entry["expect"] = "json" if entry["expect"] == "frame" else entry["expect"]
        else:
            value = chaos.contract_json(entry["value"])
            line = json.dumps({"topic": entry["topic"], **({"event_id": entry["event_id"]} if entry["event_id"] else {}), **value}).encode()
        lines.append(line)
        sent[entry["n"]] = (None, None, hashlib.sha256(line).hexdigest())
    return lines, sent


def embedded(arguments):
    """The embedded log's own disk: ingest and run say so and end, lose nothing, and go on when they are started with room."""
    told = scenarios.Told()
    work = arguments.work / "embedded"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with small(arguments.work / "tmpfs-embedded", EMBEDDED_BYTES) as folder:
        environment = chaos.environment(work)
        base = [str(chaos.own_copy(arguments.cairn, work)), "--data", str(folder / "data")]
        chaos.call([*base, "init"], environment, 60)
        entries = workload.make(arguments.seed, 12_000, int(time.time() * 1000))
        lines, sent = lines_of(entries)
        run = chaos.Cairn("run", [*base, "--log", "info", "run"], environment, work)
        said = {"ingest": 0, "run": 0}
        try:
            run.start()
            parts = 6
            for number in range(parts):
                path = work / f"events-{number}.jsonl"
                path.write_bytes(b"\n".join(lines[number * len(lines) // parts : (number + 1) * len(lines) // parts]) + b"\n")
                if number % 2:
                    fill(folder)
                    told.injected += 1
                    ingest = subprocess.run([*base, "--json", "ingest", str(path)], env=environment, capture_output=True, text=True, timeout=120)
                    if ingest.returncode in (0, 3):
                        told.notes.append("an ingest on the full disk went through: SQLite had room in its own file")
                    elif "no space left" in ingest.stdout + ingest.stderr:
                        said["ingest"] += 1
                    else:
                        told.findings.append(f"ingest on a full disk: exit {ingest.returncode}: {(ingest.stdout + ingest.stderr)[-200:]}")
                    try:
                        status = run.process.wait(timeout=10)
                        said["run"] += "no space left" in run.log()
                        if status != 2 or "no space left" not in run.log():
                            told.findings.append(f"run on a full disk: exit {status}: {run.log()[-300:]}")
                    except subprocess.TimeoutExpired:
                        pass  # it had nothing to write
                    (folder / "filler").unlink()
                    room = time.monotonic()
                    if run.process.poll() is not None:
                        run.start()
                        wait_until("ready", 60, lambda: "ready" in run.log())
                        told.recovered(time.monotonic() - room)
                chaos.call([*base, "--json", "ingest", str(path)], environment, 120, allowed=(0, 3))
            if run.stop() != 0:
                told.findings.append("run did not leave at SIGTERM with 0")
            chaos.call([*base, "--json", "run", "--drain", "--timeout-s", "300"], environment, 320)
            topics = EmbeddedTopics(base[0], folder / "data", environment)
            one = oracle_admit.compare(entries, sent, list(topics.read("runs.events")), list(topics.read("deadletter")), False)
            two = oracle_runs.compare(topics, chaos.END_GRACE_MS, chaos.FORGET_AFTER_END_MS, drained=True)
        finally:
            run.end()
    shutil.rmtree(work, ignore_errors=True)
    for report in (one, two):
        report.show()
        told.findings += [f"{report.title}: {note[5:]}" for note in report.notes if note.startswith("FAIL")]
    told.notes.append(f"said \"no space left\" and ended with 2: ingest {said['ingest']} times, run {said['run']} times")
    rows = one.rows + two.rows
    return told, {
        "rows": len(entries), "outputs": sum(row[1] for row in rows), "lost": sum(row[3] for row in rows),
        "doubled": sum(row[4] for row in rows), "wrong": sum(row[5] for row in rows),
    }
