"""Faults that other programs of the repository inject: run by their command lines, their verdicts taken over."""

import json
import os
import re
import subprocess
import sys

import scenarios
from kafka import ROOT, Trouble

HARNESS_KILLS, HARNESS_PAUSES, CHAOS_RUNS = 5, 2, 2


def harness(arguments, stage_of, data):
    """`bench kill --second` and `bench pause` at full speed, several seeds."""
    stage = stage_of()
    told, found = scenarios.Told(), {"rows": 0, "outputs": 0, "lost": 0, "doubled": 0, "wrong": 0}
    script = ROOT / "benchmark" / "streaming" / "harness" / "bench.py"
    try:
        command = [sys.executable, str(script)]
        _run([*command, "load", "--data", data], 300)
        calls = [["kill", "cairn", "--second", "--times", "5", "--within-s", "1", "--commit-ms", "100", "--limit-s", "180", "--data", data, "--seed",
                  str(arguments.seed * 100 + number)] for number in range(HARNESS_KILLS)]
        calls += [["pause", "cairn", "--commit-ms", "100", "--within-s", "1", "--data", data, "--seed", str(arguments.seed * 100 + number)]
                  for number in range(HARNESS_PAUSES)]
        for call in calls:
            line = json.loads(_run([*command, *call], 600).splitlines()[-1])
            told.injected += len(line.get("kills", [0]))
            told.recoveries += line.get("progress_again_s", [])
            parts = [line["oracle"][name] for name in ("windows", "dlq", "late")]
            found["rows"] += line.get("rows", 5_000_000)
            found["outputs"] += sum(part["expected"] for part in parts)
            found["lost"] += sum(part["lost"] for part in parts)
            found["doubled"] += sum(part["duplicated"] + part["unexpected"] for part in parts)
            found["wrong"] += sum(part["wrong"] for part in parts)
            if not line["graceful_stop"]:
                told.findings.append(f"{' '.join(call)}: no graceful stop")
            if "took_over_s" in line:
                told.notes.append(f"pause, seed {line['seed']}: taken over after {line['took_over_s']:.1f} s")
    finally:
        stage.end()
    return told, found


def chaos(arguments):
    """tests/oracle/chaos.py on Kafka."""
    told, found = scenarios.Told(), {"rows": 0, "outputs": 0, "lost": 0, "doubled": 0, "wrong": 0}
    for number in range(CHAOS_RUNS):
        seed = arguments.seed * 100 + number
        records, kills = 40_000, 20
        command = [sys.executable, str(ROOT / "tests" / "oracle" / "chaos.py"), "--cairn", str(arguments.cairn), "--records", str(records), "--kills",
                   str(kills), "--rate", "600", "--seed", str(seed)]
        text = _run(command, 900, allowed=(0, 1))
        for row in re.finditer(r"^  \S.*?((?:\s+\d+){5})$", text, re.M):
            expected, _, lost, doubled, wrong = map(int, row.group(1).split())
            found["outputs"] += expected
            found["lost"] += lost
            found["doubled"] += doubled
            found["wrong"] += wrong
        found["rows"] += records
        told.injected += kills
        told.findings += [f"seed {seed}: {line.strip()}" for line in text.splitlines() if line.strip().startswith("FAIL")]
    return told, found


def _run(command, limit_s, allowed=(0,)):
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=limit_s, env=os.environ)
    if ran.returncode not in allowed:
        raise Trouble(f"{' '.join(command[1:4])}: exit {ran.returncode}: {ran.stdout[-300:]}{ran.stderr[-600:]}")
    return ran.stdout
