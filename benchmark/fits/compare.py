"""Our fit against scipy's, interleaved in one run: the machine's mood is the same for both.

    python compare.py --points svg_extracted_data.csv --examples ../../target/release/examples --folder /tmp/fits

`--points` are Epoch AI's; `--examples` holds `fit_csv` and `figures` (cargo build --release -p cairn-scaling --examples). Writes
`results.json`, `growth.json` (a figure) and `growth.svg` into `--folder` and prints the tables of README.md.

CPU seconds are the kernel's, user and system, of the whole process: start, csv and JSON included; the peer's are its own count,
without Python's start and imports. One thread each.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import scipy

HERE = pathlib.Path(__file__).parent
STARTS, REPLICATES, SLICES = 4500, 4000, 6
ONE_THREAD = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def timed(command):
    """The JSON that a command prints, its CPU seconds and its wall seconds."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True, env=ONE_THREAD)
    wall, after = time.monotonic() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), cpu, wall


def middle(runs):
    """Median CPU and wall seconds, the range of CPU seconds, and how often."""
    cpu, wall = zip(*runs)
    return {"cpu_s": statistics.median(cpu), "least": min(cpu), "most": max(cpu), "wall_s": statistics.median(wall), "times": len(runs)}


def write_rows(path, count):
    """Rows of a known law with 0.5 % noise, each a run; seeded by the count."""
    random = np.random.default_rng(count)
    n, d = 10 ** random.uniform(7, 10, count), 10 ** random.uniform(9, 12, count)
    loss = (1.7 + 400 / n**0.34 + 2000 / d**0.37) * np.exp(random.normal(0, 0.005, count))
    lines = [f"r{at},{n[at]!r},{d[at]!r},{loss[at]!r}" for at in range(count)]
    path.write_text("run,n,d,loss\n" + "\n".join(lines).replace("np.float64(", "").replace(")", "") + "\n")
    return path


def spread(estimates):
    """s.e. of A and B and the 80 % width of a = beta / (alpha + beta)."""
    theta = np.array(estimates)
    share = theta[:, 4] / (theta[:, 3] + theta[:, 4])
    low, high = np.quantile(share, [0.1, 0.9])
    a, b = np.exp(theta[:, 0]).std(ddof=1), np.exp(theta[:, 1]).std(ddof=1)
    return {"se_A": float(a), "se_B": float(b), "width_a": float(high - low)}


