"""Writes benchmark/faults.md from the lines of results.jsonl: one row for each fault, the runs of a fault added up.

What was not run keeps the row and the notes that it has in the file, so that a campaign may run some faults and leave the others' outcome.
"""

import json
import pathlib
import platform
import re
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE.parent / "faults.md"

WHAT = {
    "contender.control": "control: a stock librdkafka producer whose commit is delayed beyond its time-out (no code of ours)",
    "contender.clean": "none, at full speed",
    "contender.harness": "the harness's own `kill` and `pause` (full speed, by its command line)",
    "contender.kills": "SIGKILL of one of two instances at a random moment",
    "contender.survivors": "SIGKILL of one of two, which stays away: the survivor takes over",
    "contender.pauses": "SIGSTOP past the session, takeover, SIGCONT",
    "contender.brokers": "broker SIGKILLed and started again",
    "contender.cluster": "one broker of three SIGKILLed and started again",
    "contender.wire": "transactional requests and answers cut or delayed beyond the client's time-out",
    "contender.late": "the same, delayed beyond the transaction's time-out (13 s), default time-outs",
    "contender.points": "SIGKILL at each of the 15 numbered points of the commit",
    "contender.restores": "join, leave and SIGKILL in the middle of a restore",
    "cairn.kills": "SIGKILL of one of two instances at a random moment",
    "cairn.chaos": "`tests/oracle/chaos.py`: SIGKILLs, a second instance joins and leaves, two stock clients",
    "cairn.survivors": "SIGKILL of one of two, which stays away: the survivor takes over",
    "cairn.pauses": "SIGSTOP past the session, takeover, SIGCONT",
    "cairn.brokers": "broker SIGKILLed and started again",
    "cairn.cluster": "one broker of three SIGKILLed and started again",
    "cairn.wire": "transactional requests and answers cut or delayed beyond the client's time-out",
    "cairn.points": "SIGKILL at each of the 15 numbered points of the commit",
    "cairn.restores": "join, leave and SIGKILL in the middle of a restore",
    "cairn.disk": "snapshots' disk full, then room again",
    "cairn.embedded_disk": "embedded log: its disk full, then room again",
    "cairn.deadletters": "ten thousand dead letters replayed after a fix, the replay SIGKILLed in its middle and started again",
}


TITLES = {"contender": "The contender (`benchmark/streaming/cairn`, release build)", "cairn": "`cairn run`"}


def kept(text):
    """What the file says of each fault: {name: (row, notes)}; a fault that was not run is not in it."""
    found = {}
    for subject, title in TITLES.items():
        section = text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
        for name, what in WHAT.items():
            row = next((line for line in section if line.startswith(f"| {what} |") and "**not run**" not in line), None)
            if name.startswith(f"{subject}.") and row:
                short = name.partition(".")[2]
                found[name] = row, [line for line in section if re.match(rf"- \*{short}\*[:,]", line)]
    return found


def lines(work):
    path = work / "results.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if "fault" in line]  # the harness writes its own lines there, too


def added(runs):
    """The runs of one fault as one row."""
    def total(name):
        return sum(run.get(name, 0) for run in runs)

    recoveries = sorted(second for run in runs for second in run.get("recoveries", []))
    verdicts = {run["verdict"] for run in runs}
    return {
        "injected": total("injected"), "rows": total("rows"), "outputs": total("outputs"), "lost": total("lost"), "doubled": total("doubled"),
        "wrong": total("wrong"), "dead": total("dead"), "opened": total("opened"),
        "middle": recoveries[len(recoveries) // 2] if recoveries else None, "slowest": recoveries[-1] if recoveries else None,
        "seeds": ", ".join(dict.fromkeys(str(run["seed"]) for run in runs)),
        "verdict": verdicts.pop() if len(verdicts) == 1 else "; ".join(
            f"{verdict} ({sum(run['verdict'] == verdict for run in runs)} of {len(runs)} runs)" for verdict in sorted(verdicts)),
        "runs": len(runs), "at": ", ".join(dict.fromkeys([runs[-1]["at"][:10], *(run["binary"] for run in runs if run.get("binary"))])),
    }


def version(command, line=0):
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return (ran.stdout + ran.stderr).splitlines()[line].strip()
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"


def write(work):
    runs = {}
    for line in lines(work):
        if not line.get("quick"):
            runs.setdefault(line["fault"], []).append(line)
    before = kept(TARGET.read_text()) if TARGET.exists() else {}
    head = (HERE / "head.md").read_text()
    out = [head.rstrip(), ""]
    out.append(
        f"Apache Kafka 4.3.1 (KRaft, one node; *cluster*: three; Java: {version(['java', '-version'])}); librdkafka 2.12.1 through rdkafka 0.39; "
        f"Python {platform.python_version()}; Linux {platform.release()}, {len(__import__('os').sched_getaffinity(0))} cores shared with compilers and "
        "other tests.\n"
    )
    for subject, title in TITLES.items():
        out += [f"## {title}", "",
                "| fault | injected | rows in | outputs compared | lost | doubled | wrong | recovery s, median · slowest | seeds (runs) | date, commit | verdict |",
                "|---|---|---|---|---|---|---|---|---|---|---|"]
        notes = []
        for name, text in WHAT.items():
            if not name.startswith(subject + "."):
                continue
            if name not in runs and name in before:
                out.append(before[name][0])
                notes += before[name][1]
                continue
            if name not in runs:
                out.append(f"| {text} | – | | | | | | | | | **not run** |")
                continue
            row = added(runs[name])
            start = f"| {text} | {row['injected'] or '–'} |"
            end = f"{row['seeds']} ({row['runs']}) | {row['at']} | {row['verdict']} |"
            recovery = f"{row['middle']:.1f} · {row['slowest']:.1f}" if row["slowest"] is not None else "–"
            if row["outputs"]:
                compared = f"{row['rows']:,} | {row['outputs']:,} | {row['lost']} | {row['doubled']} | {row['wrong']} | {recovery}"
            else:
                compared = "– | – | – | – | – | –"  # no oracle was asked
            out.append(f"{start} {compared} | {end}")
            short = name.split(".", 1)[1]
            if row["dead"]:
                notes.append(f"- *{short}*: {row['dead']:,} of the rows are dead letters, each there once; {row['opened']} were opened and are what was sent.")
            for run in runs[name]:
                for note in run.get("notes", []) + [f"**finding**: {finding}" for finding in run.get("findings", [])]:
                    notes.append(f"- *{short}*, seed {run['seed']}: {note}")
        out += ["", *dict.fromkeys(notes), ""]
    TARGET.write_text("\n".join(out))
    print(TARGET)
