"""The oracle's own account of derived fields and of latency sketches, as far as its workload needs them: runs that tell their
parameters and price, and single latencies. Written from `docs/data-model.md` and the description of HdrHistogram's encoding V2."""

import math
import re

from common import ROOT

VERSION = 2
NAMES = {"H100": "H100-SXM"}  # what the workload's accelerators are called in the table
QUANTILES = (("p05", 0.05), ("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
GREATEST = 86_400_000_000


def tables_version():
    texts = [(ROOT / "operators" / "data" / name).read_text() for name in ("accelerators.yaml", "prices.yaml")]
    return max(re.search(r"^version: (\S+)$", text, re.M).group(1) for text in texts)


def derived(blank, row, speed, spans, powers):
    """`blank` is the record with nothing in it, `speed` tokens a second, `spans` first and last time of training by attempt,
    `powers` watts as told."""
    model, hardware = row["model"], row["hardware"]
    total, tokens, count = model["parameters_total"], row["tokens"], hardware["accelerator_count"]
    active = total if model["parameters_active"] is None else model["parameters_active"]
    told = ("parameters_total", "parameters_non_embedding", "parameters_embedding")
    out = {**blank, **{name: model[name] for name in told}, "parameters_active": active, "tables_version": tables_version()}
    out["accelerator"] = NAMES.get(hardware["accelerator"])
    for name in ("peak_flops_per_second", "price_per_hour", "currency"):
        out[name] = hardware[name]
    out["price_source"] = "" if hardware["price_per_hour"] is None else "told"
    if active is not None and tokens is not None:
        out["flops"] = out["flops_6nd"] = 6.0 * active * tokens
        out["flops_convention"] = "6ND"
        out["tokens_per_parameter"] = tokens / active if active > 0 else None
    peak = hardware["peak_flops_per_second"]
    if None not in (active, speed, peak, count) and peak * count > 0:
        out["model_flops_utilization"] = 6.0 * active * speed / (peak * count)
        out["utilization_convention"] = "6ND"
    if spans:
        hours = out["training_hours"] = sum(last - first for first, last in spans.values()) / 3_600_000
        if count is not None:
            out["accelerator_hours"] = hours * count
            if out["price_per_hour"] is not None:
                out["cost"] = hours * count * out["price_per_hour"]
        if powers:
            out["energy_kilowatt_hours"] = hours * sum(powers) / len(powers) / 1000.0
    return out


class Sketches:
    """Counts by bucket, of each metric's newest attempt."""

    def __init__(self):
        self.of = {}  # metric: [attempt, {bucket: count}]

    def note(self, metric, attempt, value):
        known = self.of.get(metric)
        if known is None or attempt > known[0]:
            known = self.of[metric] = [attempt, {}]
        if attempt == known[0]:
            bucket = _bucket(min(GREATEST, math.floor(value * 1000.0 + 0.5)))
            known[1][bucket] = known[1].get(bucket, 0) + 1

    def rows(self):
        return [_row(metric, *self.of[metric]) for metric in sorted(self.of)]


def _bucket(value):
    shift = max(0, value.bit_length() - 8)
    return (shift + 1) * 128 + (value >> shift) - 128


def _middle(bucket):
    shift = max(0, bucket // 128 - 1)
    low = (bucket - shift * 128) << shift
    return low + ((1 << shift) >> 1)


def _row(metric, attempt, counts):
    n = sum(counts.values())
    out = {"metric": metric, "attempt": attempt, "n": n, "relative_error": 1.0 / 256.0, "sketch": _encoded(counts)}
    for name, share in QUANTILES:
        rank, seen = max(1, math.ceil(share * n)), 0
        for bucket in sorted(counts):
            seen += counts[bucket]
            if seen >= rank:
                out[name] = _middle(bucket) / 1000.0
                break
    return out


def _encoded(counts):
    body, last = b"", -1
    for bucket in sorted(counts):
        empty = bucket - last - 1
        if empty:
            body += _varint(-empty if empty > 1 else 0)
        body += _varint(counts[bucket])
        last = bucket
    ratio = bytes.fromhex("3ff0000000000000")
    head = [(0x1C849313, 4), (len(body), 4), (0, 4), (2, 4), (1, 8), (GREATEST, 8)]
    return b"".join(number.to_bytes(size, "big") for number, size in head) + ratio + body


def _varint(number):
    """Zig-zag, then seven bits a byte, the least first."""
    rest, out = (number << 1) ^ (number >> 63), b""
    while rest >= 0x80:
        out += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return out + bytes([rest])
