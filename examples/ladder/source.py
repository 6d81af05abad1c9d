"""Text sources whose entropy is known to the last digit.

A source is a stationary Markov chain over 512 tokens. Given a token, the next one comes with
probability 0.9 from that token's own few successors and with 0.1 from a Zipf law over all tokens.
An order-1 source looks at the last token only; an order-2 source takes its successors from the last
token's table with probability `near`, else from the table of the last but one, which a transformer
can only use once one of its attention heads has learnt to look one token back.

Because the chain is small, its stationary law and its conditional entropy are sums over tables, not
estimates: `Source.scored_entropy` is the loss of a perfect model on the positions we score.
"""

from dataclasses import dataclass

import numpy as np

VOCABULARY = 512
CONTEXT = 32


@dataclass(frozen=True)
class Source:
    name: str
    version: str            # the seed its tables were drawn from
    near: float             # 1.0: order 1
    f: np.ndarray           # (token, next): law of the last token's successors
    g: np.ndarray           # (token, next): law of the last but one's successors
    pairs: np.ndarray       # stationary law of two neighbours (before last, last)
    entropy_given_one: float
    entropy: float          # given two tokens or more; equal to the former for order 1
    residual: float         # how far `pairs` is from stationary, in total variation

    @property
    def scored_entropy(self) -> float:
        """Nats a token of a perfect model over positions 1..32, each predicted from all before it."""
        return (self.entropy_given_one + (CONTEXT - 1) * self.entropy) / CONTEXT

    @property
    def tokens(self) -> np.ndarray:
        return self.pairs.sum(1)


def draw_source(name: str, seed: int, successors: int, near: float = 1.0, zipf: float = 1.0,
                concentration: float = 0.7) -> Source:
    rng = np.random.default_rng(seed)
    z = 1 / np.arange(1, VOCABULARY + 1) ** zipf
    z /= z.sum()

    def table() -> np.ndarray:
        weights = rng.dirichlet(np.ones(successors) * concentration, size=VOCABULARY)
        t = np.zeros((VOCABULARY, VOCABULARY))
        for k in range(successors):
            np.add.at(t, (np.arange(VOCABULARY), rng.choice(VOCABULARY, size=VOCABULARY, p=z)), weights[:, k])
        t = 0.9 * t + 0.1 * z
        return t / t.sum(1, keepdims=True)

    f, g = table(), table()
    pairs, residual = _stationary(f, g, near, z)
    return Source(name, str(seed), near, f, g, pairs, *_entropies(f, g, near, pairs), residual)


def _stationary(f, g, near, start):
    """Power iteration until it moves no more than rounding does."""
    pairs = np.outer(start, start)
    for _ in range(10_000):
        new = near * pairs.sum(0)[:, None] * f + (1 - near) * (pairs.T @ g)
        new /= new.sum()
        moved = abs(new - pairs).sum()
        pairs = new
        if moved < 1e-15:
            break
    last = near * pairs.sum(0)[:, None] * f + (1 - near) * (pairs.T @ g)
    return pairs, float(abs(last - pairs).sum() / 2)


def _entropies(f, g, near, pairs):
    given_one = pairs / pairs.sum(1, keepdims=True)
    h1 = -float((pairs * np.log(given_one)).sum())
    if near == 1.0:
        return h1, h1
    h2 = 0.0
    for before in range(VOCABULARY):
        q = near * f + (1 - near) * g[before]
        h2 -= float(pairs[before] @ (q * np.log(q)).sum(1))
    return h1, h2


def sample(source: Source, sequences: int, seed: int, length: int = CONTEXT + 1) -> np.ndarray:
    """Independent stationary sequences, (sequences, length)."""
    rng = np.random.default_rng(seed)
    rows = np.arange(VOCABULARY)[:, None]
    flat_f = (source.f.cumsum(1) / source.f.sum(1, keepdims=True) + rows).ravel()
    flat_g = (source.g.cumsum(1) / source.g.sum(1, keepdims=True) + rows).ravel()
    start = np.searchsorted(source.pairs.ravel().cumsum(), rng.random(sequences) * (1 - 1e-12))
    out = np.empty((sequences, length), np.int32)
    out[:, 0], out[:, 1] = np.divmod(start, VOCABULARY)
    for t in range(2, length):
        u = rng.random(sequences) * (1 - 1e-10)
        near = rng.random(sequences) < source.near
        before, last = out[:, t - 2], out[:, t - 1]
        nxt = np.searchsorted(flat_f, last + u)
        if source.near < 1.0:
            nxt = np.where(near, nxt, np.searchsorted(flat_g, before + u))
        out[:, t] = nxt % VOCABULARY
    return out


def true_loss(source: Source, sequences: np.ndarray) -> tuple[float, float]:
    """Mean loss of the perfect model on these sequences, and its standard error: what luck the held-out set has."""
    given_one = source.pairs / source.pairs.sum(1, keepdims=True)
    loss = np.empty((len(sequences), sequences.shape[1] - 1))
    loss[:, 0] = -np.log(given_one[sequences[:, 0], sequences[:, 1]])
    a, b, c = sequences[:, :-2], sequences[:, 1:-1], sequences[:, 2:]
    loss[:, 1:] = -np.log(source.near * source.f[b, c] + (1 - source.near) * source.g[a, c])
    per_sequence = loss.mean(1)
    return float(per_sequence.mean()), float(per_sequence.std(ddof=1) / len(sequences) ** 0.5)
