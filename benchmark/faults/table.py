"""Writes benchmark/faults.md from the lines of results.jsonl: one row for each fault, the runs of a fault added up."""

import json
import pathlib
import platform
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
    "contender.wire": "transactional requests and answers cut or delayed beyond the client's time-out",
    "contender.late": "the same, delayed beyond the transaction's time-out (13 s), default time-outs",
    "contender.points": "SIGKILL at each of the 15 numbered points of the commit",
    "contender.restores": "join, leave and SIGKILL in the middle of a restore",
    "cairn.kills": "SIGKILL of one of two instances at a random moment",
    "cairn.chaos": "`tests/oracle/chaos.py`: SIGKILLs, a second instance joins and leaves, two stock clients",
    "cairn.survivors": "SIGKILL of one of two, which stays away: the survivor takes over",
    "cairn.pauses": "SIGSTOP past the session, takeover, SIGCONT",
    "cairn.brokers": "broker SIGKILLed and started again",
    "cairn.wire": "transactional requests and answers cut or delayed beyond the client's time-out",
    "cairn.points": "SIGKILL at each of the 15 numbered points of the commit",
    "cairn.restores": "join, leave and SIGKILL in the middle of a restore",
    "cairn.disk": "snapshots' disk full, then room again",
    "cairn.embedded_disk": "embedded log: its disk full, then room again",
    "cairn.deadletters": "ten thousand dead letters replayed after a fix, the replay SIGKILLed in its middle and started again",
}


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
        "runs": len(runs), "at": runs[-1]["at"][:10],
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
    head = (HERE / "head.md").read_text()
    out = [head.rstrip(), ""]
    commit = version(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"])
    out.append(
        f"Commit {commit}; Apache Kafka 4.3.1 (KRaft, one node, Java: {version(['java', '-version'])}); librdkafka 2.12.1 through rdkafka 0.39; "
        f"Python {platform.python_version()}; Linux {platform.release()}, {len(__import__('os').sched_getaffinity(0))} cores shared with compilers and "
        "other tests.\n"
    )
    for subject, title in (("contender", "The contender (`benchmark/streaming/cairn`, release build)"), ("cairn", "`cairn run`")):
        out += [f"## {title}", "",
                "| fault | injected | rows in | outputs compared | lost | doubled | wrong | recovery s, median · slowest | seeds (runs) | date | verdict |",
                "|---|---|---|---|---|---|---|---|---|---|---|"]
        notes = []
        for name, text in WHAT.items():
            if not name.startswith(subject + "."):
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
