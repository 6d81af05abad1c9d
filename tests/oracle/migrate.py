"""Moves the run family of a real Kafka to other partition counts between two halves of an input, killed on the way.

    migrate.py --cairn BINARY [--seed N] [--keep DIR]

Rows, windows, verdicts and late rows must be those of an embedded log that took the same input and was never migrated.
Exit: 0 equal, 1 different, 2 it could not be done.
"""

import argparse
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import chaos
from common import Report, Trouble, say

RUNS = 40
COMPARED = ("experiments.rows", "runs.windows", "breaker.verdicts", "late")
# What no two runs of the pipeline share: times of receipt, and places in the log.
PLACES = {"inputs", "offset", "offsets", "first", "last", "partition", "evidence", "verdict_id", "event_id"}


def line(topic, run, **fields):
    return json.dumps({"topic": topic, "run_id": f"r{run}", **fields}) + "\n"


def step(run, number, salt=1):
    loss = "NaN" if run % 9 == 5 and number > 140 else round(2.0 + 3.0 / (number + 1 + run) + salt * 1e-4, 6)
    return line("telemetry.training", run, step=number, tokens=number * 10_000, loss=loss)


def halves():
    first, second = [], []
    for run in range(RUNS):
        first.append(line("runs.config", run, model={"parameters_total": 1e6 * (run + 1)}))
        first += [step(run, number) for number in range(150)]
        if run % 3 == 0:
            first.append(line("runs.lifecycle", run, state="finished", step=149))
        # what is known, what is late, what is new
        second += [step(run, 20), step(run, 21, salt=2)]
        if run % 3 != 0:
            second += [step(run, number) for number in range(150, 260)]
        second.append(line("eval.results", run, harness="h", task="t", metric="acc", value=0.5, n=100, step=149))
        if run % 3 == 1:
            second.append(line("runs.lifecycle", run, state="finished", step=259))
    for run in range(RUNS, RUNS + 5):
        second.append(line("runs.config", run, model={"parameters_total": 1e6 * (run + 1)}))
        second += [step(run, number) for number in range(100)]
        second.append(line("runs.lifecycle", run, state="finished", step=99))
    return "".join(first), "".join(second)


def stripped(value):
    if isinstance(value, dict):
        return {name: stripped(item) for name, item in value.items() if name not in PLACES and not name.endswith("_ms")}
    if isinstance(value, list):
        return [stripped(item) for item in value]
    return value


def said(base, env, topic):
    text = chaos.call([*base, "--json", "tail", topic, "--from-start", "--until-end"], env, 120)
    values = [json.loads(found)["value"] for found in text.splitlines()]
    if topic == "experiments.rows":
        values = list({value["run_id"]: value for value in values}.values())
    return sorted(json.dumps(stripped(value), sort_keys=True) for value in values)


def migrate(base, env, partitions, allowed=(0,)):
    return chaos.call([*base, "--json", "migrate", "run", "--partitions", str(partitions)], env, 300, allowed)


def killed(base, env, partitions, pause_s):
    """Begins a migration and kills it a moment after it has said that it moves; true where that left half a one."""
    process = subprocess.Popen([*base, "migrate", "run", "--partitions", str(partitions)],
                               env={**env, "CAIRN_MIGRATE_TRANSACTION_BYTES": "1"},
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        text = chaos.call([*base, "--json", "tail", "families", "--from-start", "--until-end"], env, 60)
        values = [json.loads(line)["value"] for line in text.splitlines()]
        if values and values[-1].get("moving_to") is not None:
            time.sleep(pause_s)
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
    ran = subprocess.run([*base, "run", "--drain"], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    return ran.returncode == 2 and f"cairn migrate run --partitions {partitions}" in ran.stderr


def play(arguments, chance, work, finish):
    import servers

    report = Report("migrate")
    broker, bootstrap = servers.kafka(work)
    finish.append(broker.stop)
    # The kills take a while: what is forgotten after a while must not differ by that.
    env = {**chaos.environment(work), "CAIRN_RUNS_FORGET_AFTER_END_MS": "3600000"}
    kafka = [str(arguments.cairn), "--data", str(work / "kafka"), "--kafka", bootstrap]
    embedded = [str(arguments.cairn), "--data", str(work / "embedded")]
    halves_of = [work / "first.jsonl", work / "second.jsonl"]
    for path, text in zip(halves_of, halves()):
        path.write_text(text)
    for base in (kafka, embedded):
        chaos.call([*base, "init"], env, 60)
    chaos.call([*kafka, "topics", "apply"], env, 120)

    chaos.call([*kafka, "--json", "ingest", str(halves_of[0])], env, 120)
    run = chaos.Cairn("a", [*kafka, "run", "--instance-id", "a"], env, work)
    finish.append(run.end)
    run.start()
    chaos.await_line(work / "run-a-1.log", "ready", run.process, 60)
    refused = migrate(kafka, env, 24, allowed=(5,))
    report.claim("another member" in refused, f"it refuses while an instance lives: {refused.strip()[:200]}")
    run.stop()
    chaos.call([*kafka, "run", "--drain"], env, 300)

    halfway = 0
    begun = time.monotonic()
    tries = 3
    for _ in range(tries):
        halfway += killed(kafka, env, 24, chance.uniform(0.0, 1.0))
    answer = json.loads(migrate(kafka, env, 24))
    say(f"{halfway} times half done in {time.monotonic() - begun:.0f} s, then {answer}")
    report.claim(halfway > 0, f"a kill leaves half a migration, which refuses to run: {halfway} of {tries}")
    report.claim((answer["to"], answer["present"]) == (24, 24), f"it is finished: {answer}")
    chaos.call([*kafka, "--json", "ingest", str(halves_of[1])], env, 120)
    chaos.call([*kafka, "run", "--drain"], env, 300)
    answer = json.loads(migrate(kafka, env, 5))
    report.claim((answer["from"], answer["to"], answer["present"]) == (24, 5, 24), f"fewer, and the partitions stay: {answer}")

    for path in halves_of:
        chaos.call([*embedded, "--json", "ingest", str(path)], env, 120)
        chaos.call([*embedded, "run", "--drain"], env, 300)
    for topic in COMPARED:
        expected, found = said(embedded, env, topic), said(kafka, env, topic)
        report.claim(len(expected) > 0, f"{topic}: {len(expected)} to compare")
        report.claim(expected == found, f"{topic}: {len(found)} as without a migration {first_difference(expected, found)}")
    return report.show()


def first_difference(expected, found):
    pairs = [(one, other) for one, other in zip(expected, found) if one != other]
    return f"{pairs[0][0][:600]} | {pairs[0][1][:600]}" if pairs else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cairn", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", type=pathlib.Path, default=None)
    parser.add_argument("--tied", action="store_true", help="end when standard input closes")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, chaos.stopped)
    if arguments.tied:
        chaos.tie_to_standard_input()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True)
    work = (arguments.keep or pathlib.Path(tempfile.mkdtemp(prefix="cairn-migrate-"))).resolve()
    finish, equal = [], False
    arguments.cairn = chaos.own_copy(arguments.cairn, work)
    try:
        equal = play(arguments, random.Random(f"migrate/{seed}"), work, finish)
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
