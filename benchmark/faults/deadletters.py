"""Ten thousand dead letters at a time come back after a fix, in order and once, a replay that was killed in its middle included.

The rows of one run carry a metric that the configuration does not allow; the fix is to allow it. What comes back is looked at where it
counts: the windows of the run, each of which must hold each of its steps once, and no row may be late.
"""

import json
import signal
import subprocess
import time

import chaos
import pipeline
import scenarios
from kafka import Trouble, wait_until

LETTERS = 10_000
METRIC = "forbidden_ratio"


def rows(run_id, begin_ms):
    """A run of as many steps."""
    out = [{"topic": "runs.config", "value": {"run_id": run_id, "event_time_ms": begin_ms}}]
    for step in range(LETTERS):
        value = {"run_id": run_id, "step": step, "loss": 2.0 + 1.0 / (1 + step), "event_time_ms": begin_ms + 100 * step, "metrics": {METRIC: 0.5}}
        out.append({"topic": "telemetry.training", "value": value})
    return out


def send(broker, entries):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker.direct, "enable.idempotence": True, "linger.ms": 20})
    for entry in entries:
        # one partition: the order is to be kept
        producer.produce(entry["topic"], json.dumps(entry["value"]).encode(), key=entry["value"]["run_id"].encode(), partition=0)
        producer.poll(0)
    if producer.flush(60):
        raise Trouble("rows were not delivered")


def replayed(arguments, stage_of, dice):
    stage = stage_of("stage-letters")
    told = scenarios.Told()
    flow = None
    try:
        # nothing but bad rows would pause the topic, and keep the load back that this is about
        denying = {"CAIRN_ADMIT_METRICS_ALLOWED": json.dumps(["allowed_*"]), "CAIRN_ADMIT_GUARDS_PAUSE_ROWS_MIN": "0",
                   "CAIRN_ADMIT_GUARDS_QUARANTINE_BAD_RATIO_MAX": "1"}
        flow = pipeline.Flow(arguments.cairn, stage.broker, stage.registry(), arguments.work / "letters", arguments.seed, 200, 100, denying)
        runs = {"whole": 0, "killed": 0}
        begin_ms = int(time.time() * 1000) - 3_600_000
        flow.start(0)
        for run_id in runs:
            send(stage.broker, rows(run_id, begin_ms))

        def letters():
            return [record.value for record in flow.topics.read("deadletter")]

        wait_until("the dead letters", 240, lambda: len(letters()) >= 2 * LETTERS, 2.0)
        found = letters()
        if flow.stop(0) != 0:
            told.findings.append("the pipeline did not leave at SIGTERM with 0")
        # the fix
        del flow.environment["CAIRN_ADMIT_METRICS_ALLOWED"]
        flow.start(0)
        order = sorted(found, key=lambda letter: (letter["source"]["partition"], letter["source"]["offset"]))
        by_run = {run_id: [letter["deadletter_id"] for letter in order if letter["key"] == run_id.encode()] for run_id in runs}
        if any(len(ids) != LETTERS for ids in by_run.values()):
            raise Trouble(f"letters by run: {[len(ids) for ids in by_run.values()]}")
        for run_id, ids in by_run.items():
            command = [*flow.base, "--json", "deadletter", "replay", *ids]
            begun = time.monotonic()
            if run_id == "killed":
                events = len(list(flow.topics.read("telemetry.training")))
                process = subprocess.Popen(command, env=flow.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                wait_until("the replay's middle", 120, lambda: process.poll() is not None or
                           len(list(flow.topics.read("telemetry.training"))) > events + LETTERS // 20, 0.05)
                if process.poll() is not None:
                    told.notes.append("the replay was over before it could be killed")
                process.send_signal(signal.SIGKILL)
                process.wait()
                told.injected += 1
                told.notes.append(f"killed when {len(list(flow.topics.read('telemetry.training'))) - events} of {LETTERS} were sent and committed")
            chaos.call(command, flow.environment, 300)
            told.recovered(time.monotonic() - begun)
        wait_until("the rows", 240, lambda: flow.revive() or len({
            (record.value["run_id"], event["payload"]["step"]) for record in flow.topics.read("runs.events") for event in record.value["events"]
            if event["topic"] == "telemetry.training"}) >= 2 * LETTERS, 2.0)
        # the last windows close with their run
        for run_id in runs:
            send(stage.broker, [{"topic": "runs.lifecycle", "value": {"run_id": run_id, "state": "finished", "step": LETTERS - 1}}])
        time.sleep(2.0)
        if flow.stop(0) != 0:
            told.findings.append("the pipeline did not leave at SIGTERM with 0")
        chaos.call([*flow.base, "--json", "run", "--instance-id", "a", "--drain", "--timeout-s", "200"], flow.environment, 220)
        result = judge(flow, told, runs, len(letters()))
    finally:
        if flow is not None:
            flow.end()
        stage.end()
    return told, result


def judge(flow, told, runs, letters):
    """Order by the events as written, once by the windows."""
    lost = doubled = wrong = 0
    events = [(record.value["run_id"], event["payload"]["step"]) for record in flow.topics.read("runs.events")
              for event in record.value["events"] if event["topic"] == "telemetry.training"]
    for run_id in runs:
        first = list(dict.fromkeys(step for run, step in events if run == run_id))
        if first != sorted(first):
            told.findings.append(f"{run_id}: steps came back out of order")
        windows = [record.value for record in flow.topics.read("runs.windows") if record.value["run_id"] == run_id and record.value["kind"] == "step"]
        held = {window["start"]: window["n"] for window in windows}
        doubled += len(windows) - len(held)
        for start in range(0, LETTERS, 100):
            lost += max(0, 100 - held.get(start, 0))
            doubled += max(0, held.get(start, 0) - 100)
    late = len([1 for record in flow.topics.read("late") if record.value["run_id"] in runs])
    if late:
        told.findings.append(f"{late} rows came back late")
    if letters != 2 * LETTERS:
        told.findings.append(f"{letters} dead letters after the replays, {2 * LETTERS} before")
    told.notes.append(f"events written {len(events)}, of them sent twice by the killed replay and dropped as duplicates {len(events) - 2 * LETTERS}; "
                      "recovery is the time of a replay of ten thousand")
    return {"rows": 2 * LETTERS, "outputs": 2 * LETTERS // 100, "lost": lost, "doubled": doubled, "wrong": wrong, "dead": 2 * LETTERS, "opened": 2 * LETTERS}
