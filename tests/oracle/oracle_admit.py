"""The first oracle: what was sent equals `runs.events` plus `deadletter`, as multisets.

Independent of the product's code: it knows the workload (what was sent, and what must become of it) and the documented rules.
A sent record must come out exactly once, either as an event with its content or as a dead letter of its class with the digest of
its bytes; content and source position are both compared.
"""

import hashlib
import json
import math
from collections import Counter

from common import Report, Trouble, complete, frozen

EVIDENCE = {"loss": "loss_state", "validation_loss": "validation_loss_state", "grad_norm": "grad_norm_state"}


def state_of(number):
    if math.isnan(number):
        return "nan"
    return "positive_infinity" if number > 0 else "negative_infinity"


def normal_form(topic, value):
    """What admit must make of a good event: defaults filled in, a loss that is not finite as null and a state (DESIGN 3.4)."""
    event = complete(topic, value)
    if topic == "telemetry.training":
        for name, state in EVIDENCE.items():
            if isinstance(event.get(name), float) and not math.isfinite(event[name]):
                event[state], event[name] = state_of(event[name]), None
        # a perplexity that is not finite says what such a loss says
        perplexity = event.get("perplexity")
        if isinstance(perplexity, float) and not math.isfinite(perplexity):
            event["perplexity"] = None
            if event["loss"] is None and event["loss_state"] == "finite":
                event["loss_state"] = state_of(perplexity)
    return event


def clock_of(event):
    return event["step"] if event.get("step") is not None else event.get("event_time_ms")


def id_of_header(text):
    hash_ = hashlib.sha256()
    hash_.update(len(b"default").to_bytes(8, "big"))
    hash_.update(b"default")
    hash_.update(text.encode())
    return hash_.digest()


def content(topic, event, event_id):
    return (topic, frozen(event), event_id)


def compare(entries, sent, events, letters, by_position):
    """`sent`: number to (partition, offset, digest of the value) or, for files, to (None, None, digest of the line)."""
    report = Report("oracle 1: sent = runs.events + deadletter")
    lost = [entry["n"] for entry in entries if entry["n"] not in sent]
    if lost:
        raise Trouble(f"{len(lost)} records were never acknowledged by the log, such as {lost[:3]}")

    # events, by content
    want, positions_want = Counter(), {}
    ids = {}
    for entry in entries:
        if entry["expect"] != "taken":
            continue
        value = json.loads(bytes.fromhex(entry["raw"])) if entry["raw"] is not None else entry["value"]
        event = normal_form(entry["topic"], value)
        key = content(entry["topic"], event, id_of_header(entry["event_id"]) if entry["event_id"] else None)
        want[key] += 1
        positions_want[(entry["topic"], *sent[entry["n"]][:2])] = key
    given = {key[2] for key in want if key[2] is not None}
    got, positions_got, wrong_clock, wrong_position = Counter(), Counter(), 0, 0
    named_by, received = {}, {}
    for record in events:
        for event in record.value["events"]:
            header = event["event_id"] if event["event_id"] in given else None
            key = content(event["topic"], event["payload"], header)
            got[key] += 1
            if header is None:
                ids.setdefault(event["event_id"], set()).add(key)
            payload = event["payload"]
            wrong_clock += event["clock"] != clock_of(payload) or event["attempt"] != payload.get("attempt", 0)
            wrong_clock += payload["run_id"] != record.value["run_id"] or record.value["tenant"] != "default"
            source = event["source"]
            position = (source["topic"], source["partition"], source["offset"])
            positions_got[position] += 1
            received[position] = event["received_time_ms"]
            named_by.setdefault(position, []).append((record.partition, record.offset, record.time_ms))
            if by_position:
                wrong_position += positions_want.get(position) != key
    report.row("events by content", want.total(), got.total(), (want - got).total(), (got - want).total(), wrong_clock)
    for what, some in (("lost", want - got), ("doubled or unknown", got - want)):
        for key in list(some)[:2]:
            report.note(f"{what}: {key}"[:700])
    doubled = sum(count - 1 for count in positions_got.values() if count > 1)
    if by_position:
        missing = len(set(positions_want) - set(positions_got))
        report.row("events by source position", len(positions_want), positions_got.total(), missing, doubled, wrong_position)
    else:
        report.claim(doubled == 0, f"no ingress position is named by two events ({doubled} are)")
    for position in sorted(position for position, count in positions_got.items() if count > 1)[:: max(1, doubled // 8)]:
        report.note(f"doubled: {position} is in runs.events at (partition, offset, append time) {named_by[position]}")
    in_order = sorted(received)
    back = sum(a[:2] == b[:2] and received[b] < received[a] for a, b in zip(in_order, in_order[1:]))
    report.note(f"times of receipt that go back inside an ingress partition: {back} of {len(received)}")
    contents = {key for keys in ids.values() for key in keys}
    report.claim(len(contents) == len(ids), f"content and content id say the same: {len(contents)} contents, {len(ids)} ids")

    # dead letters of admit and ingest, by class and digest of the original
    want = Counter((entry["expect"], sent[entry["n"]][2]) for entry in entries if entry["expect"] != "taken")
    got = Counter(
        (record.value["class"], record.value["plaintext_sha256"].hex())
        for record in letters if record.value["operator"] in ("admit", "ingest")
    )
    report.row("dead letters by class and digest", want.total(), got.total(), (want - got).total(), (got - want).total(), 0)
    if (want - got) or (got - want):
        report.note(f"lost: {list((want - got).items())[:3]}; unknown: {list((got - want).items())[:3]}")
    # A task's letters are counted by the oracle of its task. Two of them say the same where a producer sent one event twice, both came
    # into one record of runs.events, and neither can be taken: what is not taken is not remembered.
    named = Counter(record.value["deadletter_id"] for record in letters if record.value["operator"] in ("admit", "ingest"))
    twice = [name for name, count in named.items() if count > 1]
    report.claim(not twice, f"no dead letter is there twice ({len(twice)} are)")
    task = Counter(record.value["deadletter_id"] for record in letters if record.value["operator"] not in ("admit", "ingest"))
    again = [record.value for record in letters if task[record.value["deadletter_id"]] > 1]
    names = {(letter["deadletter_id"], letter["class"], str(letter["source"]), letter["event_id"]) for letter in again}
    report.claim(
        len(names) == len({letter["deadletter_id"] for letter in again}),
        f"a task's letters with one id are about one event of one record ({len(again)} share theirs)",
    )
    report.note("classes: " + ", ".join(f"{name} {count}" for name, count in sorted(Counter(key[0] for key in want.elements()).items())))
    return report
