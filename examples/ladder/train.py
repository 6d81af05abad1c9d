"""Trains one run of the plan and tells its log everything: the only loop in this folder that learns."""

import time
from dataclasses import dataclass, field
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

import model
from logs import Log
from source import CONTEXT, Source, sample

BATCH = 4                     # sequences a step: 128 tokens, so that data and not steps are scarce
STEP_TOKENS = BATCH * CONTEXT
CHUNK = 200                   # steps per call of the compiled loop; every run is a multiple of it
BLOCK = 8192                  # sequences sampled at once: a short run's text is a long run's beginning
DECODED = 2048                # tokens whose latency is measured
SCORE_BATCH = 512
LINE_STEPS = (1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 200)   # the divisors of CHUNK


@dataclass(frozen=True)
class Run:
    run_id: str
    cohort: str
    width: int
    tokens: int                              # asked for; rounded to whole chunks
    peak: float                              # learning rate
    seed: int = 0
    mix: tuple[tuple[str, float], ...] = (("order1", 1.0),)
    depth: int = 1
    optimizer: str = "adamw"
    schedule: str = "cosine"
    schedule_share: float = 1.0              # the share of the run after which the schedule is at its floor
    warmup_share: float = 0.05
    floor: float = 0.02                      # of the peak
    clip: float = 1.0
    weight_decay: float = 0.0
    curriculum: bool = False                 # the first 30 % of the steps see the easier half of a doubled stream
    crash_share: float | None = None         # attempt 0 stops here
    resume_share: float | None = None        # and attempt 1 goes on from the checkpoint taken here
    lines: int = 250                         # about so many lines of telemetry

    @property
    def shape(self) -> model.Shape:
        return model.Shape(self.width, self.depth)

    @property
    def steps(self) -> int:
        return max(1, round(self.tokens / STEP_TOKENS / CHUNK)) * CHUNK

    @property
    def warmup(self) -> int:
        return max(10, round(self.steps * self.warmup_share))

    @property
    def line_steps(self) -> int:
        return max(k for k in LINE_STEPS if k == 1 or self.steps / k >= self.lines * 0.75)


def learning_rates(run: Run) -> np.ndarray:
    """Linear warm-up, then a cosine down to the floor, then the floor. `warmup`: never comes down."""
    step = np.arange(1, run.steps + 1)
    rising = step / run.warmup
    if run.schedule == "warmup":
        return (run.peak * rising).astype(np.float32)
    span = max(1, round(run.steps * run.schedule_share) - run.warmup)
    fallen = np.clip((step - run.warmup) / span, 0, 1)
    falling = run.floor + (1 - run.floor) * 0.5 * (1 + np.cos(np.pi * fallen))
    return (run.peak * np.where(step <= run.warmup, rising, falling)).astype(np.float32)


