"""The peer: Hoffmann's law by scipy, as a careful researcher would write it. Prints JSON with its own CPU seconds.

    python peer.py grid POINTS.csv FROM TO        starts FROM..TO of the paper's 4,500, L-BFGS-B, analytic gradient
    python peer.py bootstrap POINTS.csv FROM TO   replicates FROM..TO of the paper's 4,000 (MT19937, seed 42), BFGS to convergence
    python peer.py naive POINTS.csv FROM TO       the same with L-BFGS-B as it comes: the trap
    python peer.py refit ROWS.csv REPLICATES      one warm fit and replicates, BFGS to convergence

Model, objective and starts: Hoffmann et al. 2022, appendix D.3; procedure: Besiroglu et al. 2024.
"""

import itertools
import json
import sys
import time

import numpy as np
import pandas as pd
from scipy.optimize import minimize

DELTA = 1e-3
# The unrounded estimate of Hoffmann et al., from which the paper starts every replicate.
HOFFMANN = np.array([6.0073404, 6.0179186, 0.5267228, 0.33917084, 0.2849083])


def points(path):
    """ln N, ln D, ln L of Epoch AI's points without the five largest losses; or of a csv with n, d, loss."""
    data = pd.read_csv(path)
    if "Model Size" in data:
        n, d, loss = data["Model Size"], data["Training FLOP"] / (6 * data["Model Size"]), data["loss"]
        kept = loss < sorted(loss, reverse=True)[4]
        n, d, loss = n[kept], d[kept], loss[kept]
    else:
        n, d, loss = data["n"], data["d"], data["loss"]
    return np.log(n.to_numpy()), np.log(d.to_numpy()), np.log(loss.to_numpy())


def objective(theta, n, d, loss):
    """Sum of Huber's loss of the log residuals, and its gradient in (ln A, ln B, ln E, alpha, beta)."""
    a, b, e, alpha, beta = theta
    terms = np.stack([a - alpha * n, b - beta * d, np.full_like(n, e)])
    top = terms.max(axis=0)
    parts = np.exp(terms - top)
    total = parts.sum(axis=0)
    residual = loss - (top + np.log(total))
    size = np.abs(residual)
    value = np.where(size <= DELTA, residual**2 / 2, DELTA * (size - DELTA / 2)).sum()
    pull = -np.clip(residual, -DELTA, DELTA)
    share = pull * (parts / total)
    return value, np.array([share[0].sum(), share[1].sum(), share[2].sum(), -(share[0] * n).sum(), -(share[1] * d).sum()])


def scaled(theta, *columns):
    """The same over DELTA^2: of the order of the number of rows, so that tolerances mean something."""
    value, gradient = objective(theta, *columns)
    return value / DELTA**2, gradient / DELTA**2


def converged(start, columns):
    """BFGS until the gradient is gone or no step helps; restarted, because BFGS gives up on the kinks of Huber's loss."""
    best = None
    for _ in range(5):
        found = minimize(scaled, start, args=columns, jac=True, method="BFGS", options={"gtol": 1e-4, "maxiter": 1000})
        if best is not None and found.fun > best.fun - 1e-9 * abs(best.fun):
            return best if best.fun <= found.fun else found
        best, start = found, found.x
    return best


def grid(columns, first, last):
    ticks = ([0, 5, 10, 15, 20, 25],) * 2 + ([-1, -0.5, 0, 0.5, 1], [0, 0.5, 1, 1.5, 2], [0, 0.5, 1, 1.5, 2])
    best = min(
        (
            minimize(scaled, np.array(start, float), args=columns, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "maxfun": 2000})
            for start in itertools.islice(itertools.product(*ticks), first, last)
        ),
        key=lambda found: found.fun,
    )
    return {"objective": best.fun * DELTA**2, "theta": best.x.tolist()}


def bootstrap(columns, first, last, fit):
    random = np.random.RandomState(42)
    rows, estimates, success = len(columns[0]), [], 0
    for at in range(last):
        drawn = random.choice(np.arange(rows), size=rows, replace=True)
        if at >= first:
            found = fit(tuple(column[drawn] for column in columns))
            estimates.append(found.x.tolist())
            success += bool(found.success)
    return {"estimates": estimates, "success": success}


def refit(columns, replicates):
    best = converged(HOFFMANN, columns)
    warm = time.process_time()
    best = converged(best.x, columns)
    random = np.random.RandomState(0)
    rows = len(columns[0])
    for _ in range(replicates):
        drawn = random.choice(np.arange(rows), size=rows, replace=True)
        converged(best.x, tuple(column[drawn] for column in columns))
    return {"objective": best.fun * DELTA**2, "warm_cpu_s": time.process_time() - warm}


def main():
    what, path, *numbers = sys.argv[1:]
    columns = points(path)
    numbers = [int(number) for number in numbers]
    cpu, wall = time.process_time(), time.monotonic()
    if what == "grid":
        answer = grid(columns, *numbers)
    elif what == "bootstrap":
        answer = bootstrap(columns, *numbers, lambda drawn: converged(HOFFMANN, drawn))
    elif what == "naive":
        naive = lambda drawn: minimize(objective, HOFFMANN, args=drawn, jac=True, method="L-BFGS-B")
        answer = bootstrap(columns, *numbers, naive)
    else:
        answer = refit(columns, *numbers)
    answer |= {"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - wall}
    print(json.dumps(answer))


main()
