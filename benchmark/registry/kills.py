#!/usr/bin/env python3
"""SIGKILL `cairn run` and `cairn ingest` at random moments, and hold the registry against the log.

    benchmark/registry/kills.py --cairn BINARY --work DIR [--kills 50] [--seed 1] [--store delta|jsonl|postgres=ADDRESS|delta=s3://… ...]

A file grows by STEPS_A_KILL steps of each run before each kill; while they are ingested, `cairn run` writes the registry every 50 ms and is
killed at a random moment; ingest is killed every second time too, and started again. After the last kill a drain works off what is there. Then, for each store: the newest value of
each key on the log is the row in the table, offsets included, and no other row is there; `windows` holds every record of its topic
once; each line that was ingested is in exactly one run's row. Prints one line of JSON for each store; exit 1 where anything differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

RUNS, STEPS_A_KILL = 40, 200


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cairn", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", action="append")
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    bad = False
    for store in options.store or ["delta", "jsonl"]:
        found = campaign(options, store)
        print(json.dumps(found), flush=True)
        bad |= bool(found["different"] or found["lost"] or found["doubled"])
    sys.exit(1 if bad else 0)


class Place:
    """A data directory and the binary on it."""

    def __init__(self, options, store):
        store, _, location = store.partition("=")
        self.directory = os.path.join(options.work, store)
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        self.base = [options.cairn, "--data", os.path.join(self.directory, "data")]
        self.settings = [
            "--setting", f"registry.store={store}", "--setting", f"registry.location={location}",
            "--setting", "registry.commit_interval_ms=50", "--setting", "registry.commit_rows_max=500",
            "--setting", "gateway.listen=off",
        ]
        self.environment = {**os.environ, "HOME": self.directory, "XDG_CONFIG_HOME": self.directory}

    def start(self, *arguments):
        return subprocess.Popen(
            [*self.base, *arguments, *self.settings], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def ask(self, *arguments):
        answer = subprocess.run([*self.base, *arguments, *self.settings, "--json"], env=self.environment, capture_output=True, text=True)
        if answer.returncode not in (0, 3):
            raise RuntimeError(f"{arguments}: {answer.stdout[-500:]} {answer.stderr[-500:]}")
        return [json.loads(line) for line in answer.stdout.splitlines()]


def campaign(options, store):
    chance = random.Random(options.seed)
    place = Place(options, store)
    source = os.path.join(place.directory, "lines.jsonl")
    begun = time.monotonic()
    ingest_kills = 0
    for kill in range(options.kills):
        grow(source, kill * STEPS_A_KILL)
        pipeline, ingest = place.start("run"), place.start("ingest", source)
        until = time.monotonic() + chance.uniform(0.1, 1.2)
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0.02, 0.5))
            ingest_kills += ingest.poll() is None
            ingest.send_signal(signal.SIGKILL)
            ingest.wait()
            ingest = place.start("ingest", source)
        time.sleep(max(0.0, until - time.monotonic()))
        pipeline.send_signal(signal.SIGKILL)
        pipeline.wait()
        ingest.wait()
    place.ask("ingest", source)
    place.ask("run", "--drain")
    return {
        "store": store, "seed": options.seed, "kills": options.kills, "ingest_kills": ingest_kills,
        **verdict(place, options.kills * STEPS_A_KILL), "seconds": round(time.monotonic() - begun, 1),
    }


def grow(path, known):
    with open(path, "a") as lines:
        for step in range(known + 1, known + STEPS_A_KILL + 1):
            for run in range(RUNS):
                lines.write(json.dumps({"run_id": f"run-{run}", "step": step, "tokens": step * 10, "loss": 2 + 3 / step}) + "\n")


def verdict(place, steps):
    """Compares tables with topics."""
    newest, windows = {}, set()
    for record in place.ask("tail", "experiments.rows", "--from-start", "--until-end"):
        newest[record["key"]] = (record["partition"], record["offset"], record["value"]["tokens"])
    for record in place.ask("tail", "runs.windows", "--from-start", "--until-end"):
        windows.add((record["partition"], record["offset"]))
    rows = place.ask("sql", "SELECT log_key, log_partition, log_offset, tokens FROM rows")
    table = {row["log_key"]: (row["log_partition"], row["log_offset"], row["tokens"]) for row in rows}
    kept = [(row["log_partition"], row["log_offset"]) for row in place.ask("sql", "SELECT log_partition, log_offset FROM windows")]
    events = place.ask("sql", "SELECT sum(steps) AS steps, count(*) AS runs FROM rows")[0]
    return {
        "rows": len(rows), "windows": len(kept),
        "different": sum(table.get(key) != value for key, value in newest.items()) + len(set(table) - set(newest)),
        "lost": len(windows - set(kept)) + max(0, RUNS * steps - int(events["steps"] or 0)),
        "doubled": len(rows) - len(table) + len(kept) - len(set(kept)),
    }


if __name__ == "__main__":
    main()
