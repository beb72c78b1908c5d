"""The loop that runs the model for a method: admit prompts to rows of a batch, extend all rows, step by step.

A batch has ``B`` rows, each with the cache of its prompt, held once, and ``S`` slots for the tokens of its beams: a
step takes ``K`` of them. A mask says which slots a beam sees, those of its ancestors; reordering beams rewrites that
mask, and nothing in the cache is copied. Rows may be at different steps: those that are done can be replaced between
two segments while the others go on, and since every row takes its own slots, its sums are added in the same order
whenever it was admitted. The beams of a row share most of their past: ``compact`` gives up what none descends from.
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
from pper_jax.decode.ends import Ends, RowEnds
from pper_jax.decode.method import Method, take_beams
from pper_jax.decode.outlook import Outlook
from pper_jax.types import BeamLayerCache, BeamMask, KVCache, Params, Programs, Prompts


@struct.dataclass
class Batch:
    """Rows that are decoded together.

    Attributes:
        cache: one entry a layer.
        length: ``[B]`` int32, tokens of each row's prompt.
        visible: ``[B, K, S]`` bool, the slots of the beams' ancestors, before ``state.parent`` is applied.
        written: ``[B, S]`` int32, the position of the token in each slot in use.
        taken: ``[B]`` int32, slots in use, from the first on.
        state: the method's.
    """

    cache: tuple[BeamLayerCache, ...]
    length: jax.Array
    visible: jax.Array
    written: jax.Array
    taken: jax.Array
    state: Any


def begin(
    module: nn.Module,
    params: Params,
    prompts: Prompts,
    keys: jax.Array | None,
    method: Method,
    ends: Ends | RowEnds | None = None,
    shared: KVCache | None = None,
) -> Batch:
    """Read the prompts and choose the first token of every row; there are no slots for steps yet.

    Args:
        module: a causal LM with the call contract of ``pper_jax.models``.
        params: its parameters.
        prompts: ``[B, P]``; ``length + max_new_tokens`` must fit the model's positions (the caller's care).
        keys: ``[B]`` typed keys, one a prompt, or None.
        method: what chooses tokens.
        ends: what programs end at; None: what the method says.
        shared: the cache of what all prompts begin with (:func:`pper_jax.decode.cache.prefill`).
    """
    hidden, cache = prefill(module, params, prompts, shared)
    batch, width = prompts.tokens.shape[0], method.width
    hidden = jnp.broadcast_to(hidden[:, None], (batch, width, hidden.shape[-1]))
    state = method.advance(method.start(prompts, keys, ends), _outlook(module, params, hidden))
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
        visible=jnp.zeros((batch, width, 0), bool),
        written=jnp.zeros((batch, 0), jnp.int32),
        taken=jnp.zeros(batch, jnp.int32),
        state=state,
    )


def merge(batch: Batch, fresh: Batch, rows: jax.Array) -> Batch:
    """``fresh`` prompts in place of ``rows``, of which some may not exist; no slot of theirs is visible any more."""

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[rows].set(new, mode="drop")

    return replace(
        batch,
        cache=tuple(
            replace(
                layer,
                prompt_key=put(layer.prompt_key, new.prompt_key),
                prompt_value=put(layer.prompt_value, new.prompt_value),
            )
            for layer, new in zip(batch.cache, fresh.cache, strict=True)
        ),
        length=put(batch.length, fresh.length),
        visible=batch.visible.at[rows].set(False, mode="drop"),
        taken=put(batch.taken, fresh.taken),
        state=jax.tree.map(put, batch.state, fresh.state),
    )


def idle(shapes: Batch) -> Batch:
    """A batch of host arrays, in which every row is done; ``shapes`` is one of ``jax.ShapeDtypeStruct``."""
    batch = jax.tree.map(_blank, shapes)
    return replace(
        batch,
        length=np.ones_like(batch.length),
        state=replace(batch.state, done=np.ones_like(batch.state.done)),
    )


def _blank(like: jax.ShapeDtypeStruct) -> Any:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), like.shape)
    return np.zeros(like.shape, like.dtype)


def grow(batch: Batch, steps: int, on_host: bool = False) -> Batch:
    """The same batch with room for ``steps`` steps, more than it has; ``on_host``: numpy, where nothing is compiled."""
    pad: Any = np.pad if on_host else jnp.pad
    width, old = batch.visible.shape[1:]
    none, more = (0, 0), (0, steps * width - old)
    return replace(
        batch,
        cache=tuple(
            replace(
                layer, key=pad(layer.key, (none, none, none, more)), value=pad(layer.value, (none, none, more, none))
            )
            for layer in batch.cache
        ),
        visible=pad(batch.visible, (none, none, more)),
        written=pad(batch.written, (none, more)),
    )


def live_slots(batch: Batch) -> jax.Array:
    """``[B, S]`` bool: slots that some beam of the row still sees."""
    return take_beams(batch.visible, batch.state.parent).any(1)


def compact(batch: Batch) -> Batch:
    """The same batch with the live slots of every row in front, in their order, and the others free again."""
    live = live_slots(batch)
    order = jnp.argsort(~live, axis=-1, stable=True)
    return replace(
        batch,
        cache=tuple(
            replace(
                layer,
                key=jnp.take_along_axis(layer.key, order[:, None, None, :], axis=-1),
                value=jnp.take_along_axis(layer.value, order[:, None, :, None], axis=-2),
            )
            for layer in batch.cache
        ),
        visible=jnp.take_along_axis(batch.visible & live[:, None], order[:, None], axis=-1),
        written=jnp.take_along_axis(batch.written, order, axis=-1),
        taken=live.sum(-1, dtype=jnp.int32),
    )


def advance_until(
    module: nn.Module, params: Params, batch: Batch, method: Method, steps: jax.Array | int, done: jax.Array | int
) -> Batch:
    """Extend all rows by at most ``steps`` tokens, or until at least ``done`` rows are done.

    No row may run out of its slots (the caller's care).
    """

    def going(carry: tuple[jax.Array, Batch]) -> jax.Array:
        return (carry[0] < steps) & (carry[1].state.done.sum() < done)

    def step(carry: tuple[jax.Array, Batch]) -> tuple[jax.Array, Batch]:
        return carry[0] + 1, _step(module, params, carry[1], method)

    return lax.while_loop(going, step, (jnp.int32(0), batch))[1]


def _step(module: nn.Module, params: Params, batch: Batch, method: Method) -> Batch:
    """Feed the last token of every beam to the model and let the method choose the next."""
    state = batch.state
    rows, width, slots = batch.visible.shape
    place = jnp.arange(slots) - batch.taken[:, None]  # of a slot among those that this step writes
    own = place[:, None] == jnp.arange(width)[:, None]
    visible = take_beams(batch.visible, state.parent) | own
    prompt_slots = batch.cache[0].prompt_key.shape[-1] if batch.cache else 0
    at = batch.length + state.step - 1
    written = jnp.where((place >= 0) & (place < width), at[:, None], batch.written)
    mask = BeamMask(jnp.arange(prompt_slots) < batch.length[:, None], visible, at, written)
    positions = jnp.broadcast_to(at[:, None], (rows, width))
    apply: Callable[..., Any] = partial(module.apply, {"params": params})
    hidden, cache = apply(state.token, positions, mask, cache=batch.cache, write_at=batch.taken, method="hidden")
    return replace(
        batch,
        cache=cache,
        visible=visible,
        written=written,
        taken=batch.taken + jnp.where(state.done, 0, width),
        state=method.advance(state, _outlook(module, params, hidden)),
    )


def _outlook(module: nn.Module, params: Params, hidden: jax.Array) -> Outlook:
    unembed: Callable[..., Any] = partial(module.apply, {"params": params}, method="unembed")
    fused = module.compute.kernels not in (None, "reference")
    top: Callable[..., Any] | None = partial(module.apply, {"params": params}, method="top") if fused else None
    return Outlook(hidden, unembed, module.config.vocab_size, top)


def step_counts(max_new_tokens: int) -> tuple[int, ...]:
    """Steps that the cache has slots for, one number after the other: attention costs what there are, filled or not."""
    last = max(max_new_tokens - 1, 1)  # the last token chosen is never fed
    return tuple(sorted({-(-last * part // 64) * 16 for part in (1, 2, 4)}))


def decode(
    module: nn.Module,
    params: Params,
    prompts: Prompts,
    keys: jax.Array | None,
    method: Method,
    ends: Ends | RowEnds | None = None,
) -> Programs:
    """Run ``method`` on one batch of prompts from beginning to end, as one pure function.

    Returns:
        Programs ``[B, programs_per_prompt, max_new_tokens]``.
    """
    batch = begin(module, params, prompts, keys, method, ends)
    taken = 0
    for steps in step_counts(method.max_new_tokens):
        batch = advance_until(module, params, grow(batch, steps), method, steps - taken, prompts.tokens.shape[0])
        taken = steps
    return method.results(batch.state)
