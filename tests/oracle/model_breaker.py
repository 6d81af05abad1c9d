"""The oracle's own account of the breaker, from the documentation in `operators/src/breaker/` with its default rules.

It is a restatement of the same published rules in another language, single-threaded: it finds what is lost, doubled or decided
on other state, not a rule that is wrong in itself (`operators/tests/breaker_*` and the example logs are for that).
"""

import math

from model_windows import SLOPE_UNIT, median, noise, theil_sen

GRAVITY = {"none": 0, "recovered": 0, "plateau": 1, "gradient_explosion": 2, "divergence": 3, "non_finite": 4}
HORIZONS = (0.2, 0.3, 0.45, 0.7, 0.85)


class Breaker:
    def __init__(self):
        self.attempt = None
        self._begin()

    def _begin(self):
        self.state, self.cause = "closed", "none"
        self.changed_at, self.flat_from = 0, 0.0
        self.reference = None
        self.good = self.flat = self.bad_losses = self.bad_norms = 0
        self.rows, self.level, self.curve = Rows(), Level(), Curve()

    def forget(self):
        self.attempt = None
        self._begin()

    # --- inputs

    def row(self, row, plan):
        out = []
        if not self._enter(row.attempt, row.step, out):
            return out
        evidence = self._non_finite(row)
        if evidence:
            self._trip("non_finite", evidence, out)
            return out
        rise = self.rows.observe(row, 2.0 if plan["curriculum"] else 0.5, self.level.best)
        if rise:
            usual = self.level.best if self.level.best is not None else median(self.rows.recent)
            frozen = None if usual is None else (usual, 0.5)
            explosion = rise["cause"] == "gradient_explosion"
            evidence = {
                "at_step": rise["last"], "rule": "gradient-explosion/1" if explosion else "divergence-rows/1",
                "onset_step": rise["first"], "window_first_step": rise["first"], "window_last_step": rise["last"],
                "window_n": rise["rows"], "slope": rise["slope"], "level": 0.95,
                "threshold": rise["threshold"] if explosion else rise["reference"] + rise["threshold"],
                "log_perplexity_last": row.level if explosion else rise["value"],
                "log_perplexity_best": (frozen[0] if frozen else None) if explosion else rise["reference"],
                "horizon": 0, "reference": frozen if explosion else (rise["reference"], rise["threshold"]),
                "last_offset": row.offset,
            }
            self._trip(rise["cause"], evidence, out)
        return out

    def window(self, window, plan):
        out = []
        if window.median is None or window.kind != "step" or not self._enter(window.attempt, window.last_step, out):
            return out
        value, last = window.median, window.last_step
        level = self.level.observe(last, value, window.last_rate, plan["curriculum"])
        if level["rebased"]:
            self.curve.rebase()
        evidence_offset = window.last_offset
        if level["diverged"]:
            onset = None if level["onset"] is None else level["onset"] + 1
            evidence = {
                "at_step": last, "rule": "divergence-windows/1", "onset_step": onset,
                "window_first_step": window.start if onset is None else onset, "window_last_step": last,
                "window_n": level["elevated"], "slope": None, "level": None, "threshold": level["best"] + level["margin"],
                "log_perplexity_last": value, "log_perplexity_best": level["best"], "horizon": level["elevated"],
                "reference": (level["best"], level["margin"]), "last_offset": evidence_offset,
            }
            self._trip("divergence", evidence, out)
        completed = value < level["best"] + level["margin"] and self.curve.push(float(last), value, window.last_rate)
        look = ("unsure", None)
        if completed:
            look = self.curve.look(plan["warmup_steps"], _done(plan, last, window.last_tokens))
            self.flat = self.flat + 1 if look[0] == "flat" else 0
        if look[0] == "flat" and self.flat >= 3:
            horizon = look[1]
            if self.state == "closed":
                self.flat_from = horizon["first"]
            now = self.curve.level()
            evidence = {
                "at_step": last, "rule": "plateau/1", "onset_step": int(horizon["first"]),
                "window_first_step": int(horizon["first"]), "window_last_step": int(horizon["last"]),
                "window_n": horizon["windows"], "slope": horizon["slope"], "level": 0.98, "threshold": horizon["threshold"],
                "log_perplexity_last": value, "log_perplexity_best": self.level.best, "horizon": horizon["windows"],
                "reference": None if now is None else (now[0], 4.0 * now[1]), "last_offset": evidence_offset,
            }
            self._trip("plateau", evidence, out)
        if self.state == "closed" or window.first_step <= self.changed_at:
            return out
        if self.cause == "plateau":
            if not completed:
                return out
            good = self._moves_again(look)
        else:
            bad = window.nonfinite > 0 or self.bad_losses > 0
            reference, margin = self.reference or (level["best"], level["margin"])
            good = not bad and value <= reference + 0.5 * margin
        self._recover(good, window, out)
        return out

    # --- changes of state

    def _enter(self, attempt, step, out):
        if self.attempt is not None and attempt < self.attempt:
            return False
        if attempt == self.attempt:
            return True
        old, was = self.attempt, self.state
        self._begin()
        self.attempt = attempt
        if old is not None and was != "closed":
            out.append(self._verdict("closed", was, "recovered", {
                "at_step": step, "rule": "new-attempt/1", "onset_step": None, "window_first_step": None, "window_last_step": None,
                "window_n": 0, "slope": None, "level": None, "threshold": None, "log_perplexity_last": None,
                "log_perplexity_best": None, "horizon": 0, "last_offset": None,
            }))
        return True

    def _non_finite(self, row):
        self.bad_losses = self.bad_losses + 1 if row.loss_nonfinite else 0
        self.bad_norms = self.bad_norms + 1 if row.norm_nonfinite else 0
        limit = 10 if row.scaled and row.norm_state != "nan" else 1
        loss = row.loss_nonfinite
        norm = row.norm_nonfinite and self.bad_norms >= limit
        if not (loss or norm):
            return None
        best = self.level.best if self.level.best is not None else median(self.rows.recent)
        return {
            "at_step": row.step, "rule": "non-finite/1", "onset_step": row.step, "window_first_step": row.step,
            "window_last_step": row.step, "window_n": self.bad_losses if loss else self.bad_norms, "slope": None, "level": None,
            "threshold": None, "log_perplexity_last": row.level, "log_perplexity_best": best, "horizon": 0,
            "reference": None if best is None else (best, 0.15), "last_offset": row.offset,
        }

    def _trip(self, cause, evidence, out):
        if self.state == "open" and GRAVITY[cause] <= GRAVITY[self.cause]:
            return
        if self.state == "closed" or cause == "plateau" or self.reference is None:
            self.reference = evidence["reference"]
        was, self.state, self.cause, self.good = self.state, "open", cause, 0
        self.changed_at = evidence["at_step"]
        out.append(self._verdict("open", was, cause, evidence))

    def _moves_again(self, look):
        now = self.curve.level()
        fallen = now is not None and self.reference is not None and now[0] <= self.reference[0] - max(self.reference[1], 0.02)
        if look[0] == "flat":
            return False
        if look[0] == "moving" and look[1]["first"] >= self.flat_from:
            return True
        return True if fallen else None

    def _recover(self, good, window, out):
        if good is None:
            return
        self.good = self.good + 1 if good else 0
        following, needed = ("half_open", 2) if self.state == "open" else ("closed", 3)
        if self.good < needed:
            return
        evidence = {
            "at_step": window.last_step, "rule": "recovery/1", "onset_step": None, "window_first_step": window.first_step,
            "window_last_step": window.last_step, "window_n": self.good, "slope": None, "level": None, "threshold": None,
            "log_perplexity_last": window.median, "log_perplexity_best": self.reference[0] if self.reference else None,
            "horizon": self.good, "last_offset": window.last_offset,
        }
        was, self.state, self.good, self.changed_at = self.state, following, 0, window.last_step
        if following == "closed":
            self.cause, self.reference, self.flat = "none", None, 0
        out.append(self._verdict(following, was, "recovered", evidence))

    def _verdict(self, state, previous, cause, evidence):
        slope = evidence["slope"]
        verdict = {key: evidence[key] for key in (
            "at_step", "rule", "onset_step", "window_first_step", "window_last_step", "window_n", "threshold",
            "log_perplexity_last", "log_perplexity_best", "horizon", "last_offset",
        )}
        verdict.update(
            attempt=self.attempt, state=state, previous_state=previous, cause=cause, slope_unit=SLOPE_UNIT,
            slope=slope[0] if slope else None, slope_low=slope[1] if slope else None, slope_high=slope[2] if slope else None,
            level=evidence["level"] if slope else None,
        )
        return verdict


