"""How fast `cairn ingest` takes the contract's JSONL onto the embedded log, and how fast it passes over what is there.

    python benchmark/ingest/measure.py --cairn target/release/cairn --rows 1000000 --times 3

Each time in an empty directory: the file once (rows/s), and the same file again (lines/s parsed or digested and skipped). CPU seconds
and memory are the kernel's figures of the process; rows a CPU second are what one core does.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time


def write(path, rows):
    """Rows as a trainer writes them: 8 runs in blocks of 1,000 steps, about 130 bytes a line."""
    with open(path, "w") as file:
        for row in range(rows):
            run, step = (row // 1000) % 8, (row // 8000) * 1000 + row % 1000
            file.write(
                '{"run_id":"run-%d","step":%d,"tokens":%d,"loss":%.4f,"learning_rate":3e-4,"grad_norm":%.3f,"event_time_ms":%d}\n'
                % (run, step, step * 524288, 2 + 8 / (1 + step / 50), 1 + step % 7 / 10, 1_764_000_000_000 + row * 20)
            )
    return os.path.getsize(path)


def run(command):
    """Wall seconds, CPU seconds, peak MiB and the answer."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    assert status == 0, (command, status, answer)
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(answer)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cairn", required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--keep", help="write the rows here, and use them where they are there")
    arguments = parser.parse_args()
    results = {"new": [], "again": []}
    with tempfile.TemporaryDirectory() as directory:
        path = arguments.keep or os.path.join(directory, "rows.jsonl")
        size = os.path.getsize(path) if os.path.exists(path) else write(path, arguments.rows)
        print(f"{arguments.rows} rows, {size} bytes")
        for number in range(arguments.times):
            command = [arguments.cairn, "ingest", path, "--json", "--data", os.path.join(directory, str(number))]
            subprocess.run([arguments.cairn, "init", "--data", os.path.join(directory, str(number)), "--json",
                            "--identity", os.path.join(directory, f"key-{number}")], check=True, stdout=subprocess.DEVNULL)
            for which, member in (("new", "accepted"), ("again", "duplicate")):
                wall, cpu, memory, answer = run(command)
                assert answer[member] == arguments.rows, answer
                results[which].append((wall, cpu, memory))
                print(f"{which:6} {wall:6.2f} s wall {cpu:6.2f} CPU-s {arguments.rows / wall:10,.0f} rows/s "
                      f"{arguments.rows / cpu:10,.0f} rows/CPU-s {memory:6.0f} MiB")
    for which, runs in results.items():
        walls, cpus = [wall for wall, _, _ in runs], [cpu for _, cpu, _ in runs]
        print(f"| {which} | {arguments.rows / statistics.median(walls):,.0f} | {arguments.rows / statistics.median(cpus):,.0f} "
              f"| {statistics.median(cpus):.2f} ({min(cpus):.2f}–{max(cpus):.2f}) | {max(memory for _, _, memory in runs):.0f} |")


if __name__ == "__main__":
    main()
