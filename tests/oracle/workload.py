"""What is sent: a seeded list of events of some forty runs, good and bad, for two clients and two kinds of log.

An entry is one ingress record:
  n       number in the list, and the order in which its client sends
  client  "python" or "java"
  topic   ingress topic
  key     record key
  value   the event as contract JSON (floats may be NaN), or None for raw bytes
  raw     hexadecimal digits of raw bytes, or None
  event_id  header, or None
  expect  "taken", or the class of the dead letter that admit must make of it
"""

import json
import math
import random

RUNS = 40
STEP_SIZE = 100


def make(seed, records, now_ms):
    """The entries; `now_ms` is the end of the event times of a run that is going on."""
    chance = random.Random(seed)
    # 3 % of the telemetry is sent twice, 2 % is not telemetry
    per_run = max(40, int(records * 0.95 / RUNS))
    # a quarter of the runs is short, so that some end while others go on
    lengths = [per_run // 2 if number % 4 == 1 else per_run * 7 // 6 for number in range(RUNS)]
    streams = [_run(random.Random(f"{seed}/{number}"), number, lengths[number], now_ms) for number in range(RUNS)]
    entries = _merge(chance, streams)
    entries = _spoil(chance, entries, records, now_ms)
    # up to the number asked for: more of what was sent already
    good = [place for place, entry in enumerate(entries) if entry["topic"] == "telemetry.training" and entry["raw"] is None]
    while len(entries) < records:
        entries.append(json_copy(entries[chance.choice(good)]))
    del entries[records:]
    for number, entry in enumerate(entries):
        entry["n"] = number
        entry["client"] = "java" if chance.random() < 0.4 and entry["java"] else "python"
        del entry["java"]
    return entries


def _entry(topic, value, event_id=None):
    return {
        "topic": topic, "key": value["run_id"], "value": value, "raw": None, "event_id": event_id, "expect": "taken", "java": True,
    }


def _run(chance, number, rows, now_ms):
    """One run's events in the order in which they are sent: config, telemetry (two or three attempts for some), end, scores."""
    run_id = f"run-{number:02d}" if number % 7 else f"run {number:02d}/ä"
    kind = ("plain", "nan", "diverging", "flat", "explosion", "restarts", "spikes", "nothing")[number % 8]
    step_ms = chance.choice([60, 120, 200, 250, 2000])
    attempts = 3 if kind == "restarts" else (2 if number % 9 == 4 else 1)
    every = chance.choice([1, 1, 1, 2, 5])
    per_attempt = max(20, rows // attempts)
    begin_ms = now_ms - per_attempt * attempts * every * step_ms - 3_600_000
    batch_tokens = chance.choice([65_536, 524_288])
    parameters = chance.choice([1.24e8, 3.5e8, 7.7e8])
    out = []
    config = {
        "run_id": run_id,
        "model": {"family": "dense", "name": f"toy-{number}", "parameters_total": parameters, "depth_layers": 12, "width": 768,
                  "context_length_tokens": 1024},
        "training": {"optimizer": "adamw", "learning_rate_peak": 6e-4, "schedule": "cosine", "batch_tokens": batch_tokens,
                     "warmup_steps": 200},
        "data_mix": [{"dataset": "web", "ratio": 0.75}, {"dataset": "code", "ratio": 0.25, "license": "permissive"}],
        "hardware": {"accelerator": "H100", "accelerator_count": 8, "peak_flops_per_second": 989e12, "price_per_hour": 2.5,
                     "currency": "USD"},
        "environment": {"framework": "torch", "code_commit": f"{number:040x}"},
        "tags": ["oracle", f"kind-{kind}"],
        "event_time_ms": begin_ms,
    }
    if number % 5:
        config["training"]["steps_planned"] = per_attempt * every * 2
    if number % 4 == 2:
        config["clock"] = "tokens"
    out.append(_entry("runs.config", config))
    out.append(_entry("runs.lifecycle", {"run_id": run_id, "state": "started", "event_time_ms": begin_ms}))
    clock_ms, last = begin_ms, 0
    for attempt in range(attempts):
        first = 0 if attempt == 0 else max(0, last - 10 * every)
        rows_of_attempt = []
        for index in range(per_attempt):
            step = first + index * every
            clock_ms += every * step_ms
            rows_of_attempt.append(_row(chance, kind, run_id, attempt, step, per_attempt * every, clock_ms, batch_tokens, index, per_attempt))
        last = first + per_attempt * every
        out.extend(_shuffled(chance, rows_of_attempt, every))
        if attempt + 1 < attempts:
            crashed = {"run_id": run_id, "attempt": attempt, "state": "crashed", "event_time_ms": clock_ms, "reason": "lost a node"}
            if chance.random() < 0.5:
                crashed["step"] = last - every
            out.append(_entry("runs.lifecycle", crashed))
            # a straggler of the attempt that is over
            out.append(_entry("telemetry.training", _row(chance, "plain", run_id, attempt, last, 1000, clock_ms, batch_tokens, 1, 2)))
    if number % 4 != 3:
        end = {
            "run_id": run_id, "attempt": attempts - 1, "event_time_ms": clock_ms,
            "state": "crashed" if number % 6 == 5 else "finished",
            "artifacts": [{"kind": "checkpoint", "uri": f"s3://runs/{number}/last", "size_bytes": 1234}],
        }
        if number % 3 == 0:
            end["step"] = last - every
        elif number % 3 == 1:
            end["step"] = last + 10_000  # never reached: grace or drain
        place = len(out) if chance.random() < 0.7 else max(3, len(out) - 30)
        out.insert(place, _entry("runs.lifecycle", end))
    for task in ("hellaswag", "gsm8k", "arc_easy")[: chance.randint(1, 3)]:
        for step in sorted(chance.sample(range(0, last + 1), 3), key=lambda _: chance.random()):
            score = {"run_id": run_id, "attempt": attempts - 1, "step": step, "harness": "lm-eval", "task": task, "metric": "acc",
                     "value": chance.random(), "n": 1000, "standard_error": 0.01 * chance.random(), "higher_is_better": True,
                     "event_time_ms": clock_ms}
            out.insert(chance.randrange(3, len(out) + 1), _entry("eval.results", score))
    for index in range(max(1, rows // 400)):
        runtime = {"run_id": run_id, "event_time_ms": begin_ms + chance.randrange(1, max(2, clock_ms - begin_ms)),
                   "latency_ms_p50": chance.uniform(10, 30), "latency_ms_p99": chance.uniform(40, 90), "memory_bytes": 1 << 33,
                   "power_watts": chance.uniform(300, 600), "throughput_tokens_per_second": chance.uniform(1e3, 1e4)}
        out.insert(chance.randrange(2, len(out) + 1), _entry("telemetry.runtime", runtime))
        tool = {"run_id": run_id, "tool": "search", "outcome": chance.choice(["success", "failure", "timeout"]), "turn": index,
                "latency_ms": chance.uniform(1, 100), "event_time_ms": begin_ms + index}
        out.insert(chance.randrange(2, len(out) + 1), _entry("telemetry.tooluse", tool))
    safety = {"run_id": run_id, "suite": "harm", "category": "toxicity", "metric": "rate", "value": chance.random() / 10, "n": 500,
              "severity": "low"}
    out.insert(chance.randrange(2, len(out) + 1), _entry("safety.results", safety))
    out.insert(chance.randrange(2, len(out) + 1), _entry("runs.tags", {"run_id": run_id, "add": ["kept", "zeta"], "remove": ["zeta"]}))
    if number % 10 == 0:
        plan = {"run_id": run_id, "plan_id": f"plan-{number}", "config": {"run_id": run_id, "training": {"seed": 7, "optimizer": "lion"}, "augmentation": ["none"],
                           "data_mix": [{"dataset": "books", "ratio": 1.0}], "context_length_tokens": 4096},
                "expected": [{"metric": "loss", "mean": 2.5, "low": 2.4, "high": 2.6, "level": 0.95}]}
        out.insert(chance.choice([0, len(out)]), _entry("runs.planned", plan))
    return out


def _row(chance, kind, run_id, attempt, step, steps, time_ms, batch_tokens, index, of):
    share = index / of
    loss = 2.2 + 8.0 / (1.0 + 0.02 * step) ** 0.6 + chance.gauss(0, 0.03)
    grad_norm = 0.8 + 0.1 * chance.random()
    if kind == "diverging" and share > 0.6:
        loss += min(6.0, (share - 0.6) * 60.0)
    if kind == "flat" and share > 0.3:
        loss = 2.2 + 8.0 / (1.0 + 0.02 * 0.3 * steps) ** 0.6 + chance.gauss(0, 0.004)
    if kind == "explosion" and 0.5 < share < 0.55:
        grad_norm *= 500
    if kind == "spikes" and chance.random() < 0.01:
        loss += chance.uniform(0.5, 1.5)
    row = {"run_id": run_id, "attempt": attempt, "step": step, "loss": loss, "grad_norm": grad_norm,
           "learning_rate": 6e-4 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))) * min(1.0, (step + 1) / 200)}
    if run_id != "run-13":
        row["event_time_ms"] = time_ms
    if run_id[-1:] not in "36":
        row["tokens"] = step * batch_tokens
        row["tokens_per_second"] = 1e5 * (1 + 0.1 * chance.random())
    if kind == "nan" and 0.4 < share < 0.42:
        row["loss"] = math.nan
    if kind == "nan" and 0.7 < share < 0.703:
        row["grad_norm"] = math.inf
    if kind == "nothing" and index % 50 == 7:
        del row["loss"]
        row["perplexity"] = math.exp(loss) if index % 100 == 7 else math.inf
    if index % 250 == 249:
        row["validation_loss"] = loss + 0.05
    if index % 97 == 0:
        row["metrics"] = {"router_entropy_nats": chance.random(), "tokens_dropped_ratio": chance.random()}
    return row


def _shuffled(chance, rows, every):
    """Out of order inside the bound of 100 steps, some repeated in content or id, some far too late."""
    reach = max(1, 90 // every)
    order = sorted(range(len(rows)), key=lambda i: i + (chance.uniform(0, reach) if chance.random() < 0.25 else 0.0))
    out = []
    for place, index in enumerate(order):
        header = f"{rows[index]['run_id']}/{rows[index]['attempt']}/{index}" if index % 11 == 0 else None
        entry = _entry("telemetry.training", rows[index], header)
        out.append(entry)
        if chance.random() < 0.02:
            out.append(json_copy(entry))
        if header and chance.random() < 0.05:
            # the same id with other content: the first one counts
            again = json_copy(entry)
            again["value"]["loss"] = 1.0
            out.append(again)
    for _ in range(max(1, len(rows) // 150)):
        if len(out) > 400 // every:
            place = chance.randrange(len(out) * 3 // 4, len(out))
            out.insert(place, out.pop(chance.randrange(0, len(out) // 4)))
    return out


def json_copy(entry):
    return {**entry, "value": json.loads(json.dumps(entry["value"]))}


def _merge(chance, streams):
    """All runs at once, each in its own order; some begin later."""
    heads = [0] * len(streams)
    alive = list(range(len(streams)))
    out = []
    while alive:
        number = chance.choice(alive)
        burst = chance.randint(1, 12)
        out.extend(streams[number][heads[number] : heads[number] + burst])
        heads[number] += burst
        if heads[number] >= len(streams[number]):
            alive.remove(number)
    return out


BROKEN = (
    ("telemetry.training", lambda v: v.update(step=-1), "out_of_range"),
    ("telemetry.training", lambda v: v.update(run_id="  "), "missing_field"),
    ("telemetry.training", lambda v: v.update(accuracy=1.5), "out_of_range"),
    ("telemetry.training", lambda v: v.update(learning_rate=math.nan), "not_finite"),
    ("telemetry.training", lambda v: v.update(event_time_ms=1_700_000_000), "out_of_range"),
    ("telemetry.training", lambda v: v.update(metrics={"x_ratio": math.inf}), "not_finite"),
)


def _spoil(chance, entries, records, now_ms):
    """Bad records among the good ones: broken frames and JSON, values that cannot be, times from the future."""
    good = [place for place, entry in enumerate(entries) if entry["topic"] == "telemetry.training"]
    extra = []

    def after(place):
        """A place behind that one: a copy of a row must not open an attempt that has not begun."""
        return chance.uniform(place, len(entries))

    for index in range(max(30, records // 200)):
        place = chance.choice(good)
        entry = json_copy(entries[place])
        entry["event_id"] = None
        kind = index % 12
        if kind < len(BROKEN):
            _, spoil, expect = BROKEN[kind]
            spoil(entry["value"])
        elif kind in (6, 7):
            # ahead of its receipt by far more than the cap of five minutes
            ahead_ms = 3 * 3_600_000 if kind == 6 else 1_800_000
            entry["value"]["event_time_ms"], expect = now_ms + ahead_ms, "from_the_future"
        elif kind == 8:
            # a step out of all proportion: let in, and refused by the run's clock
            entry["value"]["step"], expect = entry["value"]["step"] + 5_000_000, "taken"
            # a later attempt does not make it more likely
            entry["value"]["attempt"] += index // 12 % 2
        else:
            raw, expect = (
                (b"\x00\x00\x00", "frame"),
                (b"hello %d" % index, "frame"),
                (b'{"run_id":"x","step":%d,"lss":1.0}' % index, "unknown_field"),
            )[kind - 9]
            entry.update(value=None, raw=raw.hex())
        entry["expect"] = expect
        extra.append((after(place), entry))
    # the contract's JSON on Kafka, as a shell script would send it
    for _ in range(max(5, records // 2000)):
        place = chance.choice(good)
        entry = json_copy(entries[place])
        if any(isinstance(item, float) and not math.isfinite(item) for item in entry["value"].values()):
            continue
        entry.update(raw=json.dumps(entry["value"]).encode().hex(), java=False, json=True)
        extra.append((after(place), entry))
    placed = sorted([(float(place), entry) for place, entry in enumerate(entries)] + extra, key=lambda pair: pair[0])
    return [entry for _, entry in placed]
