"""The replay buffer of tested programs: stored on the device, and worth what its priority says. State in, state out.

Every function is pure and compiles (``config`` is static); the caller may donate the state. Priorities hold after
:func:`init`, :func:`add` and :func:`refresh`; :func:`update` leaves them as they are until the next refresh.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from pper_jax.replay import admission, p2value, sum_tree
from pper_jax.replay.items import Items, check_same_columns
from pper_jax.replay.options import ReplayConfig
from pper_jax.replay.priorities import Stored, named
from pper_jax.replay.state import ReplayState, gather

Valued = tuple[jax.Array, jax.Array, jax.Array]  # log possibility, log P2Value, log worth


@partial(jax.jit, static_argnames="config")
def add(state: ReplayState, items: Items, config: ReplayConfig) -> ReplayState:
    """Store the valid ``items`` that ``config`` admits, as if one after the other; refreshes priorities.

    It admits by ``store`` and ``min_pass_rate``.
    When all slots are full each makes room: the oldest goes, or with ``evict: lowest`` what is worth least, which may
    be the newcomer. A task at ``task_cap`` makes room among its own programs. With ``mode: none`` all that was stored
    before goes. Compiles anew for another number of items: see :func:`pad_items`. Raises ValueError when rows or extra
    columns are shaped otherwise than the buffer's.
    """
    check_same_columns(items, state.items)
    if config.mode == "none":
        state = jax.tree.map(jnp.zeros_like, state)
    capacity = state.filled.shape[0]
    keep = jnp.asarray(items.valid, bool)
    if config.store != "all":
        solved = jnp.asarray(items.pass_rate) >= 1
        keep &= solved if config.store == "solved" else ~solved
    if config.min_pass_rate > 0:
        keep &= jnp.asarray(items.pass_rate) >= config.min_pass_rate
    ring = not (config.dedup or config.task_cap or config.evict != "oldest")
    if not ring:
        state, slots = _admitted(state, items, keep, config)
        keep = slots < capacity
    order = jnp.cumsum(keep, dtype=jnp.int32) - 1
    if ring:
        slots = sum_tree.keep_last(jnp.where(keep, (state.inserted + order) % capacity, capacity), capacity)

    def put(old: jax.Array, new: jax.Array | int) -> jax.Array:
        return old.at[slots].set(jnp.asarray(new, old.dtype), mode="drop")

    state = replace(
        state,
        items=jax.tree.map(put, state.items, items),
        inserted_at=put(state.inserted_at, state.inserted + order),
        scored_at=put(state.scored_at, -1),
        times_drawn=put(state.times_drawn, 0),
        inserted=state.inserted + jnp.sum(keep, dtype=jnp.int32),
    )
    return refresh(state, config)


def _admitted(state: ReplayState, items: Items, keep: jax.Array, config: ReplayConfig) -> tuple[ReplayState, jax.Array]:
    """Which stay of the stored and of the ``items`` to ``keep [N]``: the state without the others, the items' slots.

    Slots are ``[N]`` int32, ``C`` for an item that is not stored. All are compared at once, so that the result does not
    depend on how the items were split into calls (unless copies differ in worth, or worth depends on other programs).
    """
    capacity = state.filled.shape[0]
    held_by = jnp.full(keep.shape, capacity, jnp.int32)
    candidates = jax.tree.map(
        lambda old, new: jnp.concatenate([old, jnp.asarray(new, old.dtype)]), state.items, replace(items, valid=keep)
    )
    if config.dedup and keep.size:
        # Hashed apart: the tokens of both need not be in one array.
        hashes = [admission.token_hash(jnp.asarray(x.tokens), jnp.asarray(x.length)) for x in (state.items, items)]
        first, second = (jnp.concatenate(both) for both in zip(*hashes, strict=True))
        superseded, held_by = admission.copies(candidates.task_index, (first, second), candidates.valid, capacity)
        candidates = replace(candidates, valid=candidates.valid & ~superseded)
    age = jnp.concatenate([state.inserted_at, state.inserted + jnp.arange(keep.size, dtype=jnp.int32)])
    worth = age
    if config.evict == "lowest":
        drawn = jnp.concatenate([state.times_drawn, jnp.zeros(keep.size, jnp.int32)])
        valued = _valued(candidates, drawn, config)
        worth = -p2value.ranks(valued[-1], _ties(candidates, drawn, valued, config), age, candidates.valid)
    stays = admission.best(candidates.task_index, candidates.valid, worth, capacity, config.task_cap)
    slots = admission.places(stays[capacity:], held_by, state.filled, stays[:capacity], worth[:capacity])
    return replace(state, items=replace(state.items, valid=stays[:capacity])), slots


@partial(jax.jit, static_argnames="config")
def refresh(state: ReplayState, config: ReplayConfig, changed: jax.Array | None = None) -> ReplayState:
    """Compute possibilities, P2Values, worths, ranks and priorities anew: one sort and one tree build.

    ``changed [n]`` int, slots: only they were drawn, or their log-probabilities updated, since the last refresh, so the
    order of the others is kept and nothing is sorted but these. (Where a possibility or a priority depends on more
    programs than one, and changes, all is done anew.)
    """
    items, filled = state.items, state.filled
    local = config.possibility in ("joint", "geomean") and named(config.priority).local
    if changed is None or not local:
        possibility, value, worth = valued = _valued(items, state.times_drawn, config)
        rank = p2value.ranks(worth, _ties(items, state.times_drawn, valued, config), state.inserted_at, filled)
    else:
        slots = jnp.where((changed >= 0) & (changed < filled.shape[0]), changed, filled.shape[0])
        rows = gather(state, slots)
        own = _valued(rows, state.times_drawn.at[slots].get(mode="clip"), config, kept=state.log_worth[slots])
        possibility, value, worth = (
            old.at[slots].set(new, mode="drop")
            for old, new in zip((state.log_possibility, state.log_p2value, state.log_worth), own, strict=True)
        )
        rank = p2value.reranked(state.rank, worth, possibility, state.inserted_at, filled, slots)
    if config.mode != "pper":
        leaves = filled.astype(jnp.float32)
    else:
        leaves = p2value.priorities(
            worth,
            rank,
            filled,
            scheme=config.scheme,
            omega=config.omega,
            uniform_mix=config.uniform_mix,
            rounds=items.round,
            age_decay=config.age_decay,
        )
    tree = sum_tree.build(leaves, state.tree.arity)
    return replace(state, log_possibility=possibility, log_p2value=value, log_worth=worth, rank=rank, tree=tree)


def _valued(items: Items, times_drawn: jax.Array, config: ReplayConfig, kept: jax.Array | None = None) -> Valued:
    """Log possibility (-inf where not filled), log P2Value and log worth of ``items [n]``, each ``[n]`` float32.

    ``kept [n]``: the log worth before a train step, which what is steady keeps.
    """
    possibility = p2value.log_possibility(
        items.logprob,
        items.length - items.prompt_length,
        items.valid,
        items.task_index,
        possibility=config.possibility,
    )
    possibility = jnp.where(items.valid, possibility, -jnp.inf)
    value = p2value.log_p2value(possibility, items.pass_rate, config.alpha)
    rule = named(config.priority)
    if kept is not None and rule.steady:
        return possibility, value, kept
    return possibility, value, rule(Stored(items, possibility, value, times_drawn))


def _ties(items: Items, times_drawn: jax.Array, valued: Valued, config: ReplayConfig) -> jax.Array:
    """What decides between programs of equal worth, ``[n]`` float32: the log possibility, or what the rule says."""
    possibility, value, _ = valued
    rule = named(config.priority)
    return possibility if rule.ties is None else rule.ties(Stored(items, possibility, value, times_drawn))


def update(state: ReplayState, indices: jax.Array, row_logprob: jax.Array, step: jax.Array | int) -> ReplayState:
    """Note new summed log-probabilities ``row_logprob [n]`` of slots ``indices [n]``.

    ``step`` is the train step of the parameters that they were measured with. Of several values for one slot the last
    counts; indices out of range (the -1 of an empty draw) and unfilled slots are ignored. Priorities follow with the
    next :func:`refresh`.
    """
    capacity = state.filled.shape[0]
    slots = sum_tree.keep_last(indices, capacity)
    slots = jnp.where(state.filled.at[slots].get(mode="fill", fill_value=False), slots, capacity)
    logprob = state.items.logprob.at[slots].set(jnp.asarray(row_logprob, jnp.float32), mode="drop")
    scored_at = state.scored_at.at[slots].set(jnp.asarray(step, jnp.int32), mode="drop")
    return replace(state, items=replace(state.items, logprob=logprob), scored_at=scored_at)