def _done(plan, step, tokens):
    if plan["steps_planned"] and plan["steps_planned"] > 0:
        return step / plan["steps_planned"]
    if plan["tokens_planned"] and plan["tokens_planned"] > 0 and tokens is not None:
        return tokens / plan["tokens_planned"]
    return None


class Rows:
    """Violent rises, row by row, and exploding gradients."""

    def __init__(self):
        self.last_step = None
        self.recent, self.norms = [], []
        self.exploding = 0
        self.stretch = None

    def observe(self, row, row_nats, best):
        if self.last_step is not None and row.step <= self.last_step:
            return None
        explosion = self._explosion(row)
        value = row.level
        if value is None:
            return explosion
        before = row.step if self.last_step is None else self.last_step
        self.last_step = row.step
        references = [level for level in (median(self.recent[-15:]), best) if level is not None]
        if not references:
            self.recent.append(value)
            return explosion
        reference = min(references)
        known = len(self.recent) >= 8
        margin = max(row_nats, 6.0 * ((noise(self.recent) or 0.0) if known else 0.0))
        excess = value - reference
        if excess < margin:
            self._good(value, excess < 0.5 * margin)
            return explosion
        if self.stretch is None:
            self.stretch = {"last_good": before, "first": row.step, "rows": 0, "elevated": 0, "low": 0, "most": 0.0, "excesses": []}
        stretch = self.stretch
        stretch["rows"] += 1
        stretch["elevated"] += 1
        stretch["low"] = 0
        stretch["most"] = max(stretch["most"], excess)
        if len(stretch["excesses"]) >= 32:
            stretch["excesses"] = stretch["excesses"][::2]
        stretch["excesses"].append((row.step, excess))
        if not known and stretch["rows"] >= 16 and best is None:
            self.recent.extend(one + reference for _, one in stretch["excesses"])
            self.stretch = None
            return explosion
        points = [(float(step), one) for step, one in stretch["excesses"]]
        strong = len(points) >= 3 and row.step - stretch["last_good"] >= 30 and excess >= 2.0
        fit = theil_sen(points)
        strong = strong and fit is not None and fit[1] > 0.0
        enough = (known and stretch["elevated"] >= 3) or (stretch["elevated"] >= 2 and stretch["most"] >= 2.0)
        falling = known and stretch["elevated"] >= 8 and excess < 0.5 * stretch["most"]
        sustained = (
            row.step - stretch["first"] >= (600 if falling else 200) and stretch["elevated"] >= 0.75 * stretch["rows"] and enough
        )
        if not (strong or sustained):
            return explosion
        return {"cause": "divergence", "first": stretch["first"], "last": row.step, "rows": stretch["rows"], "value": value,
                "reference": reference, "threshold": margin, "slope": fit}

    def _good(self, value, clearly):
        if self.stretch is not None:
            self.stretch["rows"] += 1
            self.stretch["low"] += 1
            if self.stretch["low"] >= 2:
                self.stretch = None
        if clearly or self.stretch is None:
            self.recent.append(value)
            if len(self.recent) > 32:
                del self.recent[0]

    def _explosion(self, row):
        norm = row.grad_norm
        if norm is None or norm < 0:
            return None
        usual = median(self.norms) if len(self.norms) >= 32 else None
        if usual is None or usual <= 0 or norm < 100.0 * usual:
            self.exploding = 0
            self.norms.append(norm)
            if len(self.norms) > 32:
                del self.norms[0]
            return None
        self.exploding += 1
        if self.exploding < 3:
            return None
        return {"cause": "gradient_explosion", "first": row.step, "last": row.step, "rows": self.exploding, "value": norm,
                "reference": usual, "threshold": usual * 100.0, "slope": None}


