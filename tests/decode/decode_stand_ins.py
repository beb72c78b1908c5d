"""Small models and a plain re-implementation of beam search that the decode tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pper_jax.decode import BeamConfig, SampleConfig
from pper_jax.models import GPT2, Compute, ModelConfig

VOCAB = 11
EOS = 3

# One shape that most tests share, since compilation is what they cost: three prompts in eight slots.
PROMPTS = [[1, 2, 5], [4], [7, 6, 8, 9, 10]]
SLOTS = 8
BEAM = BeamConfig(width=3, max_new_tokens=6, eos_ids=(EOS,))
SAMPLE = SampleConfig(
    num_samples=3, max_new_tokens=6, temperature=0.7, eos_ids=(EOS,), pad_id=77, stop_suffixes=((7, 6),)
)


@cache
def tiny_gpt2(vocab: int = VOCAB, seed: int = 0) -> tuple[GPT2, Any]:
    """A two-layer GPT-2 whose weights are large enough that its distributions are far from uniform."""
    config = ModelConfig("gpt2", vocab, 16, 2, 2, 2, 8, 32, 64)
    module = GPT2(config)
    ints, mask = jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2, 2), bool)
    params = module.init(jax.random.key(seed), ints, ints, mask)["params"]
    return module, jax.tree.map(lambda x: x * 8 if x.ndim > 1 else x, params)


@dataclass(frozen=True)
class TableConfig:
    vocab_size: int
    num_layers: int = 0
    num_kv_heads: int = 1
    head_dim: int = 1
    max_positions: int = 64


class TableLM(nn.Module):
    """A model without attention: ``params["table"][position, token]`` are the logits of the next token."""

    config: TableConfig
    on_call: Callable[[], None] | None = None
    compute: Compute = Compute()

    @nn.compact
    def hidden(self, tokens: Any, positions: Any, mask: Any, cache: Any = None, write_at: Any = 0) -> Any:
        if self.on_call is not None:
            jax.debug.callback(self.on_call)
        table = self.param("table", nn.initializers.zeros, (self.config.max_positions,) + (self.config.vocab_size,) * 2)
        return table[positions, tokens], cache

    def unembed(self, hidden: Any) -> Any:
        return hidden

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.hidden(*args, **kwargs)


def table_lm(probabilities: Any, on_call: Callable[[], None] | None = None) -> tuple[TableLM, Any]:
    """A ``TableLM`` from next-token probabilities ``[V]``, ``[V, V]`` (by last token) or ``[positions, V, V]``."""
    probabilities = np.asarray(probabilities, np.float32)
    vocab = probabilities.shape[-1]
    config = TableConfig(vocab)
    with np.errstate(divide="ignore"):
        table = np.broadcast_to(np.log(probabilities), (config.max_positions, vocab, vocab))
    return TableLM(config, on_call), {"table": jnp.asarray(table)}


def plain_forward(module: nn.Module, params: Any, rows: list[list[int]], length: int) -> np.ndarray:
    """Log-probabilities ``[N, length, V]`` of right-padded rows by one forward pass without a cache, in float64."""
    tokens = np.zeros((len(rows), length), np.int32)
    for row, values in zip(tokens, rows, strict=True):
        row[: len(values)] = values
    logits = np.asarray(_forward(module, params, tokens), np.float64)
    logits = np.where(np.isnan(logits), -np.inf, logits)
    top = logits.max(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        out = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    return np.where(np.isnan(out), -np.inf, out)


@jax.jit
def _positions_and_mask(tokens: Any) -> Any:
    batch, length = tokens.shape
    mask = jnp.broadcast_to(jnp.tril(jnp.ones((length, length), bool)), (batch, length, length))
    return jnp.broadcast_to(jnp.arange(length), tokens.shape), mask


_apply = jax.jit(lambda module, params, *args: module.apply({"params": params}, *args)[0], static_argnums=0)


def _forward(module: nn.Module, params: Any, tokens: np.ndarray) -> Any:
    return _apply(module, params, tokens, *_positions_and_mask(tokens))


def plain_beam_search(
    module: nn.Module,
    params: Any,
    prompt: list[int],
    width: int,
    max_new_tokens: int,
    ends: Callable[[list[int]], bool],
    length_penalty: float = 0.0,
) -> list[tuple[list[int], float, bool]]:
    """Beam search over Python lists that always runs to the length limit and prunes nothing.

    Returns ``[(tokens, sum of log-probs, finished)]``, best first.
    """
    live: list[tuple[list[int], float]] = [([], 0.0)]
    pool: list[tuple[list[int], float, bool]] = []

    def rank(tokens: list[int], total: float) -> float:
        return total / len(tokens) ** length_penalty

    for _ in range(max_new_tokens):
        rows = [prompt + tokens for tokens, _ in live]
        padded = rows + [[0]] * (width - len(rows))  # one compiled shape
        table = plain_forward(module, params, padded, 48)
        extensions = [
            ([*tokens, token], total + logprob)
            for beam, (tokens, total) in enumerate(live)
            for token, logprob in enumerate(table[beam, len(rows[beam]) - 1])
            if logprob > -np.inf
        ]
        extensions.sort(key=lambda x: -x[1])  # stable: the lowest (beam, token) first
        pool += [(*x, True) for x in extensions[:width] if ends(x[0])]
        live = [x for x in extensions if not ends(x[0])][:width]
        if not live:
            break
    pool = sorted(pool, key=lambda x: -rank(*x[:2]))[:width] + [(*x, False) for x in live]
    return sorted(pool, key=lambda x: -rank(*x[:2]))[:width]
