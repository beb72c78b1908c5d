"""The loop that runs the model for a method: admit prompts to rows of a batch, extend all rows, step by step.

A batch has ``B`` rows, each with the cache of its prompt, held once, and room for ``R`` steps of its beams. A table of
ancestors says which slots a beam sees; reordering beams rewrites that table, and nothing in the cache is copied. Rows
may be at different steps: those that are done can be replaced between two segments while the others go on, and since
every row counts its own steps, its sums are added in the same order whenever it was admitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jax import lax

from pper_jax.decode.cache import prefill
from pper_jax.decode.method import Method, take_beams
from pper_jax.decode.outlook import Outlook
from pper_jax.types import BeamLayerCache, BeamMask, Params, Programs, Prompts


@struct.dataclass
class Batch:
    """Rows that are decoded together.

    Attributes:
        cache: one entry a layer.
        length: ``[B]`` int32, tokens of each row's prompt.
        ancestors: ``[B, K, R]`` int32, the beam of step ``r`` that a beam descends from; -1 for none.
        state: the method's.
    """

    cache: tuple[BeamLayerCache, ...]
    length: jax.Array
    ancestors: jax.Array
    state: Any


def begin(module: nn.Module, params: Params, prompts: Prompts, keys: jax.Array | None, method: Method) -> Batch:
    """Read the prompts and choose the first token of every row; there is no room for steps yet (``R = 0``).

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
        state=state,
    )


def grow(batch: Batch, steps: int, on_host: bool = False) -> Batch:
    """The same batch with room for ``steps`` steps, more than it has; ``on_host``: numpy, where nothing is compiled."""
    pad: Any = np.pad if on_host else jnp.pad
    width, old = batch.ancestors.shape[1:]
    more, each = (0, steps - old), (0, (steps - old) * width)
    none = (0, 0)
    return replace(
        batch,
        cache=tuple(
            replace(
                layer, key=pad(layer.key, (none, none, none, each)), value=pad(layer.value, (none, none, each, none))
            )
            for layer in batch.cache
        ),
        ancestors=pad(batch.ancestors, (none, none, more), constant_values=-1),
    )


def advance_until(
    module: nn.Module, params: Params, batch: Batch, method: Method, steps: jax.Array | int, done: jax.Array | int
) -> Batch:
    """Extend all rows by at most ``steps`` tokens, or until at least ``done`` rows are done.

    No row may run out of its room (the caller's care).
    """

    def going(carry: tuple[jax.Array, Batch]) -> jax.Array:
        return (carry[0] < steps) & (carry[1].state.done.sum() < done)

    def step(carry: tuple[jax.Array, Batch]) -> tuple[jax.Array, Batch]:
        return carry[0] + 1, _step(module, params, carry[1], method)

    return lax.while_loop(going, step, (jnp.int32(0), batch))[1]


def _step(module: nn.Module, params: Params, batch: Batch, method: Method) -> Batch:
    """Feed the last token of every beam to the model and let the method choose the next."""
    state = batch.state
    rows, width, room = batch.ancestors.shape
    last = (state.step - 1)[:, None, None]  # the step whose token is fed
    own = jnp.arange(width, dtype=jnp.int32)[:, None]
    ancestors = jnp.where(jnp.arange(room) == last, own, take_beams(batch.ancestors, state.parent))
    slots = batch.cache[0].prompt_key.shape[-1] if batch.cache else 0
    mask = BeamMask(
        prompt=jnp.arange(slots) < batch.length[:, None],
        generated=(ancestors[..., None] == jnp.arange(width)).reshape(rows, width, room * width),
    )
    positions = jnp.broadcast_to((batch.length + state.step - 1)[:, None], (rows, width))
    apply: Callable[..., Any] = partial(module.apply, {"params": params})
    hidden, cache = apply(state.token, positions, mask, cache=batch.cache, write_at=state.step - 1, method="hidden")
    return replace(
        batch,
        cache=cache,
        ancestors=ancestors,
        state=method.advance(state, _outlook(module, params, hidden)),
    )


def _outlook(module: nn.Module, params: Params, hidden: jax.Array) -> Outlook:
    unembed: Callable[..., Any] = partial(module.apply, {"params": params}, method="unembed")
    return Outlook(hidden, unembed)


def rooms(max_new_tokens: int) -> tuple[int, ...]:
    """Numbers of steps to make room for, one after the other: attention costs what the room is, filled or not."""
    last = max(max_new_tokens - 1, 1)  # the last token chosen is never fed
    return tuple(sorted({-(-last * part // 64) * 16 for part in (1, 2, 4)}))


def decode(module: nn.Module, params: Params, prompts: Prompts, keys: jax.Array | None, method: Method) -> Programs:
    """Run ``method`` on one batch of prompts from beginning to end, as one pure function.

    Returns:
        Programs ``[B, num_return, max_new_tokens]``.
    """
    batch = begin(module, params, prompts, keys, method)
    taken = 0
    for room in rooms(method.max_new_tokens):
        batch = advance_until(module, params, grow(batch, room), method, room - taken, prompts.tokens.shape[0])
        taken = room
    return method.results(batch.state)
