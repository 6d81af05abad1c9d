"""Reads the logs back and says what they show: does the law hold, where does it land, which curves are flat.

The fit is Hoffmann's: L = E + A/N^alpha + B/D^beta, Huber loss (delta 1e-3) on log residuals, from many
starts. It knows nothing of the true entropy; that is only printed beside the result.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from logs import read

DELTA = 1e-3
WINDOWS = 10                  # a run's steps are cut into so many windows of equal length
BOOTSTRAPS = 40


def law(theta, n, d):
    e, a, b, alpha, beta = theta
    return np.exp(e) + np.exp(a - alpha * np.log(n)) + np.exp(b - beta * np.log(d))


LOWER, UPPER = (-5, -5, -5, 0.02, 0.02), (3, 40, 40, 3, 3)
STARTS = [np.array(start) for start in product((-1.0, 0.6), (3.0, 10.0), (3.0, 10.0), (0.3, 1.0), (0.3, 1.0))]
FEW_STARTS = STARTS[::6]     # for the bootstrap, beside the fit to all runs


def fit(n, d, loss, starts=STARTS):
    """The best of many local fits; at most 300 evaluations each, so that a bad start costs little."""
    def residuals(theta):
        return np.log(law(theta, n, d)) - np.log(loss)

    found = [least_squares(residuals, s, bounds=(LOWER, UPPER), loss="huber", f_scale=DELTA, max_nfev=300) for s in starts]
    return min(found, key=lambda one: one.cost).x


class Seen:
    """One log, read."""

    def __init__(self, path: Path):
        lines = read(path)
        config = next(line for line in lines if line["topic"] == "runs.config")
        self.run_id, self.cohort = config["run_id"], config["tags"][1]
        self.parameters = config["model"]["parameters_total"]
        self.planned = config["training"]["tokens_planned"]
        self.seed = config["training"]["seed"]
        self.end = [line["state"] for line in lines if line["topic"] == "runs.lifecycle"][-1]
        self.validation = next((line["value"] for line in lines if line.get("task") == "validation"), None)
        self.error = next((line["standard_error"] for line in lines if line.get("task") == "validation"), None)
        last = {line["step"]: line for line in lines if line["topic"] == "telemetry.training"}  # a later attempt wins
        self.steps = np.array(sorted(last))
        self.loss = np.array([float(last[step]["loss"]) for step in self.steps])

    @property
    def compute(self) -> float:
        return 6.0 * self.parameters * self.planned


def slope(run: Seen, low: float, high: float) -> tuple[float, float]:
    """Theil-Sen slope of log loss per 1,000 steps between two shares of the run; its error by least squares."""
    inside = (run.steps > low * run.steps[-1]) & (run.steps <= high * run.steps[-1] * (1 + 1e-9)) & np.isfinite(run.loss)
    x, y = run.steps[inside] / 1000, np.log(run.loss[inside])
    if len(x) < 4:
        return np.nan, np.nan
    i, j = np.triu_indices(len(x), 1)
    centred = x - x.mean()
    ols = (centred @ y) / (centred @ centred)
    rest = y - y.mean() - ols * centred
    error = (rest @ rest / (len(x) - 2) / (centred @ centred)) ** 0.5
    return float(np.median((y[j] - y[i]) / (x[j] - x[i]))), float(error)


def report_slopes(runs: list[Seen]) -> None:
    """How flat each curve is, early and late; and how often a window as long as a share of the run looks flat."""
    print(f"\nslope of log loss per 1,000 steps, x 1e-3: in {WINDOWS} equal windows; then the last half and third, +- standard error")
    for run in runs:
        tenths = [slope(run, k / WINDOWS, (k + 1) / WINDOWS)[0] for k in range(WINDOWS)]
        late = ["%.2f +- %.2f" % tuple(1000 * v for v in slope(run, low, 1)) for low in (1 / 2, 2 / 3)]
        print(f"  {run.run_id:28} {run.steps[-1]:6} steps {run.end:8}", " ".join(f"{1000 * v:8.2f}" for v in tenths), " | ", " | ".join(late))
    print("\nwindows sliding by a twentieth of the run after its first tenth: how many are flat (slope + 2 standard errors > 0), and the longest row of flat ones")
    for run in runs:
        if run.steps[-1] < 7000:
            continue
        cells = []
        for length in (2, 4, 6, 10):          # twentieths
            flat = [s + 2 * e > 0 for s, e in (slope(run, k / 20, (k + length) / 20) for k in range(2, 21 - length))]
            longest = max(map(len, "".join("x" if f else " " for f in flat).split()), default=0)
            cells.append(f"{length / 20:.0%}: {sum(flat)}/{len(flat)} ({longest})")
        print(f"  {run.run_id:28}", "   ".join(cells))


def report_law(name: str, runs: list[Seen], entropy: float, held_out: float, bootstrap: bool) -> None:
    runs = sorted(runs, key=lambda run: run.compute)
    n, d, loss = (np.array([getattr(run, key) for run in runs], float) for key in ("parameters", "planned", "validation"))
    theta = fit(n, d, loss)
    residual = law(theta, n, d) / loss - 1
    e, a, b = np.exp(theta[:3])
    print(f"\n{name}: {len(runs)} runs, N {n.min():.0f}-{n.max():.0f}, D {d.min():.0f}-{d.max():.0f}")
    print(f"  L = {e:.4f} + {a:.4g}/N^{theta[3]:.3f} + {b:.4g}/D^{theta[4]:.3f}")
    print(f"  true entropy {entropy:.4f} (fit is {100 * (e / entropy - 1):+.2f} %); a perfect model on the held-out set {held_out:.4f} ({100 * (e / held_out - 1):+.2f} %)")
    print(f"  residuals: rms {100 * (residual**2).mean() ** 0.5:.2f} %, largest {100 * abs(residual).max():.2f} % at {runs[abs(residual).argmax()].run_id}")
    if bootstrap:
        rng, near = np.random.default_rng(0), [theta] + FEW_STARTS
        es = []
        for _ in range(BOOTSTRAPS):
            pick = rng.integers(0, len(runs), len(runs))
            es.append(np.exp(fit(n[pick], d[pick], loss[pick], near)[0]))
        print("  bootstrap of E over runs (5, 50, 95 %):", np.round(np.percentile(es, (5, 50, 95)), 4))
    rest = fit(n[:-2], d[:-2], loss[:-2])
    print(f"  without the two largest: E {np.exp(rest[0]):.4f} alpha {rest[3]:.3f} beta {rest[4]:.3f}")
    for k in (-2, -1):
        predicted = law(rest, n[k], d[k])
        print(f"    {runs[k].run_id}: predicted {predicted:.4f}, seen {loss[k]:.4f} +- {runs[k].error:.4f}, off by {100 * (predicted / loss[k] - 1):+.2f} %")
    for run, r in zip(runs, residual):
        print(f"    {run.run_id:22} N {run.parameters:7} D {run.planned:9} loss {run.validation:.4f} residual {100 * r:+.2f} %")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, required=True, help="the folder make.py wrote")
    out = arguments.parse_args().out
    truth = json.loads((out / "truth.json").read_text())
    runs = [Seen(path) for path in sorted((out / "logs").glob("*.jsonl.gz"))]
    print(f"{len(runs)} logs")
    for cohort, source in (("grid", "order1"), ("jump", "order2")):
        some = [run for run in runs if run.cohort == cohort and run.validation is not None]
        if len(some) > 7:
            facts = truth[source]
            report_law(cohort, some, facts["entropy_nats"], facts["perfect_model_held_out_loss_nats"], cohort == "grid")

    report_slopes(runs)


if __name__ == "__main__":
    main()
