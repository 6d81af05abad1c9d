"""The oracle's own account of clocks, windows and lateness, written from the documentation (DESIGN 3.4, docs/data-model.md).

Single-threaded, no state between processes, floats in plain sums: slow and simple where the product is fast and incremental.
"""

import math
from statistics import NormalDist

DISORDER = {"step": 100, "tokens": 50_000_000, "time": 30_000}
SIZE = {"step": 100, "tokens": 50_000_000, "time": 60_000}
UNIT = {"step": "steps", "tokens": "tokens", "time": "milliseconds"}
FUTURE_CAP_MS = 300_000
GIVEN_UP_AFTER_MS = 86_400_000
STEP_JUMP_CAP = 1_000_000
TOKEN_JUMP_CAP = 10**13
ROWS_MAX = 2048
OPEN_MAX = 16
SLOPE_POINTS_MAX = 64
THEIL_SEN_POINTS_MAX = 256
NONFINITE = ("nan", "positive_infinity", "negative_infinity")
SLOPE_UNIT = "nats_per_token_per_step"


def median(values):
    ordered = sorted(value for value in values if value is not None and math.isfinite(value))
    if not ordered:
        return None
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])


def theil_sen(points, level=0.95):
    """Median of the slopes of all pairs, and Sen's interval (1968): (slope, low, high), or None."""
    points = [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]
    n = len(points)
    if n > THEIL_SEN_POINTS_MAX:
        points = [points[i * (n - 1) // (THEIL_SEN_POINTS_MAX - 1)] for i in range(THEIL_SEN_POINTS_MAX)]
        n = THEIL_SEN_POINTS_MAX
    slopes = sorted(
        (y1 - y0) / (x1 - x0) for i, (x0, y0) in enumerate(points) for x1, y1 in points[i + 1 :] if x1 != x0
    )
    if not slopes:
        return None
    variance = _kendall(n) - _ties([x for x, _ in points]) - _ties([y for _, y in points])
    sigma = math.sqrt(max(0.0, variance / 18.0))
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    last = len(slopes) - 1
    high = min(max(round((len(slopes) + z * sigma) / 2.0), 0), last)
    low = min(max(round((len(slopes) - z * sigma) / 2.0) - 1, 0), last)
    return median(slopes), slopes[low], slopes[high]


def _kendall(k):
    return k * (k - 1.0) * (2.0 * k + 5.0)


def _ties(values):
    counts = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return sum(_kendall(count) for count in counts.values())


def noise(values):
    """Standard deviation of the noise of a series, from the median absolute deviation of its differences."""
    steps = [b - a for a, b in zip(values, values[1:])]
    if len(steps) < 2:
        return None
    middle = median(steps)
    return 1.4826 * median([abs(step - middle) for step in steps]) / math.sqrt(2.0)


class Row:
    """One row of telemetry, as the record of `runs.events` has it."""

    def __init__(self, event, partition, offset):
        payload = event["payload"]
        self.attempt = event["attempt"]
        self.step = payload["step"]
        self.tokens = payload["tokens"]
        self.time_ms = payload["event_time_ms"]
        self.order_id = int.from_bytes(event["event_id"][:8], "big")
        self.partition, self.offset = partition, offset
        self.learning_rate = payload["learning_rate"]
        self.tokens_per_second = payload["tokens_per_second"]
        self.loss_nonfinite = payload["loss_state"] in NONFINITE
        self.norm_nonfinite = payload["grad_norm_state"] in NONFINITE
        self.norm_state = payload["grad_norm_state"]
        self.scaled = payload["loss_scale"] is not None
        self.loss = None if self.loss_nonfinite else payload["loss"]
        self.grad_norm = None if self.norm_nonfinite else payload["grad_norm"]
        self.level = self.loss
        perplexity = payload["perplexity"]
        if self.level is None and not self.loss_nonfinite and perplexity is not None and perplexity > 0:
            self.level = math.log(perplexity)

    def clock(self, kind):
        return {"step": self.step, "tokens": self.tokens, "time": self.time_ms}[kind]


class Window:
    def __init__(self, kind, start, attempt):
        self.kind, self.start, self.end, self.attempt = kind, start, start + SIZE[kind], attempt
        self.rows, self.n, self.nonfinite = [], 0, 0
        self.first_offset, self.last_offset = None, None

    def add(self, row):
        self.n += 1
        self.nonfinite += row.loss_nonfinite or row.norm_nonfinite
        self.rows.append(row)
        self.first_offset = row.offset if self.first_offset is None else min(self.first_offset, row.offset)
        self.last_offset = row.offset if self.last_offset is None else max(self.last_offset, row.offset)

    def summary(self, closed_by):
        rows = self.rows
        if len(rows) > ROWS_MAX:
            rows = sorted(rows, key=lambda row: (row.order_id, row.clock(self.kind), row.step))[:ROWS_MAX]
        rows = sorted(rows, key=lambda row: (row.clock(self.kind), row.step, row.order_id))
        self.rows = rows
        losses = [row.loss for row in rows if row.loss is not None]
        points = [(float(row.step), row.level) for row in rows if row.level is not None]
        norms = [row.grad_norm for row in rows if row.grad_norm is not None]
        rates = [row.learning_rate for row in rows if row.learning_rate is not None]
        speeds = [row.tokens_per_second for row in rows if row.tokens_per_second is not None]
        tokens = [row.tokens for row in rows if row.tokens is not None]
        times = [row.time_ms for row in rows if row.time_ms is not None]
        slope = theil_sen(self._grouped(points))
        partition = self.rows[0].partition
        self.median = median([level for _, level in points])
        self.first_step = min(row.step for row in rows)
        self.last_step = max(row.step for row in rows)
        self.last_rate = rates[-1] if rates else None
        self.last_tokens = max(tokens) if tokens else None
        return {
            "attempt": self.attempt, "kind": self.kind, "size": self.end - self.start, "start": self.start, "end": self.end,
            "n": self.n, "loss_n": len(losses),
            "loss_mean": math.fsum(losses) / len(losses) if losses else None,
            "loss_min": min(losses, default=None), "loss_max": max(losses, default=None),
            "loss_first": losses[0] if losses else None, "loss_last": losses[-1] if losses else None,
            "log_perplexity_median": self.median, "log_perplexity_slope": slope[0] if slope else None, "slope_unit": SLOPE_UNIT,
            "grad_norm_max": max(norms, default=None), "learning_rate_last": self.last_rate,
            "tokens_per_second_mean": math.fsum(speeds) / len(speeds) if speeds else None,
            "first_step": self.first_step, "last_step": self.last_step,
            "first_tokens": min(tokens, default=None), "last_tokens": max(tokens, default=None),
            "first_event_time_ms": min(times, default=None), "last_event_time_ms": max(times, default=None),
            "nonfinite_n": self.nonfinite, "complete": closed_by == "watermark", "closed_by": closed_by,
            "inputs": [{"topic": "runs.events", "partition": partition, "first": self.first_offset, "last": self.last_offset}],
        }

    @staticmethod
    def _grouped(points):
        if len(points) <= SLOPE_POINTS_MAX:
            return points
        size = -(-len(points) // SLOPE_POINTS_MAX)
        groups = [points[i : i + size] for i in range(0, len(points), size)]
        return [(median([x for x, _ in group]), median([y for _, y in group])) for group in groups]


class Clock:
    """How far one run has come: one attempt at a time, and its end."""

    def __init__(self, end_grace_ms):
        self.end_grace_ms = end_grace_ms
        self.attempt = None
        self.append_ms = 0
        self.gap_ms = 0
        self.end = None  # (attempt, step, tokens, append time)
        self.ended = False
        self.highest = {"step": None, "tokens": None}  # over all attempts
        self._begin()

    def _begin(self):
        self.max = {"step": None, "tokens": None, "time": None}

    def refuse(self, row, wall_ms):
        """The class of the dead letter, ("late", current attempt), or None."""
        if row.time_ms is not None and row.time_ms - wall_ms > FUTURE_CAP_MS:
            return "from_the_future"
        if self.attempt is not None and row.attempt < self.attempt:
            return ("late", self.attempt)
        for kind, cap in (("step", STEP_JUMP_CAP), ("tokens", TOKEN_JUMP_CAP)):
            value, most = row.clock(kind), self.highest[kind]
            if value is not None and most is not None and value - most > cap:
                return "out_of_range"
        return None

    def advance(self, row, wall_ms):
        """Takes a row that was not refused; the number of the attempt that it ended, if it did."""
        previous = None
        if self.attempt is not None and row.attempt > self.attempt:
            previous = self.attempt
            self._begin()
            self.gap_ms = 0
            self.ended = False
            if self.end is not None:
                # an end that came before its attempt's rows waits for them from the first of them on
                self.end = (*self.end[:3], wall_ms) if self.end[0] == row.attempt else None
        if self.max["step"] is not None:
            self.gap_ms = max(self.gap_ms, wall_ms - self.append_ms)
        self.attempt = row.attempt
        if self.ended and (self.max["step"] is None or row.step > self.max["step"]):
            # the run goes on: it was not the end, unless the end said that this step was still to come
            self.ended = False
            if self.end is not None and self.end[1] is not None and row.step <= self.end[1]:
                self.end = (*self.end[:3], wall_ms)
            else:
                self.end = None
        for kind in self.max:
            value = row.clock(kind)
            if value is not None and (self.max[kind] is None or value > self.max[kind]):
                self.max[kind] = value
        for kind in self.highest:
            value = row.clock(kind)
            if value is not None and (self.highest[kind] is None or value > self.highest[kind]):
                self.highest[kind] = value
        self.append_ms = max(self.append_ms, wall_ms)
        return previous

    def watermark(self, kind):
        return None if self.max[kind] is None else self.max[kind] - DISORDER[kind]

    def announce(self, attempt, step, tokens, wall_ms):
        newer = self.attempt is None or attempt > self.attempt
        if newer or (attempt == self.attempt and not self.ended):
            self.ended = False
            self.end = (attempt, step, tokens, wall_ms)
            if self.attempt is None:
                self.attempt = attempt
            self.append_ms = max(self.append_ms, wall_ms)  # it was heard of

    def due(self, wall_ms):
        if self.end is None or self.ended:
            return False
        attempt, step, tokens, since_ms = self.end
        reached = any(
            last is not None and self.max[kind] is not None and self.max[kind] >= last for kind, last in (("step", step), ("tokens", tokens))
        )
        return (self.attempt == attempt and reached) or wall_ms - since_ms >= self.end_grace_ms

    def stalled(self, wall_ms):
        return not self.ended and wall_ms - self.append_ms >= max(1_800_000, 5 * self.gap_ms)

    def given_up(self, wall_ms):
        """Of a stalled run: silent for a day without having said that it ended."""
        return wall_ms - self.append_ms >= GIVEN_UP_AFTER_MS


class Windows:
    """Tumbling windows of one run's current attempt: by step, by tokens where the run says that they order it, by event time."""

    KINDS = ("step", "tokens", "time")

    def __init__(self):
        self.by_tokens = False
        self.forget()

    def forget(self):
        self.open = {kind: {} for kind in self.KINDS}
        self.closed_to = {kind: None for kind in self.KINDS}

    def keep_marks_only(self):
        self.open = {kind: {} for kind in self.KINDS}

    def take(self, row, clock):
        """(windows that closed, with what closed them; what the row was late by)."""
        closed, late = [], []
        for kind in self.KINDS:
            value = row.clock(kind)
            if value is None or (kind == "tokens" and not self.by_tokens):
                continue
            mark = clock.watermark(kind)
            if self.closed_to[kind] is not None and value < self.closed_to[kind]:
                passed = max(mark, value + 1)
                late.append({"clock": value, "watermark": passed, "late_by": passed - value, "unit": UNIT[kind]})
                continue
            start = value // SIZE[kind] * SIZE[kind]
            windows = self.open[kind]
            if start not in windows:
                windows[start] = Window(kind, start, row.attempt)
            windows[start].add(row)
            while len(windows) > OPEN_MAX:
                closed.append((self._pop(kind), "watermark"))
            while windows and min(windows) + SIZE[kind] <= mark:
                closed.append((self._pop(kind), "watermark"))
            self._mark(kind, mark // SIZE[kind] * SIZE[kind])
        return closed, late

    def close_all(self, attempt, by):
        closed = []
        for kind in self.KINDS:
            while self.open[kind]:
                window = self._pop(kind)
                window.attempt = attempt
                closed.append((window, by))
        return closed

    def _pop(self, kind):
        window = self.open[kind].pop(min(self.open[kind]))
        self._mark(kind, window.end)
        return window

    def _mark(self, kind, to):
        if self.closed_to[kind] is None or to > self.closed_to[kind]:
            self.closed_to[kind] = to