class Level:
    """Creeping rises, in window medians."""

    def __init__(self):
        self.peak = self.low = 0.0
        self._begin()

    def _begin(self):
        self.medians, self.best, self.last_low = [], None, None
        self.elevated, self.most = 0, 0.0

    def observe(self, last_step, value, rate, curriculum):
        restart = self._restarted(rate)
        if restart:
            self._begin()
        self.medians = (self.medians + [value])[-32:]
        now = median(self.medians[-3:])
        best = now if self.best is None else min(self.best, now)
        self.best = best
        sigma = noise(self.medians[-16:]) or 0.0
        margin = max(0.15, 0.5 if len(self.medians) < 8 else 0.0, 4.0 * sigma)
        if value <= best + margin / 3.0:
            self.last_low = last_step
        if now >= best + margin and value >= best + margin:
            self.elevated += 1
            self.most = max(self.most, value - best)
        else:
            self.elevated, self.most = 0, 0.0
        enough = self.elevated >= (9 if value - best < 0.5 * self.most else 3)
        new_data = enough and curriculum and value - best < 2.0 and value <= best + self.most
        if new_data:
            self.best, self.elevated, self.most = now, 0, 0.0
        return {"best": best, "margin": margin, "elevated": self.elevated, "rebased": restart or new_data,
                "diverged": enough and not new_data, "onset": self.last_low}

    def _restarted(self, rate):
        if rate is None or not math.isfinite(rate) or rate < 0:
            return False
        restart = self.low > 0 and rate >= 1.5 * self.low and self.low * 1.5 <= self.peak
        if restart or rate >= self.peak:
            self.peak = self.low = rate
        else:
            self.low = min(self.low, rate)
        return restart