@dataclass
class Texts:
    """The sources by name, the held-out set of each, and the streams drawn so far."""

    sources: dict[str, Source]
    held_out: dict[str, np.ndarray]
    blocks: dict[tuple, np.ndarray] = field(default_factory=dict)

    def stream(self, name: str, seed: int, sequences: int) -> np.ndarray:
        """The first sequences of a source's endless stream; held-out text comes from another seed."""
        parts = []
        for block in range(-(-sequences // BLOCK)):
            key = (name, seed, block)
            if key not in self.blocks:
                self.blocks[key] = sample(self.sources[name], BLOCK, [1, seed, block])
            parts.append(self.blocks[key])
        return np.concatenate(parts)[:sequences]

    def training(self, run: Run) -> np.ndarray:
        """All sequences of a run in order; a mixture draws each sequence's source by its ratio."""
        sequences = run.steps * BATCH
        used = [(name, ratio) for name, ratio in run.mix if ratio > 0]
        text = self.stream(used[0][0], run.seed, sequences)
        if len(used) == 2:
            first = np.random.default_rng([2, run.seed]).random(sequences) < used[0][1]
            text = np.where(first[:, None], text, self.stream(used[1][0], run.seed, sequences))
        if run.curriculum:
            text = text.copy()
            easy = round(sequences * 0.3)
            pool = self.stream(used[0][0], run.seed + 1000, 2 * easy)
            ease = np.log(self.sources[used[0][0]].tokens)[pool].mean(1)
            text[:easy] = pool[ease >= np.median(ease)][:easy]
        return text


def score(params, heads: int, sequences: np.ndarray) -> dict:
    """Loss and accuracy with standard errors by sequence, since tokens of one sequence are not independent."""
    function = model.compiled_score(heads)
    parts = [function(params, sequences[i : i + SCORE_BATCH]) for i in range(0, len(sequences), SCORE_BATCH)]
    nats, right = (np.concatenate([np.asarray(part[k], np.float64) for part in parts]) for k in (0, 1))
    root = len(sequences) ** 0.5
    return {
        "loss": nats.mean(), "loss_se": nats.std(ddof=1) / root,
        "accuracy": right.mean(), "accuracy_se": right.std(ddof=1) / root,
        "n": sequences.shape[0] * (sequences.shape[1] - 1),
    }


def latency(params, shape: model.Shape) -> dict:
    """Greedy decoding, batch 1, cached keys and values, one token at a time, each waited for."""
    decode = model.compiled_decode(shape)
    taken = []
    for i in range(DECODED + 2 * CONTEXT):           # the first two contexts warm up
        if i % CONTEXT == 0:
            cache, token = model.empty_cache(shape), jnp.int32(i % model.VOCABULARY)
        began = time.perf_counter()
        token, cache = decode(params, cache, token, jnp.int32(i % CONTEXT))
        token.block_until_ready()
        taken.append((time.perf_counter() - began) * 1e3)
    p50, p95, p99 = np.percentile(taken[2 * CONTEXT :], (50, 95, 99))
    return {"latency_ms_p50": float(p50), "latency_ms_p95": float(p95), "latency_ms_p99": float(p99), "n": DECODED}


def train(run: Run, texts: Texts, versions: dict[str, str]) -> tuple[Log, dict]:
    """All attempts of a run; its log and, of the end, what a table would show."""
    log = Log(run.run_id)
    params = model.initialise(run.shape, run.seed)
    state = model.optimiser(run.optimizer, run.weight_decay).init(params)
    total, inner = model.parameters(params)
    text = texts.training(run).reshape(run.steps, BATCH, CONTEXT + 1)
    config = {
        "model": {
            "family": "dense", "parameters_total": total, "parameters_non_embedding": inner,
            "depth_layers": run.depth, "width": run.width, "heads": run.shape.heads,
            "context_length_tokens": CONTEXT, "vocabulary_size": model.VOCABULARY,
        },
        "training": {
            "optimizer": run.optimizer, "learning_rate_peak": run.peak, "schedule": run.schedule,
            "warmup_steps": run.warmup, "weight_decay": run.weight_decay, "batch_tokens": STEP_TOKENS,
            "tokens_planned": run.steps * STEP_TOKENS, "seed": run.seed,
        },
        "data_mix": [{"dataset": name, "ratio": ratio, "version": versions[name]} for name, ratio in run.mix],
        "curriculum": run.curriculum, "augmentation": [],
        "hardware": {"accelerator": "cpu", "accelerator_count": 1},
        "tags": ["ladder", run.cohort],
    }

    whole = Stretch(0, 0, run.steps)
    if run.crash_share is None:
        params, result = stretch(run, texts, log, config, text, whole, params, state)[0:2]
    else:
        crash, resume = (round(run.steps * share / CHUNK) * CHUNK for share in (run.crash_share, run.resume_share))
        first = Stretch(0, 0, crash, keep=resume, crashes=True)
        checkpoint = stretch(run, texts, log, config, text, first, params, state)[2]
        again = Stretch(1, resume, run.steps)
        params, result = stretch(run, texts, log, config, text, again, *checkpoint)[0:2]
    return log, {"parameters_total": total, "tokens": run.steps * STEP_TOKENS, **result}


@dataclass(frozen=True)
class Stretch:
    """The steps of one attempt."""

    attempt: int
    begin: int
    end: int
    keep: int | None = None       # where a checkpoint is taken
    crashes: bool = False


def stretch(run: Run, texts: Texts, log: Log, config: dict, text, part: Stretch, params, state):
    """One attempt from its first to its last line: (params, result, checkpoint)."""
    steps = model.compiled_steps(run.shape, run.optimizer, run.weight_decay)
    rates, every, checkpoint = learning_rates(run), run.line_steps, None
    judged = {max(CHUNK, round(run.steps * share / CHUNK) * CHUNK) for share in (0.5, 1.0)}
    now = time.time() * 1e3
    log.say("runs.config", part.attempt, now, **config)
    log.say("runs.lifecycle", part.attempt, now, state="started")
    scores, failing = None, 0

    for begin in range(part.begin, part.end, CHUNK):
        began = time.time()
        params, state, losses, norms = steps(params, state, run.clip, text[begin : begin + CHUNK], rates[begin : begin + CHUNK])
        losses, norms = np.asarray(losses, np.float64), np.asarray(norms, np.float64)
        took = time.time() - began
        if begin + CHUNK in judged and np.isfinite(losses).all():
            scores = held_out_scores(run, texts, params)
        for i in range(every, CHUNK + 1, every):
            step, chosen = begin + i, slice(i - every, i)
            fields = {
                "loss": float(losses[chosen].mean()), "learning_rate": float(rates[step - 1]),
                "grad_norm": float(norms[chosen].mean()), "tokens_per_second": CHUNK * STEP_TOKENS / took,
            }
            if step in judged and np.isfinite(losses).all():
                fields["validation_loss"] = float(scores["loss"])
            log.say("telemetry.training", part.attempt, (began + took * i / CHUNK) * 1e3,
                    step=step, tokens=step * STEP_TOKENS, **fields)
            failing += not np.isfinite(losses[chosen]).all()
            if failing == 40:     # nobody lets a run of NaN go on for ever
                log.say("runs.lifecycle", part.attempt, time.time() * 1e3, state="crashed",
                        step=step, tokens=step * STEP_TOKENS)
                return params, {"state": "crashed"}, checkpoint
        if begin + CHUNK == part.keep:
            checkpoint = (params, state)

    at = {"step": part.end, "tokens": part.end * STEP_TOKENS}
    if part.crashes:
        log.say("runs.lifecycle", part.attempt, time.time() * 1e3, state="crashed", **at)
        return params, {"state": "crashed"}, checkpoint
    finish(run, log, part.attempt, at, scores, params)
    return params, {"state": "finished", **{k: v if k == "n" else float(v) for k, v in scores.items() if k != "by_source"}}, checkpoint


def held_out_scores(run: Run, texts: Texts, params) -> dict:
    """A mixture is scored on both of its sources, half and half, whatever it was trained on."""
    by_source = {name: score(params, run.shape.heads, texts.held_out[name]) for name, _ in run.mix}
    some = list(by_source.values())
    result = {key: sum(one[key] for one in some) / len(some) for key in ("loss", "accuracy")}
    result |= {key: sum(one[key] ** 2 for one in some) ** 0.5 / len(some) for key in ("loss_se", "accuracy_se")}
    return result | {"n": sum(one["n"] for one in some), "by_source": by_source}


def finish(run: Run, log: Log, attempt: int, at: dict, scores: dict, params) -> None:
    """Last words: the scored task, the held-out loss, what decoding costs."""
    def say(task, metric, value, error, n):
        log.say("eval.results", attempt, time.time() * 1e3, **at, harness="ladder", task=task, metric=metric,
                value=float(value), n=n, standard_error=float(error))

    if len(run.mix) > 1:
        for name, one in scores["by_source"].items():
            say(f"validation_{name}", "loss", one["loss"], one["loss_se"], one["n"])
    say("top1", "accuracy", scores["accuracy"], scores["accuracy_se"], scores["n"])
    say("validation", "loss", scores["loss"], scores["loss_se"], scores["n"])
    log.say("telemetry.runtime", attempt, time.time() * 1e3, context_tokens=CONTEXT, batch=1, **latency(params, run.shape))
    log.say("runs.lifecycle", attempt, time.time() * 1e3, state="finished", **at)
