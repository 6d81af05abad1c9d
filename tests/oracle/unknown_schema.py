"""A schema id that the registry denies holds its partition for 30 s and is then a dead letter; other partitions go on meanwhile.

    unknown_schema.py --cairn BINARY

Exit: 0 as documented (DESIGN 3.5), 1 not, 2 it could not be done.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import chaos
import servers
from common import KafkaTopics, Report, Trouble

TOPIC = "telemetry.training"


def until(what, patience_s, look):
    """Looks once a second until there is something; when it was there."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if look():
            return time.monotonic()
        time.sleep(0.5)  # between two looks
    raise Trouble(f"{what} did not come within {patience_s} s")


def test(cairn, work, finish):
    from confluent_kafka import Producer

    broker, bootstrap = servers.kafka(work)
    finish.append(broker.stop)
    registry, url = servers.registry(work)
    finish.append(registry.stop)
    env = chaos.environment(work)
    base = [str(cairn), "--data", str(work / "data"), "--kafka", bootstrap, "--registry", url]
    chaos.call([*base, "init"], env, 60)
    chaos.call([*base, "topics", "apply"], env, 120)
    run = chaos.Cairn("a", [*base, "run"], env, work)
    finish.append(run.end)
    run.start()
    topics = KafkaTopics(bootstrap, url)

    def steps():
        return sorted(event["payload"]["step"] for record in topics.read("runs.events") for event in record.value["events"])

    def letters():
        return [(record.value["class"], record.value["plaintext_sha256"].hex()) for record in topics.read("deadletter")]

    def row(step):
        return json.dumps({"run_id": "r", "step": step, "loss": 2.0}).encode()

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    producer.produce(TOPIC, row(0), partition=0)
    producer.flush(30)
    until("the first row", 60, lambda: steps() == [0])
    denied = b"\x00" + (999_999).to_bytes(4, "big") + b"\x02r"
    producer.produce(TOPIC, denied, partition=1)
    producer.produce(TOPIC, row(1), partition=1)
    producer.produce(TOPIC, row(2), partition=0)
    producer.flush(30)
    sent = time.monotonic()
    report = Report("an unknown schema id")
    other = until("the row of another partition", 25, lambda: 2 in steps())
    report.claim(1 not in steps() and not letters(), f"the row of another partition came after {other - sent:.1f} s, its own partition waits")
    dead = until("the dead letter", 90, letters)
    report.claim(dead - sent >= 29.0, f"the dead letter came after {dead - sent:.1f} s")
    until("the row behind it", 20, lambda: 1 in steps())
    report.claim(letters() == [("unknown_schema", hashlib.sha256(denied).hexdigest())], f"one dead letter: {letters()}")
    report.claim(steps() == [0, 1, 2], f"every row once: {steps()}")
    report.claim(run.stop() == 0, "the pipeline leaves at SIGTERM with 0")
    return report.show()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cairn", type=pathlib.Path, required=True)
    parser.add_argument("--tied", action="store_true", help="end when standard input closes")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, chaos.stopped)
    if arguments.tied:
        chaos.tie_to_standard_input()
    work = pathlib.Path(tempfile.mkdtemp(prefix="cairn-schema-"))
    finish, good = [], False
    try:
        good = test(chaos.own_copy(arguments.cairn, work), work, finish)
    except (Trouble, subprocess.TimeoutExpired) as trouble:
        print(f"could not be done: {trouble}", flush=True)
        sys.exit(2)
    finally:
        for end in reversed(finish):
            end()
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
