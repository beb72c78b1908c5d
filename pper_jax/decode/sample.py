"""Independent samples over a shared prompt cache; temperature 0 is greedy decoding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax import lax

from pper_jax.decode.ends import Ends, RowEnds
from pper_jax.decode.method import OwnEnds, as_programs, freeze
from pper_jax.decode.outlook import Outlook
from pper_jax.decode.segments import decode
from pper_jax.ranges import check_number
from pper_jax.types import Params, Programs, Prompts


class Samples(OwnEnds):
    """A method that draws ``num_samples`` programs a prompt."""

    num_samples: int

    @property
    def programs_per_prompt(self) -> int:
        """As many as are drawn."""
        return self.num_samples

    def widened(self) -> Self:
        """Twice the samples."""
        return cast(Self, replace(cast(Any, self), num_samples=2 * self.num_samples))


@dataclass(frozen=True)
class SampleConfig(Samples):
    """Static options of sampling; hashable.

    Attributes:
        num_samples: ``K``, programs a prompt.
        max_new_tokens: ``T``, length limit, EOS included.
        temperature: logits are divided by it; 0 takes the most probable token (the lowest id among equals).
        top_k: keep exactly the ``top_k`` most probable tokens (lowest ids among equals); 0 keeps all.
        top_p: then keep the most probable tokens up to and including the one that brings their tempered probability to
            ``top_p`` (nucleus sampling, Holtzman et al. 2020); 1 keeps all.
        eos_ids: tokens that end a program.
        pad_id: what stands after the end in ``Programs.tokens``.
        stop_suffixes: token sequences; a program whose generated tokens end in one is finished as with an EOS.
    """

    num_samples: int = 1
    max_new_tokens: int = 256
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    eos_ids: tuple[int, ...] = ()
    pad_id: int = 0
    stop_suffixes: tuple[tuple[int, ...], ...] = ()

    @property
    def width(self) -> int:
        """Programs that grow at once."""
        return self.num_samples

    @property
    def needs_key(self) -> bool:
        """Unless the most probable token is taken."""
        return self.temperature > 0

    def start(self, prompts: Prompts, keys: jax.Array | None, ends: Ends | RowEnds | None = None) -> SampleState:
        """Nothing drawn; ``keys [B]`` typed, one a prompt (None will do for temperature 0)."""
        batch = prompts.tokens.shape[0]
        if keys is None:
            keys = jnp.broadcast_to(jax.random.key(0), (batch,))
        return _start(batch, keys, self, self.ends_or(ends))

    def advance(self, state: SampleState, outlook: Outlook) -> SampleState:
        """Append one token to every open program."""
        return freeze(state.done, state, _advance(state, outlook, self))

    def results(self, state: SampleState) -> Programs:
        """The programs in the order drawn."""
        logprob = state.logprobs.sum(-1)
        return as_programs(
            state.tokens,
            state.length,
            state.logprobs,
            logprob=logprob,
            finished=state.finished,
            score=logprob,
            pad_id=state.ends.pad_id,
        )

    def __post_init__(self) -> None:
        for name in ("num_samples", "max_new_tokens"):
            check_number(name, getattr(self, name), least=1, whole=True)
        check_number("temperature", self.temperature, least=0)
        check_number("top_k (0 keeps every token)", self.top_k, least=0, whole=True)
        check_number("top_p (1 keeps every token)", self.top_p, above=0, most=1)
        _ = self.ends  # which judge themselves


@struct.dataclass
class SampleState:
    """The state between two steps."""

    step: jax.Array  # [B]
    done: jax.Array  # [B]
    token: jax.Array  # [B, K] the last token
    parent: jax.Array  # [B, K] every program continues itself
    keys: jax.Array  # [B, K]
    recent: jax.Array  # [B, K, L] last tokens, -1 before the first
    length: jax.Array  # [B, K]
    open: jax.Array  # [B, K] bool, may still grow
    finished: jax.Array  # [B, K] bool
    tokens: jax.Array  # [B, K, T]
    logprobs: jax.Array  # [B, K, T]
    ends: Ends | RowEnds


@partial(jax.jit, static_argnames=("module", "config"))
def sample(
    module: nn.Module,
    params: Params,
    prompts: Prompts,
    key: jax.Array,
    *,
    config: SampleConfig,
    ends: Ends | RowEnds | None = None,
) -> Programs:
    """Draw ``num_samples`` programs a prompt, in the order drawn: unsorted, so that the first is an unbiased sample.

    Draw ``k`` of a prompt depends on the prompt's key, ``k`` and the step alone, not on the batch nor ``num_samples``.
    A program for which no token has a finite log-probability ends there, unfinished.

    Args:
        module: a causal LM with the call contract of ``pper_jax.models``.
        params: its parameters.
        prompts: tokens ``[B, P]``; ``length + max_new_tokens`` must fit the model's positions (the caller's care).
        key: typed keys ``[B]``, one a prompt; or one key ``[]``, folded with the row number.
        config: static options.
        ends: what programs end at; None: what the config says.

    Returns:
        Programs with ``[B, num_samples, max_new_tokens]`` tokens. ``logprob`` and ``token_logprobs`` are the model's
        own, without temperature, top-k or top-p, so that they compare with those of beam search.
    """
    config.check(module.config)
    batch = prompts.tokens.shape[0]
    keys = key if key.ndim else jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))
    return decode(module, params, prompts, keys, config, ends)


def _start(batch: int, keys: jax.Array, config: SampleConfig, ends: Ends | RowEnds) -> SampleState:
    grid = (batch, config.num_samples)
    draws = jnp.arange(config.num_samples, dtype=jnp.int32)
    return SampleState(
        step=jnp.zeros(batch, jnp.int32),
        done=jnp.zeros(batch, bool),
        token=jnp.zeros(grid, jnp.int32),
        parent=jnp.broadcast_to(draws, grid),
        keys=jax.vmap(lambda key: jax.vmap(jax.random.fold_in, (None, 0))(key, draws))(keys),
        recent=jnp.full((*grid, ends.tail_length), -1, jnp.int32),
        length=jnp.zeros(grid, jnp.int32),
        open=jnp.ones(grid, bool),
        finished=jnp.zeros(grid, bool),
        tokens=jnp.full((*grid, config.max_new_tokens), ends.pad_id, jnp.int32),
        logprobs=jnp.zeros((*grid, config.max_new_tokens), jnp.float32),
        ends=ends,
    )


def tempered(logprob: jax.Array, temperature: float) -> jax.Array:
    """``logprob [..., V]`` over ``temperature``, up to a constant that keeps the best at 0 however low it is."""
    gap = logprob - jnp.max(logprob, axis=-1, keepdims=True)
    return jnp.where(gap == 0, 0.0, gap / temperature)


def _choose(keys: jax.Array, logprob: jax.Array, config: SampleConfig) -> jax.Array:
    """A token ``[B, K]`` for each row of ``logprob [B, K, V]``, after temperature, top-k and top-p."""
    if config.temperature == 0:
        return jnp.argmax(logprob, axis=-1).astype(jnp.int32)
    scaled, vocabulary = tempered(logprob, config.temperature), logprob.shape[-1]
    draw = jax.vmap(jax.vmap(jax.random.categorical))
    if config.top_k == 0 and config.top_p == 1:
        return draw(keys, scaled).astype(jnp.int32)
    scaled, order = lax.top_k(scaled, min(config.top_k or vocabulary, vocabulary))  # best first
    if config.top_p < 1:
        probability = jax.nn.softmax(scaled, axis=-1)
        before = jnp.cumsum(probability, axis=-1) - probability
        scaled = jnp.where((before < config.top_p) | (jnp.arange(scaled.shape[-1]) == 0), scaled, -jnp.inf)
    return jnp.take_along_axis(order, draw(keys, scaled)[..., None], axis=-1)[..., 0].astype(jnp.int32)


def _advance(state: SampleState, outlook: Outlook, config: SampleConfig) -> SampleState:
    step = state.step[:, None]
    logprob = outlook.log_probs()
    token = _choose(jax.vmap(jax.vmap(jax.random.fold_in, (0, None)))(state.keys, state.step), logprob, config)
    chosen = jnp.take_along_axis(logprob, token[..., None], axis=-1)[..., 0]
    grows = state.open & (chosen > -jnp.inf)
    ended = grows & state.ends.close(token, state.recent)
    here = grows[..., None] & (jnp.arange(config.max_new_tokens) == step[..., None])
    still_open = grows & ~ended
    return replace(
        state,
        step=state.step + 1,
        done=(state.step + 1 >= config.max_new_tokens) | ~still_open.any(axis=1),
        token=token,
        recent=jnp.concatenate([state.recent, token[..., None]], axis=-1)[..., 1:],
        length=state.length + grows,
        open=still_open,
        finished=state.finished | ended,
        tokens=jnp.where(here, token[..., None], state.tokens),
        logprobs=jnp.where(here, chosen[..., None], state.logprobs),
    )
