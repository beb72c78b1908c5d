"""The loop that runs the model for a method: admit prompts to rows of a batch, extend all rows, step by step.

A batch has ``B`` rows, each with the cache of its prompt, held once, and a ring of ``R`` generated slots, in which all
rows write at the same place whatever their own step is. A table of ancestors says which slots a beam sees; reordering
beams rewrites that table, and nothing in the cache is copied. A row lives at most ``R`` steps, so a slot is written
again only when nobody needs it; rows that are done can be replaced between two segments while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax import lax

from pper_jax.decode.cache import prefill
from pper_jax.decode.method import Method
from pper_jax.decode.outlook import Outlook
from pper_jax.types import BeamLayerCache, BeamMask, Params, Programs, Prompts


@struct.dataclass
class Batch:
    """Rows that are decoded together.

    Attributes:
        cache: one entry a layer.
        length: ``[B]`` int32, tokens of each row's prompt.
        ancestors: ``[B, K, R]`` int32, the beam whose slot ``r`` a beam descends from; -1 for none.
        slot: ``[]`` int32, steps taken since the ring was laid out; the next slot is ``slot % R``.
        state: the method's.
    """

    cache: tuple[BeamLayerCache, ...]
    length: jax.Array
    ancestors: jax.Array
    slot: jax.Array
    state: Any


def begin(module: nn.Module, params: Params, prompts: Prompts, keys: jax.Array | None, method: Method) -> Batch:
    """Read the prompts and choose the first token of every row; the ring is empty (``R = 0``).

    Args:
        module: a causal LM with the call contract of ``pper_jax.models``.
        params: its parameters.
        prompts: ``[B, P]``; ``length + max_new_tokens`` must fit the model's positions (the caller's care).
        keys: ``[B]`` typed keys, one a prompt, or None.
        method: what chooses tokens.
    """
    hidden, cache = prefill(module, params, prompts)
    batch, width = prompts.tokens.shape[0], method.width
    hidden = jnp.broadcast_to(hidden[:, None], (batch, width, hidden.shape[-1]))
    state = method.advance(method.start(prompts, keys), _outlook(module, params, hidden))
    return Batch(
        cache=tuple(
            BeamLayerCache(
                prompt_key=layer.key.transpose(0, 2, 3, 1),
                prompt_value=layer.value.transpose(0, 2, 1, 3),
                key=jnp.zeros((batch, *layer.key.shape[2:], 0), layer.key.dtype),
                value=jnp.zeros((batch, layer.value.shape[2], 0, layer.value.shape[3]), layer.value.dtype),
            )
            for layer in cache
        ),
        length=prompts.length,
        ancestors=jnp.full((batch, width, 0), -1, jnp.int32),
        slot=jnp.int32(0),
        state=state,
    )


def grow(batch: Batch, ring: int) -> Batch:
    """The same batch with a ring of ``ring`` slots, more than it has; what a full ring holds is laid out in order."""
    width, old = batch.ancestors.shape[1:]
    shift = jnp.where(batch.slot > old, -(batch.slot % old), 0) if old else 0

    def longer(x: jax.Array, axis: int, each: int, fill: int) -> jax.Array:
        pad = [(0, 0)] * x.ndim
        pad[axis] = (0, (ring - old) * each)
        return jnp.pad(jnp.roll(x, shift * each, axis) if old else x, pad, constant_values=fill)

    return replace(
        batch,
        cache=tuple(
            replace(layer, key=longer(layer.key, 3, width, 0), value=longer(layer.value, 2, width, 0))
            for layer in batch.cache
        ),
        ancestors=longer(batch.ancestors, 2, 1, -1),
        slot=jnp.minimum(batch.slot, old),
    )


def advance_until(
    module: nn.Module, params: Params, batch: Batch, method: Method, steps: jax.Array | int, done: jax.Array | int
) -> Batch:
    """Extend all rows by at most ``steps`` tokens, or until at least ``done`` rows are done.

    No row may then have taken more steps than the ring has slots (the caller's care).
    """

    def going(carry: tuple[jax.Array, Batch]) -> jax.Array:
        return (carry[0] < steps) & (carry[1].state.done.sum() < done)

    def step(carry: tuple[jax.Array, Batch]) -> tuple[jax.Array, Batch]:
        return carry[0] + 1, _step(module, params, carry[1], method)

    return lax.while_loop(going, step, (jnp.int32(0), batch))[1]


def _step(module: nn.Module, params: Params, batch: Batch, method: Method) -> Batch:
    """Feed the last token of every beam to the model and let the method choose the next."""
    state = batch.state
    rows, width, ring = batch.ancestors.shape
    at = batch.slot % ring
    own = jnp.broadcast_to(jnp.arange(width, dtype=jnp.int32)[:, None], (rows, width, 1))
    ancestors = jnp.take_along_axis(batch.ancestors, state.parent[..., None], axis=1)
    ancestors = lax.dynamic_update_slice_in_dim(ancestors, own, at, axis=2)
    slots = batch.cache[0].prompt_key.shape[-1] if batch.cache else 0
    mask = BeamMask(
        prompt=jnp.arange(slots) < batch.length[:, None],
        generated=(ancestors[..., None] == jnp.arange(width)).reshape(rows, width, ring * width),
    )
    positions = jnp.broadcast_to((batch.length + state.step - 1)[:, None], (rows, width))
    apply: Callable[..., Any] = partial(module.apply, {"params": params})
    hidden, cache = apply(state.token, positions, mask, cache=batch.cache, write_at=at, method="hidden")
    return replace(
        batch,
        cache=cache,
        ancestors=ancestors,
        slot=batch.slot + 1,
        state=method.advance(state, _outlook(module, params, hidden)),
    )


def _outlook(module: nn.Module, params: Params, hidden: jax.Array) -> Outlook:
    unembed: Callable[..., Any] = partial(module.apply, {"params": params}, method="unembed")
    return Outlook(hidden, unembed)


def rings(max_new_tokens: int) -> tuple[int, ...]:
    """Ring sizes that a search passes through: short rings first, since attention costs what the ring is long."""
    last = max(max_new_tokens - 1, 1)  # the last token chosen is never fed
    return tuple(sorted({-(-last * part // 64) * 16 for part in (1, 2, 4)}))


def decode(module: nn.Module, params: Params, prompts: Prompts, keys: jax.Array | None, method: Method) -> Programs:
    """Run ``method`` on one batch of prompts from beginning to end, as one pure function.

    Returns:
        Programs ``[B, num_return, max_new_tokens]``.
    """
    batch = begin(module, params, prompts, keys, method)
    taken = 0
    for ring in rings(method.max_new_tokens):
        batch = advance_until(module, params, grow(batch, ring), method, ring - taken, prompts.tokens.shape[0])
        taken = ring
    return method.results(batch.state)