def chinchilla(fit_csv, points):
    """Grid and bootstraps: the peer's work in slices, one of our whole fits after each."""
    columns = ["--columns", "n=Model Size,flop=Training FLOP,loss=loss", "--drop-highest", 5]
    peer = lambda *what: timed([sys.executable, HERE / "peer.py", what[0], points, *what[1:]])[0]
    ours, parts, found = [], {"grid": [], "bootstrap": [], "naive": []}, {}
    for at in range(SLICES):
        for what, whole in (("grid", STARTS), ("bootstrap", REPLICATES), ("naive", REPLICATES)):
            parts[what].append(peer(what, whole * at // SLICES, whole * (at + 1) // SLICES))
        fit, cpu, wall = timed([fit_csv, points, *columns, "--starts", "grid", "--bootstrap", REPLICATES, "--brief"])
        found = fit
        ours.append((cpu, wall))
    total = {what: {key: sum(part[key] for part in done) for key in ("cpu_s", "wall_s")} for what, done in parts.items()}
    for what in ("bootstrap", "naive"):
        total[what] |= spread(sum((part["estimates"] for part in parts[what]), []))
        total[what]["success"] = sum(part["success"] for part in parts[what])
    total["grid"]["objective"] = min(part["objective"] for part in parts["grid"])
    parameters = {name: [one["value"], one["se"]] for name, one in found["parameters"].items()}
    ours = middle(ours) | {
        "objective": found["objective"]["value"],
        "parameters": parameters,
        "bootstrap": found["bootstrap"],
        "starts": found["certificate"]["starts"],
        "failed_starts": found["certificate"]["failed_starts"],
    }
    return {"ours": ours, "peer": total}


def warm(fit_csv, folder):
    """A refit of 300 runs from the last parameters: the point alone, and with the default 200 replicates."""
    path = write_rows(folder / "rows-300.csv", 300)
    last = timed([fit_csv, path, "--brief"])[0]["parameters"]
    given = ["--warm", ",".join(f"{name}={one['value']!r}" for name, one in last.items()), "--brief"]
    ours = {0: [], 200: []}
    peer = {0: [], 200: []}
    for _ in range(7):
        for replicates in (0, 200):
            _, cpu, wall = timed([fit_csv, path, *given, "--bootstrap", replicates])
            ours[replicates].append((cpu, wall))
            answer = timed([sys.executable, HERE / "peer.py", "refit", path, replicates])[0]
            peer[replicates].append((answer["warm_cpu_s"], answer["wall_s"]))
    return {str(replicates): {"ours": middle(ours[replicates]), "peer": middle(peer[replicates])} for replicates in ours}


def growth(fit_csv, folder, sizes):
    """Default fit of more and more rows. The peer: one fit and as many replicates (at 100,000 rows a tenth, times ten)."""
    rows = []
    for size in sizes:
        path = write_rows(folder / f"rows-{size}.csv", size)
        times = 3 if size <= 1000 else 1
        share = 10 if size >= 100_000 else 1
        ours, peer = [], []
        for _ in range(times):
            _, cpu, wall = timed([fit_csv, path, "--brief"])
            ours.append((cpu, wall))
            answer = timed([sys.executable, HERE / "peer.py", "refit", path, 200 // share])[0]
            peer.append((answer["cpu_s"] * share, answer["wall_s"] * share))
        rows.append({"rows": size, "ours": middle(ours), "peer": middle(peer), "peer_share": share})
        print(f"{size} rows: {rows[-1]}", flush=True)
    return rows


def figure(rows):
    """The growth as a figure of our own."""
    sizes = [row["rows"] for row in rows]
    least, first = rows[0]["ours"]["cpu_s"], sizes[0]
    layers = [{"kind": "line", "x": sizes, "y": [least * size / first for size in sizes], "dash": "dotted", "colour": "grey", "label": "in proportion"}]
    for who, label, shape, slot in (("peer", "scipy: fit and bootstrap", "square", 1), ("ours", "Cairn: all of the fit's report", "circle", 0)):
        times = [row[who]["cpu_s"] for row in rows]
        layers.append({"kind": "line", "x": sizes, "y": times, "colour": {"slot": slot}})
        ends = {"low": [row[who]["least"] for row in rows], "high": [row[who]["most"] for row in rows]}
        layers.append({"kind": "points", "x": sizes, "y": times, "label": label, "shape": shape, "colour": {"slot": slot}} | ends)
    return {
        "title": "CPU time of a fit with 200 replicates",
        "caption": "Hoffmann's law, one thread; bars are the least and most of the runs where there were several.",
        "x": {"label": "Rows, each a run", "scale": "log"},
        "y": {"label": "CPU time", "unit": "s", "scale": "log"},
        "layers": layers,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=pathlib.Path, required=True)
    parser.add_argument("--examples", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--parts", nargs="*", default=["warm", "chinchilla", "growth"])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000, 10_000, 100_000])
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    fit_csv = given.examples / "fit_csv"
    results = {
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "load": os.getloadavg(),
    }
    parts = {
        "warm": lambda: warm(fit_csv, given.folder),
        "chinchilla": lambda: chinchilla(fit_csv, given.points),
        "growth": lambda: growth(fit_csv, given.folder, given.sizes),
    }
    for name in given.parts:
        results[name] = parts[name]()
        (given.folder / "results.json").write_text(json.dumps(results, indent=1))
        print(name, json.dumps(results[name], indent=1), flush=True)
    if "growth" not in results:
        return
    path = given.folder / "growth.json"
    path.write_text(json.dumps(figure(results["growth"])))
    subprocess.run([given.examples / "figures", "draw", path, given.folder / "growth.svg"], check=True)


main()
