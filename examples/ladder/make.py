"""Trains the ladder: `python make.py --out DIR` writes DIR/logs/*.jsonl.gz, truth.json, tuning.json, summary.json.

One process, one core, no network. Everything random comes from the seeds it prints.
"""

import argparse
import json
import os
import sys
import time
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


def tune(widths, all_texts: Texts, tokens: int, factors) -> tuple[dict[int, float], list[dict]]:
    """For each width the peak rate with the lowest held-out loss at one short length; and all that was tried."""
    rates, tried = {}, []
    versions = {name: source.version for name, source in all_texts.sources.items()}
    for width in widths:
        mine = []
        for factor in factors:
            peak = float(f"{plan.guess(width) * factor:.3g}")
            run = Run(f"tuning-w{width:02}-{peak}", "tuning", width, tokens, peak, plan.TUNING_SEED)
            _, result = train(run, all_texts, versions)
            mine.append({"width": width, "tokens": result["tokens"], "learning_rate_peak": peak, "loss": round(result["loss"], 5)})
        best = min(mine, key=lambda row: row["loss"])
        rates[width] = best["learning_rate_peak"]
        tried += [row | {"chosen": row is best} for row in mine]
        print("tuned width", width, rates[width], {row["learning_rate_peak"]: row["loss"] for row in mine}, flush=True)
    return rates, tried


def write(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--quick", action="store_true", help="six runs and no tuning, about a minute")
    arguments.add_argument("--only", default="", help="only runs whose id begins so; needs the tuning.json of a full run")
    chosen = arguments.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)

    print("source seeds", {n: how["seed"] for n, how in SOURCES.items()}, "held out", HELD_OUT_SEED, "tuning", plan.TUNING_SEED)
    all_texts = texts(2048 if chosen.quick else 16384)
    write(chosen.out / "truth.json", truth(all_texts))
    versions = {name: source.version for name, source in all_texts.sources.items()}

    tuning = chosen.out / "tuning.json"
    if chosen.quick:
        runs = plan.quick({width: 2 * plan.guess(width) for width in plan.GRID_WIDTHS})
    else:
        if chosen.only:
            rates = {row["width"]: row["learning_rate_peak"] for row in json.loads(tuning.read_text()) if row["chosen"]}
        else:
            short = Texts(all_texts.sources, {name: text[:4096] for name, text in all_texts.held_out.items()})
            rates, tried = tune(plan.GRID_WIDTHS, short, plan.TUNING_TOKENS, plan.TUNING_FACTORS)
            write(tuning, tried)
        runs = [run for run in plan.grid(rates) + plan.jump(rates) + plan.events(rates) if run.run_id.startswith(chosen.only)]
        runs.sort(key=lambda run: (run.steps * run.width**2, run.run_id))     # cheap ones first: a broken plan shows early

    summary = []
    for run in runs:
        began = time.process_time()
        log, result = train(run, all_texts, versions)
        log.write(chosen.out / "logs")
        seconds = round(time.process_time() - began, 1)
        row = {"run_id": run.run_id, "cohort": run.cohort, "width": run.width, "learning_rate_peak": run.peak, "seed": run.seed}
        summary.append(row | {k: round(v, 6) if isinstance(v, float) else v for k, v in result.items()} | {"cpu_seconds": seconds})
        print(json.dumps(summary[-1]), flush=True)
    if not chosen.only:
        write(chosen.out / "summary.json", summary)
    print(f"{len(runs)} runs, {STEP_TOKENS} tokens a step, {time.process_time() / 60:.1f} CPU minutes")


if __name__ == "__main__":
    sys.exit(main())
