"""First figures, no target yet: rows a second and CPU-seconds a million rows of `ingest` and of the whole chain, and the time
from a diverging step's record to its telegram, on the embedded log and on a real Kafka.

    python benchmark/first_figures.py --cairn target/debug/cairn --rows 200000 --times 3 [--kafka HOST:PORT]

Rows are the contract's JSONL, 64 runs, a step each; the chain is `run --drain` with every operator, its changelog included.
CPU-seconds are user + system of the process alone; a broker's are not in them.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

RUNS = 64


def write(path, rows, prefix):
    with open(path, "w") as out:
        for n in range(rows):
            run, step = n % RUNS, n // RUNS
            loss = 3.0 + 4.0 / (step + 10) + 0.01 * ((n * 2654435761) % 97 / 97 - 0.5)
            out.write(
                f'{{"run_id":"{prefix}-{run:02}","step":{step},"tokens":{step * 4096},"event_time_ms":{1_795_000_000_000 + step * 250},'
                f'"loss":{loss:.5f},"learning_rate":0.0003,"grad_norm":0.7}}\n'
            )


def timed(command):
    """Wall seconds, CPU seconds, peak MiB and standard output of a command."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        raise SystemExit(f"{command} failed: {output.decode()}")
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output


def throughput(arguments, log):
    figures = {"ingest": [], "chain": []}
    for number in range(arguments.times):
        with tempfile.TemporaryDirectory() as directory:
            rows = Path(directory) / "rows.jsonl"
            write(rows, arguments.rows, f"run-{os.getpid()}-{number}")
            where = [arguments.cairn, "--json", "--data", directory + "/data", *log]
            if log:
                where += ["--setting", f"log.app_id=figures{os.getpid()}-{number}"]
                subprocess.run([*where, "topics", "apply"], check=True, stdout=subprocess.DEVNULL)
            figures["ingest"].append(timed([*where, "ingest", str(rows)])[:3])
            figures["chain"].append(timed([*where, "run", "--drain"])[:3])
    for name, series in figures.items():
        rate = [arguments.rows / wall for wall, _, _ in series]
        cpu = [cpu / arguments.rows * 1e6 for _, cpu, _ in series]
        peak = max(peak for _, _, peak in series)
        print(
            f"| {'Kafka' if log else 'embedded'} | {name} | {statistics.median(rate):,.0f} ({min(rate):,.0f}–{max(rate):,.0f}) "
            f"| {statistics.median(cpu):.2f} | {peak:.0f} |"
        )


def latency(arguments, log, times=20):
    """From the POST of a NaN loss to the line of `cairn tail cockpit.telegrams`: gateway, admit, runs, and the tail's own poll."""
    with tempfile.TemporaryDirectory() as directory:
        where = [arguments.cairn, "--json", "--data", directory + "/data", "--setting", "gateway.listen=127.0.0.1:19464", *log]
        subprocess.run([*where, "topics", "apply"], check=True, stdout=subprocess.DEVNULL)
        run = subprocess.Popen([*where, "run"], stderr=subprocess.PIPE)
        while b"ready" not in run.stderr.readline():
            pass
        tail = subprocess.Popen([*where, "tail", "cockpit.telegrams"], stdout=subprocess.PIPE)
        time.sleep(1.0)
        seconds = []
        for number in range(times):
            body = json.dumps({"run_id": f"late-{os.getpid()}-{number}", "step": 1, "loss": "NaN"}).encode()
            begun = time.monotonic()
            urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:19464/v1/events", data=body), timeout=30).read()
            tail.stdout.readline()
            seconds.append(time.monotonic() - begun)
        for process in (tail, run):
            process.terminate()
            process.wait()
        seconds.sort()
        print(
            f"| {'Kafka' if log else 'embedded'} | NaN loss to telegram | p50 {seconds[len(seconds) // 2] * 1000:.0f} ms, "
            f"max {seconds[-1] * 1000:.0f} ms of {times} | | |"
        )


parser = argparse.ArgumentParser()
parser.add_argument("--cairn", required=True)
parser.add_argument("--rows", type=int, default=200_000)
parser.add_argument("--times", type=int, default=3)
parser.add_argument("--kafka")
arguments = parser.parse_args()
print("| log | what | rows/s, median (least–most) | CPU-s per million rows | peak MiB |\n|---|---|---|---|---|")
throughput(arguments, [])
latency(arguments, [])
if arguments.kafka:
    # On a cluster no command makes a key: `cairn init` once, and name its recipient (CAIRN_DEADLETTER_RECIPIENT).
    throughput(arguments, ["--kafka", arguments.kafka])
    latency(arguments, ["--kafka", arguments.kafka])
