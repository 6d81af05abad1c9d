"""RegMix and fcnet-protein with LightGBM, the peer: `peer.py regmix|fcnet|speed`.

Settings of the RegMix notebook: 1,000 rounds, learning rate .01. It stops early on the *test* set, which is leakage;
here all rounds are run.
CPU seconds are of the process (user and system), one thread.
"""
import csv
import json
import os
import sys
import time

import lightgbm as lgb
import numpy as np
from scipy.stats import spearmanr

SHARED = os.environ["CAIRN_SHARED"]


def table(path):
    with open(os.path.join(SHARED, "data", path), newline="") as file:
        rows = list(csv.reader(file))
    return rows[0], rows[1:]


def regmix(part):
    head, mix = table(f"regmix/{part}_mixture_{'1m' if part == 'train' else SIZE}.csv")
    names, loss = table(f"regmix/{part}_pile_loss_{'1m' if part == 'train' else SIZE}.csv")
    by_index = {row[0]: row[1:] for row in loss}
    x = np.array([[float(v) for v in row[1:]] for row in mix])
    y = np.array([[float(v) for v in by_index[row[0]]] for row in mix])
    return x, y, [name.removeprefix("metric/the_pile_").removesuffix("_val_loss") for name in names[1:]]


def cpu():
    times = os.times()
    return times.user + times.system


def run_regmix():
    global SIZE
    SIZE = "1m"
    x, y, names = regmix("train")
    tests = {}
    for SIZE in ("1m", "60m", "1B"):
        tests[SIZE] = regmix("test")
    for column, name in enumerate(names):
        began, wall = cpu(), time.perf_counter()
        model = lgb.LGBMRegressor(n_estimators=1000, n_jobs=1, verbose=-1, learning_rate=0.01, random_state=42, deterministic=True)
        model.fit(x, y[:, column])
        spent, wall = cpu() - began, time.perf_counter() - wall
        out = {"target": name, "cpu_s": round(spent, 2), "wall_s": round(wall, 2)}
        for size, (tx, ty, _) in tests.items():
            out[size] = round(100 * spearmanr(model.predict(tx), ty[:, column]).statistic, 2)
        out["rmse_1m"] = round(float(np.sqrt(np.mean((model.predict(tests["1m"][0]) - tests["1m"][1][:, column]) ** 2))), 4)
        print(json.dumps(out))


def run_fcnet():
    head, rows = table("fcnet-protein/fcnet_protein.csv")
    cat = {"relu": 0, "tanh": 1, "cosine": 0, "const": 1}
    x = np.array([[cat[v] if v in cat else float(v) for v in row[:9]] for row in rows])
    y = np.array([np.mean([float(v) for v in row[9:]]) for row in rows])
    # The same hold-out as Cairn's: every fifth row of the grid in a fixed pseudo-random order.
    order = np.array([(i * 2654435761) % 2**32 for i in range(len(y))])
    test = order < 2**32 // 5
    for rounds, rate in ((1000, 0.1), (1000, 0.05)):
        began, wall = cpu(), time.perf_counter()
        model = lgb.LGBMRegressor(n_estimators=rounds, learning_rate=rate, n_jobs=1, verbose=-1, deterministic=True)
        model.fit(x[~test], np.log(y[~test]))
        spent, wall = cpu() - began, time.perf_counter() - wall
        p = np.exp(model.predict(x[test]))
        r2 = 1 - np.sum((p - y[test]) ** 2) / np.sum((y[test] - y[test].mean()) ** 2)
        print(json.dumps({"rounds": rounds, "rate": rate, "rows": int((~test).sum()), "spearman": round(100 * spearmanr(p, y[test]).statistic, 3),
                          "r2": round(r2, 5), "rmse": round(float(np.sqrt(np.mean((p - y[test]) ** 2))), 5), "log_rmse": round(float(np.sqrt(np.mean(np.log(p / y[test]) ** 2))), 5), "cpu_s": round(spent, 2), "wall_s": round(wall, 2)}))


def run_speed():
    rng = np.random.default_rng(1)
    x = rng.random((10_000, 40))
    y = np.sin(6 * x[:, 0]) + 2 * x[:, 1] * x[:, 2] + x[:, 3] ** 2 + 0.1 * rng.standard_normal(10_000)
    for rounds, rate in ((200, 0.05), (1000, 0.05)):
        began, wall = cpu(), time.perf_counter()
        model = lgb.LGBMRegressor(n_estimators=rounds, learning_rate=rate, n_jobs=1, verbose=-1)
        model.fit(x[:8000], y[:8000])
        print(json.dumps({"rounds": rounds, "cpu_s": round(cpu() - began, 2), "wall_s": round(time.perf_counter() - wall, 2), "r2": round(model.score(x[8000:], y[8000:]), 4)}))


{"regmix": run_regmix, "fcnet": run_fcnet, "speed": run_speed}[sys.argv[1]]()
