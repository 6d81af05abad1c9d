"""A small pre-norm transformer in plain JAX: initialise, predict, decode one token, take many steps.

Learning rates and the clipping threshold are inputs of the compiled step, not constants, so that all
runs of one size share one compilation whatever their length and schedule.
"""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import optax

from source import CONTEXT, VOCABULARY


@dataclass(frozen=True)
class Shape:
    width: int
    depth: int = 1

    @property
    def heads(self) -> int:
        return max(1, self.width // 16)


def initialise(shape: Shape, seed: int) -> dict:
    d, layers = shape.width, shape.depth
    keys = iter(jax.random.split(jax.random.PRNGKey(seed), 3 + 4 * layers))

    def normal(*size, scale):
        return jax.random.normal(next(keys), size) * scale

    residual = (2 * layers) ** -0.5     # keeps the stream's variance independent of depth
    return {
        "embed": normal(VOCABULARY, d, scale=0.08),
        "position": normal(CONTEXT, d, scale=0.02),
        "unembed": normal(d, VOCABULARY, scale=0.5 * d**-0.5),
        "gain": jnp.ones(d),
        "layers": [
            {
                "qkv": normal(d, 3 * d, scale=d**-0.5),
                "out": normal(d, d, scale=d**-0.5 * residual),
                "up": normal(d, 4 * d, scale=d**-0.5),
                "down": normal(4 * d, d, scale=(4 * d) ** -0.5 * residual),
                "gain_attention": jnp.ones(d),
                "gain_mlp": jnp.ones(d),
            }
            for _ in range(layers)
        ],
    }


def parameters(params: dict) -> tuple[int, int]:
    """All of them, and those that are neither token nor position embedding nor unembedding."""
    total = sum(leaf.size for leaf in jax.tree.leaves(params))
    return total, total - params["embed"].size - params["position"].size - params["unembed"].size


def _norm(x, gain):
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * gain


def _split_heads(x, heads):
    return x.reshape(*x.shape[:-1], heads, -1)


def logits(params: dict, tokens, heads: int):
    length = tokens.shape[1]
    y = params["embed"][tokens] + params["position"][:length]
    mask = jnp.tril(jnp.ones((length, length), bool))
    for layer in params["layers"]:
        q, k, v = (_split_heads(t, heads) for t in jnp.split(_norm(y, layer["gain_attention"]) @ layer["qkv"], 3, -1))
        score = jnp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5
        weight = jax.nn.softmax(jnp.where(mask, score, -1e9))
        y = y + jnp.einsum("bhqk,bkhd->bqhd", weight, v).reshape(y.shape) @ layer["out"]
        y = y + jax.nn.gelu(_norm(y, layer["gain_mlp"]) @ layer["up"]) @ layer["down"]
    return _norm(y, params["gain"]) @ params["unembed"]


def loss(params: dict, sequences, heads: int):
    x = logits(params, sequences[:, :-1], heads)
    return optax.softmax_cross_entropy_with_integer_labels(x, sequences[:, 1:]).mean()


def optimiser(kind: str, weight_decay: float):
    """Directions only; the step multiplies them by its learning rate."""
    if kind == "adamw":
        return optax.chain(optax.scale_by_adam(b1=0.9, b2=0.95), optax.add_decayed_weights(weight_decay))
    if kind == "sgd":
        return optax.trace(decay=0.9)
    raise ValueError(kind)


@lru_cache(maxsize=None)
def compiled_steps(shape: Shape, kind: str, weight_decay: float):
    """(params, state, clip, batches, rates) -> (params, state, losses, gradient norms), one entry a step."""
    opt = optimiser(kind, weight_decay)

    @jax.jit
    def steps(params, state, clip, batches, rates):
        def one(carry, inputs):
            params, state = carry
            batch, rate = inputs
            value, gradient = jax.value_and_grad(loss)(params, batch, shape.heads)
            norm = optax.global_norm(gradient)
            scale = jnp.minimum(1.0, clip / jnp.maximum(norm, 1e-12))
            gradient = jax.tree.map(lambda t: t * scale, gradient)
            direction, state = opt.update(gradient, state, params)
            params = jax.tree.map(lambda p, u: p - rate * u, params, direction)
            return (params, state), (value, norm)

        (params, state), (values, norms) = jax.lax.scan(one, (params, state), (batches, rates))
        return params, state, values, norms

    return steps


@lru_cache(maxsize=None)
def compiled_score(heads: int):
    """(params, sequences) -> for each sequence its mean loss and its share of tokens whose top guess was right."""

    @jax.jit
    def score(params, sequences):
        x = logits(params, sequences[:, :-1], heads)
        target = sequences[:, 1:]
        nats = optax.softmax_cross_entropy_with_integer_labels(x, target)
        return nats.mean(1), (x.argmax(-1) == target).mean(1)

    return score


@lru_cache(maxsize=None)
def compiled_decode(shape: Shape):
    """(params, cache, token, position) -> (next token, cache): greedy, batch 1, keys and values cached."""
    heads = shape.heads

    @jax.jit
    def decode(params, cache, token, position):
        y = params["embed"][token] + params["position"][position]
        seen = jnp.arange(CONTEXT) <= position
        new = []
        for layer, (keys, values) in zip(params["layers"], cache):
            q, k, v = (_split_heads(t, heads) for t in jnp.split(_norm(y, layer["gain_attention"]) @ layer["qkv"], 3))
            keys, values = keys.at[position].set(k), values.at[position].set(v)
            score = jnp.einsum("hd,khd->hk", q, keys) * q.shape[-1] ** -0.5
            weight = jax.nn.softmax(jnp.where(seen, score, -1e9))
            y = y + jnp.einsum("hk,khd->hd", weight, values).reshape(y.shape) @ layer["out"]
            y = y + jax.nn.gelu(_norm(y, layer["gain_mlp"]) @ layer["up"]) @ layer["down"]
            new.append((keys, values))
        return (_norm(y, params["gain"]) @ params["unembed"]).argmax(), new

    return decode


def empty_cache(shape: Shape):
    zero = jnp.zeros((CONTEXT, shape.heads, shape.width // shape.heads))
    return [(zero, zero) for _ in range(shape.depth)]
