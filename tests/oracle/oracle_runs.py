"""The second oracle: `runs.events` exactly as written gives the windows, late rows, rows, verdicts and dead letters that are there.

It reads `runs.events` and `ticks.run` in the order in which the task took them (`cuts.run`: a batch's chunk is sorted by topic,
partition and offset), computes everything anew, single-threaded, and compares with the read-committed topics.
"""

import json
from collections import Counter, defaultdict

from common import Report, alike, complete, differences
from model_runs import Partition


def order(events, ticks, cuts, report):
    """Records by partition, in the order in which the task applied them; what no cut covers is said."""
    waiting = defaultdict(list)
    for record in events + ticks:
        waiting[(record.topic, record.partition)].append(record)
    place = Counter()
    ordered = defaultdict(list)
    backwards = 0
    for cut in cuts:
        for span in sorted(cut.value["inputs"], key=lambda span: (span["topic"], span["partition"])):
            source = (span["topic"], span["partition"])
            records = waiting[source]
            if place[source] and span["offset"] <= records[place[source] - 1].offset:
                backwards += 1
            while place[source] < len(records) and records[place[source]].offset < span["offset"]:
                ordered[span["partition"]].append(records[place[source]])
                place[source] += 1
    left = sum(len(records) - place[source] for source, records in waiting.items())
    report.claim(left == 0, f"every record of runs.events and ticks.run is covered by a cut ({left} are not)")
    report.claim(backwards == 0, f"no cut goes back behind what was taken ({backwards} do)")
    return ordered


def matched(report, what, want, got, key):
    """Compares two lists of records as multisets; `key` says which record is which."""
    wanted, found = defaultdict(list), defaultdict(list)
    for record in want:
        wanted[key(record)].append(record)
    for record in got:
        found[key(record)].append(record)
    lost = extra = different = 0
    notes = []
    for name in sorted(wanted.keys() | found.keys(), key=repr):
        ours, theirs = wanted.get(name, []), found.get(name, [])
        lost += max(0, len(ours) - len(theirs))
        extra += max(0, len(theirs) - len(ours))
        if len(ours) != len(theirs):
            notes.append(f"{what} {name}: oracle {len(ours)}, topic {len(theirs)}")
        for one, other in zip(ours, theirs):
            if not alike(one, other):
                different += 1
                notes.append(f"{what} {name}: {differences(one, other)}")
    report.row(what, len(want), len(got), lost, extra, different)
    for note in notes[:4]:
        report.note(note[:600])


def late_by_receipt(ordered):
    """How many rows would be late had every run's events been taken in the order in which ingress received them."""
    count = 0
    for records in ordered.values():
        events = [(event, record) for record in records if record.topic == "runs.events" for event in record.value["events"]]
        events.sort(key=lambda pair: (pair[0]["received_time_ms"], pair[0]["source"]["topic"], pair[0]["source"]["offset"]))
        partition = Partition(2**62, 2**62, lateness_only=True)
        for event, record in events:
            value = {"tenant": record.value["tenant"], "run_id": record.value["run_id"], "events": [event]}
            partition.apply(record._replace(value=value, time_ms=event["received_time_ms"]))
        count += len(partition.late)
    return count


def backwards(ordered):
    """How far the times of receipt go back within a run, in milliseconds: how many events, the median and the greatest step back."""
    greatest, steps = {}, []
    for number in sorted(ordered):
        for record in ordered[number]:
            for event in record.value["events"] if record.topic == "runs.events" else ():
                run = (record.value["tenant"], record.value["run_id"])
                back_ms = greatest.get(run, event["received_time_ms"]) - event["received_time_ms"]
                greatest[run] = max(greatest.get(run, event["received_time_ms"]), event["received_time_ms"])
                if back_ms > 0:
                    steps.append(back_ms)
    steps.sort()
    return (len(steps), steps[len(steps) // 2], steps[-1]) if steps else (0, 0, 0)


def compare(topics, end_grace_ms, forget_after_end_ms, drained):
    """`topics` reads a topic by its name; `drained`: a drain was the last thing that happened."""
    report = Report("oracle 2: runs.events as written -> windows, late, rows, verdicts")
    events, ticks = list(topics.read("runs.events")), list(topics.read("ticks.run"))
    ordered = order(events, ticks, list(topics.read("cuts.run")), report)
    partitions = []
    for number in sorted(ordered):
        partition = Partition(end_grace_ms, forget_after_end_ms)
        for record in ordered[number]:
            partition.apply(record)
        if drained:
            partition.drain()
        partitions.append(partition)

    def all_of(name):
        return [item for partition in partitions for item in getattr(partition, name)]

    windows = [record.value for record in topics.read("runs.windows")]
    for kind in ("step", "time", "tokens"):
        matched(
            report, f"windows by {kind}", [w for w in all_of("windows") if w["kind"] == kind], [w for w in windows if w["kind"] == kind],
            lambda w: (w["tenant"], w["run_id"], w["attempt"], w["start"]),
        )
    late = [dict(record.value) for record in topics.read("late")]
    for row in late:
        row["payload"] = complete(row["topic"], json.loads(row["payload"]))
    matched(report, "late rows", all_of("late"), late, lambda row: (row["run_id"], row["event_id"].hex(), row["source"]["offset"]))
    verdicts = [{name: value for name, value in record.value.items() if name != "text"} for record in topics.read("breaker.verdicts")]
    matched(
        report, "breaker verdicts", all_of("verdicts"), verdicts,
        lambda v: (v["run_id"], v["attempt"], v["at_step"], v["previous_state"], v["state"], v["cause"]),
    )
    letters = [record.value for record in topics.read("deadletter") if record.value["operator"] == "runs"]
    matched(
        report, "dead letters of the task", [list(dead) for dead in all_of("dead")],
        [[d["class"], d["event_id"], d["source"]["partition"], d["source"]["offset"]] for d in letters], lambda d: (d[0], d[1].hex(), d[3]),
    )
    newest = {}
    written = 0
    for record in topics.read("experiments.rows"):
        newest[record.key] = record.value
        written += 1
    rows = [run.row for partition in partitions for run in partition.runs.values() if run.has_row]
    matched(report, "rows, newest of each run", rows, list(newest.values()), lambda row: (row["tenant"], row["run_id"]))
    causes = Counter(verdict["cause"] for verdict in all_of("verdicts"))
    closed_by = Counter(window["closed_by"] for window in all_of("windows"))
    report.note(f"events {sum(len(record.value['events']) for record in events)} in {len(events)} records, ticks {len(ticks)}, "
                f"duplicates {sum(p.duplicates for p in partitions)}, runs forgotten {sum(p.forgotten for p in partitions)}, row records {written}")
    report.note(f"windows closed by {dict(sorted(closed_by.items()))}; verdicts {dict(sorted(causes.items()))}; "
                f"late by {dict(sorted(Counter(row['unit'] for row in all_of('late')).items()))}")
    report.note(f"late {len(late)}; in the order of receipt it would be {late_by_receipt(ordered)}: the rest is disorder that admit's batches make "
                "(within a run receipt goes back for {} events, by {} ms in the median, {} ms at most)".format(*backwards(ordered)))
    report.counts = {
        "windows": len(all_of("windows")), "late": len(all_of("late")), "verdicts": len(all_of("verdicts")), "dead": len(all_of("dead")),
        "duplicates": sum(p.duplicates for p in partitions), "token windows": sum(w["kind"] == "tokens" for w in all_of("windows")),
    }
    return report
