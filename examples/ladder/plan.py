"""Which trainings there are, as data: the grid, the jump, and one of each thing that happens to runs."""

from train import Run

# The learning rates tried for each width are these factors times a guess that falls as width^-0.6. They are tried
# at two lengths because 800 steps want a larger rate than thousands; above 300 k tokens the loss hardly cares.
TUNING_FACTORS = (0.7, 1.4, 2.8)
TUNING_TOKENS = (102_400, 307_200)
TUNING_SEED = 100             # its own text, so that no grid run was chosen by its own result

Rates = dict[tuple[int, int], float]     # (width, tuned length) -> peak learning rate


def guess(width: int) -> float:
    return 0.008 * (16 / width) ** 0.6


def rate(rates: Rates, width: int, tokens: int) -> float:
    """Tuned at the longest length that is no longer than the run; untuned widths (the jump's) get twice the guess."""
    return rates.get((width, max(length for length in TUNING_TOKENS if length <= tokens)), 2 * guess(width))


GRID_WIDTHS = (12, 16, 24, 32, 48, 64, 96)
GRID_TOKENS = (102_400, 307_200, 998_400, 2_995_200)
GRID_LONG = ((16, 9_984_000), (32, 9_984_000), (64, 9_984_000), (96, 9_984_000))     # the last two are the largest runs: to be held out
REPEATED = ((32, 998_400), (16, 102_400))     # the cells with three seeds: one typical, one far off the law

JUMP_WIDTHS = (8, 16, 32)
JUMP_TOKENS = (307_200, 998_400, 2_995_200)

MIXTURE_RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIDE_WIDTH = 16               # of the runs that show an event rather than a size


def label(tokens: int) -> str:
    return f"{tokens / 1e6:.1f}m" if tokens >= 1e6 else f"{round(tokens / 1e5) / 10:.1f}m"


def grid(rates: Rates) -> list[Run]:
    def run(width, tokens, seed=0):
        return Run(f"grid-w{width:02}-{label(tokens)}-s{seed}", "grid", width, tokens, rate(rates, width, tokens), seed)

    cells = [run(width, tokens) for width in GRID_WIDTHS for tokens in GRID_TOKENS]
    cells += [run(width, tokens) for width, tokens in GRID_LONG]
    return cells + [run(width, tokens, seed) for width, tokens in REPEATED for seed in (1, 2)]


def jump(rates: Rates) -> list[Run]:
    return [
        Run(f"jump-w{width:02}-{label(tokens)}-s0", "jump", width, tokens, rate(rates, width, tokens), mix=(("order2", 1.0),))
        for width in JUMP_WIDTHS for tokens in JUMP_TOKENS
    ]


def events(rates: Rates) -> list[Run]:
    width = SIDE_WIDTH
    peak = rate(rates, width, 998_400)
    runs = [
        # A warm-up that never ends, without clipping: learns first, then explodes.
        Run("diverging-adamw", "diverging", width, 512_000, 4.0, schedule="warmup", warmup_share=1.0,
            clip=float("inf"), lines=500),
        # The same with plain momentum: its logits overflow and the rest is NaN.
        Run("diverging-sgd", "diverging", width, 512_000, 60.0, schedule="warmup", warmup_share=1.0,
            optimizer="sgd", clip=float("inf"), lines=1000),
        # Somebody set the schedule's horizon to a twenty-fifth of the run: the rate is 0 ever after.
        Run("plateau-collapsed-schedule", "plateau", width, 2_995_200, peak, schedule="cosine_collapsed",
            schedule_share=0.04, warmup_share=0.02, floor=0.0),
        Run("resumed", "resumed", width, 2_995_200, peak, crash_share=0.58, resume_share=0.5),
    ]
    for seed in (0, 1, 2):
        for curriculum in (False, True):
            name = f"curriculum-{'easy-first' if curriculum else 'none'}-s{seed}"
            runs.append(Run(name, "curriculum", width, 998_400, peak, 10 + seed, curriculum=curriculum))
    for ratio in MIXTURE_RATIOS:
        runs.append(Run(f"mixture-{round(100 * ratio):03}", "mixture", width, 998_400, peak, 20,
                        mix=(("order1", ratio), ("order1b", 1 - ratio))))
    return runs


def quick(rates: Rates) -> list[Run]:
    """A few runs of each kind that matters, in about a minute."""
    by_id = {run.run_id: run for run in grid(rates) + events(rates)}
    names = ("grid-w12-0.1m-s0", "grid-w12-0.3m-s0", "grid-w16-0.1m-s0", "grid-w16-0.3m-s0", "diverging-adamw", "diverging-sgd")
    return [by_id[name] for name in names]
