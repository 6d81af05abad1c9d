"""Writes what a run says as Cairn's contract JSON lines, gzipped with no time stamp in the archive.

Event times, throughput and latency are this machine's clock as it was; everything else repeats.
"""

import gzip
import json
import math
from pathlib import Path


def plain(value):
    """JSON has no NaN: the contract spells the three values as strings. Six digits say enough."""
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return float(f"{value:.6g}")


class Log:
    """The lines of one run, over all its attempts, in the order in which they happened."""

    def __init__(self, run_id: str):
        self.run_id = run_id
        self.lines: list[str] = []

    def say(self, topic: str, attempt: int, time_ms: int, **fields) -> None:
        record = {"topic": topic, "run_id": self.run_id, "attempt": attempt, "event_time_ms": int(time_ms)}
        record |= {name: plain(value) for name, value in fields.items()}
        self.lines.append(json.dumps(record, separators=(",", ":"), allow_nan=False))

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.run_id}.jsonl.gz"
        with open(path, "wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as archive:
            archive.write("".join(line + "\n" for line in self.lines).encode())
        return path


def read(path: Path) -> list[dict]:
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]