class Curve:
    """Has the run stopped learning: the curve of window medians, and the best progress that it has shown."""

    def __init__(self):
        self.width, self.points, self.partial, self.rate = 1, [], None, None

    def rebase(self):
        self.points, self.partial = [], None

    @staticmethod
    def _merged(a, b):
        n = a[3] + b[3]
        return ((a[0] * a[3] + b[0] * b[3]) / n, (a[1] * a[3] + b[1] * b[3]) / n, a[2] if b[2] is None else b[2], n)

    def push(self, step, level, rate):
        if self.points and step <= self.points[-1][0]:
            return False
        point = (step, level, rate, 1)
        if self.partial is not None:
            point = self._merged(self.partial, point)
        self.partial = None
        if point[3] < self.width:
            self.partial = point
            return False
        self.points.append(point)
        self._note_rate()
        if len(self.points) >= 128:
            pairs = [self.points[i : i + 2] for i in range(0, len(self.points), 2)]
            self.points = [self._merged(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
            self.width *= 2
        return True

    def level(self):
        levels = [point[1] for point in self.points]
        now = median(levels[-3:])
        return None if now is None else (now, noise(levels[-32:]) or 0.0)

    def _around(self, i):
        return median([point[1] for point in self.points[max(0, i - 1) : i + 2]])

    def _note_rate(self):
        if len(self.points) < 2:
            return
        now = self.points[-2]
        earlier = [i for i, point in enumerate(self.points) if point[0] > 0 and point[0] * 1.5 <= now[0]]
        if not earlier:
            return
        then = earlier[-1]
        old = min(self._around(i) for i in range(then + 1))
        new = self._around(len(self.points) - 2)
        step = self.points[then][0]
        rate = (old - new) / math.log(now[0] / step)
        middle = math.sqrt(now[0] * step)
        if rate > 0 and rate > self._expected_rate(middle):
            self.rate = (rate, middle)

    def _expected_rate(self, step):
        if self.rate is None:
            return 0.0
        rate, at = self.rate
        return rate * min(1.0, at / step) ** 1.2 if step else rate

    def look(self, warmup_steps, done):
        if not self.points or self._at_the_end(done):
            return ("unsure", None)
        warmup = float(max(0, 500 if warmup_steps is None else warmup_steps))
        last = self.points[-1][0]
        flat = moving = None
        for share in HORIZONS:
            begin = max(last * (1.0 - share), warmup)
            verdict, horizon = self._judge([point for point in self.points if point[0] >= begin])
            if verdict == "flat":
                flat = horizon
            elif verdict == "moving" and moving is None:
                moving = horizon
        if flat:
            return ("flat", flat)
        return ("moving", moving) if moving else ("unsure", None)

    def _judge(self, stretch):
        unsure = ("unsure", None)
        if len(stretch) < 10:
            return unsure
        first, last = stretch[0], stretch[-1]
        if first[2] is not None and last[2] is not None and last[2] > 0 and first[2] < 0.8 * last[2]:
            return unsure
        fit = theil_sen([(point[0], point[1]) for point in stretch], 0.98)
        if fit is None:
            return unsure
        slope, low, high = fit
        run = last[0] - first[0]
        expected = self._expected_rate(first[0]) * (1.0 - (first[0] / last[0]) ** 1.2) / 1.2
        if expected < 0.03:
            return unsure
        horizon = {"slope": fit, "threshold": -0.25 * expected / run, "first": first[0], "last": last[0],
                   "windows": sum(point[3] for point in stretch)}
        progress = -slope * run
        tells = (slope - low) * run <= 0.6 * expected
        if high >= 0 and progress < 0.25 * expected and -low * run < 0.6 * expected and tells:
            return ("flat", horizon)
        if high < 0 and progress >= 0.5 * expected:
            return ("moving", horizon)
        return unsure

    def _at_the_end(self, done):
        if done is not None:
            return done >= 0.85
        rates = [(point[0], point[2]) for point in self.points if point[2] is not None]
        if not rates:
            return False
        now, rate = rates[-1]
        peak = max(0.0, max(value for _, value in rates))
        if peak <= 0 or rate > 0.25 * peak:
            return False
        high = next((step for step, value in reversed(rates) if value >= 0.9 * peak), now)
        low = next((step for step, value in rates if step > high and value <= 0.25 * peak), now)
        floor = next((step for step, value in rates if step >= low and abs(value - rate) <= 0.01 * peak), now)
        between = sum(high < step < low for step, _ in rates)
        return low - high >= 0.04 * low and between >= 2 and now - floor < 0.15 * now
