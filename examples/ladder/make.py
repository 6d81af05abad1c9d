"""Trains the ladder: `python make.py --out DIR` writes DIR/logs/*.jsonl.gz, truth.json, tuning.json, summary.json.

One process, one core, no network. Everything random comes from the seeds it prints. Started again with the
same DIR it keeps what is there and goes on; a run whose width, length, rate or seed has changed is made anew.
"""

import argparse
import json
import os
import sys
import time
from itertools import product
from pathlib import Path

# Before JAX is imported: the numbers in the README are of one core without an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import plan
from source import CONTEXT, VOCABULARY, draw_source, sample, true_loss
from train import STEP_TOKENS, Run, Texts, train

SOURCES = {
    "order1": dict(seed=7, successors=6),
    "order1b": dict(seed=8, successors=4),
    "order2": dict(seed=11, successors=6, near=0.5),
}
HELD_OUT_SEED = 99


def texts(held_out_sequences: int) -> Texts:
    sources = {name: draw_source(name, **how) for name, how in SOURCES.items()}
    held_out = {name: sample(source, held_out_sequences, HELD_OUT_SEED) for name, source in sources.items()}
    return Texts(sources, held_out)


def truth(all_texts: Texts) -> dict:
    """What a perfect model would score, exactly; and on the held-out set, whose luck every run shares."""
    result = {}
    for name, source in all_texts.sources.items():
        mean, error = true_loss(source, all_texts.held_out[name])
        result[name] = {
            "order": 1 if source.near == 1.0 else 2,
            "version": source.version,
            "vocabulary_size": VOCABULARY,
            "context_length_tokens": CONTEXT,
            "entropy_nats": source.scored_entropy,
            "entropy_given_one_token_nats": source.entropy_given_one,
            "entropy_given_two_tokens_nats": source.entropy,
            "stationary_residual": source.residual,
            "held_out_tokens": all_texts.held_out[name].shape[0] * CONTEXT,
            "perfect_model_held_out_loss_nats": mean,
            "perfect_model_held_out_standard_error_nats": error,
        }
    return result


def tune(all_texts: Texts, versions: dict[str, str], path: Path) -> plan.Rates:
    """For each width and tuned length the peak rate with the lowest held-out loss; all that was tried is written."""
    short = Texts(all_texts.sources, {name: text[:4096] for name, text in all_texts.held_out.items()}, all_texts.blocks)
    known = {(row["width"], row["tokens"], row["learning_rate_peak"]): row for row in load(path)}
    rates, tried = {}, []
    for tokens, width in product(plan.TUNING_TOKENS, plan.GRID_WIDTHS):
        mine = []
        for factor in plan.TUNING_FACTORS:
            peak = float(f"{plan.guess(width) * factor:.3g}")
            row = known.get((width, tokens, peak))
            if row is None:
                began = time.process_time()
                _, result = train(Run("tuning", "tuning", width, tokens, peak, plan.TUNING_SEED), short, versions)
                row = {"width": width, "tokens": tokens, "learning_rate_peak": peak, "loss": round(result["loss"], 5),
                       "cpu_seconds": round(time.process_time() - began, 1)}
            mine.append(row)
        best = min(mine, key=lambda row: row["loss"])
        rates[width, tokens] = best["learning_rate_peak"]
        tried += [row | {"chosen": row is best} for row in mine]
        print("tuned width", width, "at", tokens, "tokens:", {row["learning_rate_peak"]: row["loss"] for row in mine}, flush=True)
    write(path, tried)
    return rates


def load(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def write(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--quick", action="store_true", help="six runs and no tuning, about a minute")
    arguments.add_argument("--only", default="", help="only runs whose id begins so")
    chosen = arguments.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)

    print("source seeds", {n: how["seed"] for n, how in SOURCES.items()}, "held out", HELD_OUT_SEED, "tuning", plan.TUNING_SEED)
    all_texts = texts(2048 if chosen.quick else 16384)
    write(chosen.out / "truth.json", truth(all_texts))
    versions = {name: source.version for name, source in all_texts.sources.items()}

    if chosen.quick:
        runs = plan.quick({})
    else:
        rates = tune(all_texts, versions, chosen.out / "tuning.json")
        runs = plan.grid(rates) + plan.jump(rates) + plan.events(rates)
        # Cheap ones first: a broken plan shows early.
        runs = sorted((run for run in runs if run.run_id.startswith(chosen.only)), key=lambda run: (run.steps * run.width**2, run.run_id))

    summary = {row["run_id"]: row for row in load(chosen.out / "summary.json")}
    for run in runs:
        facts = {"run_id": run.run_id, "cohort": run.cohort, "width": run.width, "learning_rate_peak": run.peak,
                 "seed": run.seed, "tokens": run.steps * STEP_TOKENS}
        if facts.items() <= summary.get(run.run_id, {}).items() and (chosen.out / "logs" / f"{run.run_id}.jsonl.gz").exists():
            continue
        began = time.process_time()
        log, result = train(run, all_texts, versions)
        log.write(chosen.out / "logs")
        result = {name: round(value, 6) if isinstance(value, float) else value for name, value in result.items()}
        summary[run.run_id] = facts | result | {"cpu_seconds": round(time.process_time() - began, 1)}
        write(chosen.out / "summary.json", [summary[name] for name in sorted(summary)])
        print(json.dumps(summary[run.run_id]), flush=True)
    print(f"{len(runs)} runs planned, {STEP_TOKENS} tokens a step, {time.process_time() / 60:.1f} CPU minutes this time")


if __name__ == "__main__":
    sys.exit(main())
