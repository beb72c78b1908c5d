"""The replay buffer of tested programs: a ring on the device, drawn from by P2Value. State in, state out.

Every function is pure and compiles (``config`` and ``n`` are static); the caller may donate the state. Priorities hold
after :func:`init`, :func:`add` and :func:`refresh`; :func:`update` leaves them as they are until the next refresh.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct

from pper_jax.errors import UserError
from pper_jax.replay import admission, p2value, sum_tree
from pper_jax.replay.p2value import Possibility, Scheme
from pper_jax.replay.sum_tree import SumTree, Target

Store = Literal["all", "failed", "solved"]
Evict = Literal["oldest", "lowest"]


@dataclass(frozen=True)
class ReplayConfig:
    """What is stored and how it is drawn; hashable, so that it can be a static argument.

    Attributes:
        max_length: tokens a row, prompt included.
        capacity: slots; when they are full a program makes room, see ``evict``.
        alpha: weight of the possibility in P2Value, 0 to 1.
        omega: exponent of the priorities; 0 draws evenly.
        beta: exponent of the importance weights; 0 switches them off.
        possibility: see :func:`pper_jax.replay.p2value.log_possibility`.
        scheme: see :func:`pper_jax.replay.p2value.priorities`.
        uniform_mix: share of the draws made uniformly, 0 to 1.
        store: keep all programs (the paper), or only those that fail a test, or only those that pass all.
        stratified: one draw from each of ``n`` equal parts of the probability instead of ``n`` independent draws.
        target: ``exact`` or ``dithered`` draws, see :func:`pper_jax.replay.sum_tree.sample`.
        age_decay: rounds in which a program's priority falls by a factor of e; 0 switches it off.
        replacement: False draws each program at most once a batch (O(capacity), by the Gumbel trick).
        dedup: a program whose tokens a task has already replaces the one stored.
        task_cap: programs kept of a task, the newest or the best as ``evict`` says; 0 sets no limit.
        evict: whether the oldest or that of lowest P2Value makes room.
    """

    max_length: int
    capacity: int = 4096
    alpha: float = 0.5
    omega: float = 0.7
    beta: float = 0.0
    possibility: Possibility = "geomean"
    scheme: Scheme = "rank"
    uniform_mix: float = 0.0
    store: Store = "all"
    stratified: bool = True
    target: Target = "exact"
    age_decay: float = 0.0
    replacement: bool = True
    dedup: bool = False
    task_cap: int = 0
    evict: Evict = "oldest"

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_length", 1, None),
            ("capacity", 1, None),
            ("alpha", 0, 1),
            ("omega", 0, None),
            ("beta", 0, None),
            ("uniform_mix", 0, 1),
            ("age_decay", 0, None),
            ("task_cap", 0, None),
        ):
            value = getattr(self, name)
            if not (value >= least and (most is None or value <= most)):
                limits = f"at least {least}" if most is None else f"between {least} and {most}"
                raise UserError(f"replay {name} is {value}; it must be {limits}")
        kinds = {"possibility": Possibility, "scheme": Scheme, "store": Store, "target": Target, "evict": Evict}
        for name, kind in kinds.items():
            if getattr(self, name) not in get_args(kind):
                raise UserError(
                    f"replay {name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}"
                )


@struct.dataclass
class Items:
    """Tested programs, ``N`` of them (as given to :func:`add`, as stored, or as gathered). Numpy arrays serve too.

    Attributes:
        tokens: ``[N, T]`` int32, prompt, completion and EOS, padded to the config's ``max_length``.
        prompt_length: ``[N]`` int32.
        length: ``[N]`` int32, prompt, completion and EOS.
        logprob: ``[N]`` float32, summed log-probability of completion and EOS, nats.
        pass_rate: ``[N]`` float32, share of the task's tests passed.
        task_index: ``[N]`` int32.
        round: ``[N]`` int32, the round that wrote the program.
        program_id: ``[N]`` int32.
        valid: ``[N]`` bool; others are not stored. In the buffer: whether the slot is filled.
    """

    tokens: jax.Array
    prompt_length: jax.Array
    length: jax.Array
    logprob: jax.Array
    pass_rate: jax.Array
    task_index: jax.Array
    round: jax.Array
    program_id: jax.Array
    valid: jax.Array


@struct.dataclass
class ReplayState:
    """The buffer: ``C`` slots, filled from slot 0 on, then the oldest first.

    Attributes:
        items: the stored programs, each field ``[C, ...]``.
        inserted_at: ``[C]`` int32, how many programs had been stored before this one (its age).
        scored_at: ``[C]`` int32, train step of the parameters that gave ``items.logprob``; -1 = as decoded.
        times_drawn: ``[C]`` int32.
        log_possibility: ``[C]`` float32, -inf where not filled; as of the last refresh, like the next three.
        log_p2value: ``[C]`` float32.
        rank: ``[C]`` int32, 1 = greatest P2Value; 0 where not filled.
        tree: priorities.
        inserted: [] int32, programs stored since the start.
    """

    items: Items
    inserted_at: jax.Array
    scored_at: jax.Array
    times_drawn: jax.Array
    log_possibility: jax.Array
    log_p2value: jax.Array
    rank: jax.Array
    tree: SumTree
    inserted: jax.Array

    @property
    def filled(self) -> jax.Array:
        """``[C]`` bool, the slots that hold a program."""
        return self.items.valid

    @property
    def size(self) -> jax.Array:
        """[] int32, number of programs held."""
        return jnp.sum(self.filled, dtype=jnp.int32)

    @property
    def next_slot(self) -> jax.Array:
        """[] int32, the slot that the next program goes to."""
        return self.inserted % self.filled.shape[0]


@struct.dataclass
class Draw:
    """What was drawn and why; every field ``[n]``.

    Attributes:
        indices: int32 slots; -1 when the buffer is empty.
        probability: float32, of each single draw.
        weight: float32 importance weight, 1 when ``beta`` is 0; 0 when the buffer is empty.
        rank: int32, 1 = greatest P2Value.
        p2value: float32.
        log_possibility: float32.
        pass_rate: float32.
        times_drawn: int32, how often it had been drawn before this batch.
    """

    indices: jax.Array
    probability: jax.Array
    weight: jax.Array
    rank: jax.Array
    p2value: jax.Array
    log_possibility: jax.Array
    pass_rate: jax.Array
    times_drawn: jax.Array


def init(config: ReplayConfig) -> ReplayState:
    """An empty buffer."""
    capacity = config.capacity

    def numbers(dtype: Any, *shape: int) -> jax.Array:
        return jnp.zeros((capacity, *shape), dtype)

    return ReplayState(
        items=Items(
            tokens=numbers(jnp.int32, config.max_length),
            prompt_length=numbers(jnp.int32),
            length=numbers(jnp.int32),
            logprob=numbers(jnp.float32),
            pass_rate=numbers(jnp.float32),
            task_index=numbers(jnp.int32),
            round=numbers(jnp.int32),
            program_id=numbers(jnp.int32),
            valid=numbers(jnp.bool_),
        ),
        inserted_at=numbers(jnp.int32),
        scored_at=numbers(jnp.int32),
        times_drawn=numbers(jnp.int32),
        log_possibility=jnp.full(capacity, -jnp.inf, jnp.float32),
        log_p2value=jnp.full(capacity, -jnp.inf, jnp.float32),
        rank=numbers(jnp.int32),
        tree=sum_tree.init(capacity),
        inserted=jnp.zeros((), jnp.int32),
    )


@partial(jax.jit, static_argnames="config")
def add(state: ReplayState, items: Items, config: ReplayConfig) -> ReplayState:
    """Store the valid ``items`` that ``config.store`` admits, in order, over the oldest ones; refreshes priorities.

    Of more items than slots the last ones stay. Raises ValueError when rows are not ``max_length`` wide.
    """
    width, capacity = items.tokens.shape[-1], config.capacity
    if width != config.max_length:
        raise ValueError(f"items have rows of {width} tokens, the buffer of {config.max_length}")
    keep = jnp.asarray(items.valid, bool)
    if config.store != "all":
        solved = jnp.asarray(items.pass_rate) >= 1
        keep &= solved if config.store == "solved" else ~solved
    if config.dedup or config.task_cap or config.evict != "oldest":
        slots = _places(state, items, keep, config)
        keep = slots < capacity
    order = jnp.cumsum(keep, dtype=jnp.int32) - 1
    if not (config.dedup or config.task_cap or config.evict != "oldest"):
        slots = sum_tree.keep_last(jnp.where(keep, (state.inserted + order) % capacity, capacity), capacity)
    kept = jnp.sum(keep, dtype=jnp.int32)

    def put(old: jax.Array, new: jax.Array | int) -> jax.Array:
        return old.at[slots].set(jnp.asarray(new, old.dtype), mode="drop")

    state = replace(
        state,
        items=jax.tree.map(put, state.items, items),
        inserted_at=put(state.inserted_at, state.inserted + order),
        scored_at=put(state.scored_at, -1),
        times_drawn=put(state.times_drawn, 0),
        inserted=state.inserted + kept,
    )
    state = refresh(state, config)
    if not config.task_cap:
        return state
    stays = admission.within_cap(state.items.task_index, state.filled, _worth(state, config), config.task_cap)
    return refresh(replace(state, items=replace(state.items, valid=stays)), config)


def _worth(state: ReplayState, config: ReplayConfig) -> jax.Array:
    """``[C]`` int32; the program of least worth makes room first."""
    return state.inserted_at if config.evict == "oldest" else -state.rank


def _places(state: ReplayState, items: Items, keep: jax.Array, config: ReplayConfig) -> jax.Array:
    """Slots ``[N]`` of the items to ``keep [N]`` where copies are looked for or the lowest makes room."""
    capacity = config.capacity
    held_by = jnp.full(keep.shape, capacity, jnp.int32)
    if config.dedup and keep.size:
        old, new = (admission.token_hash(jnp.asarray(x.tokens), jnp.asarray(x.length)) for x in (state.items, items))
        both = jnp.concatenate([state.items.task_index, jnp.asarray(items.task_index)])
        hashes = (jnp.concatenate([old[0], new[0]]), jnp.concatenate([old[1], new[1]]))
        later, held_by = admission.copies(both, hashes, jnp.concatenate([state.filled, keep]), capacity)
        keep &= ~later
    return admission.places(keep, held_by, state.filled, _worth(state, config))


@partial(jax.jit, static_argnames="config")
def refresh(state: ReplayState, config: ReplayConfig, changed: jax.Array | None = None) -> ReplayState:
    """Compute possibilities, P2Values, ranks and priorities anew from what is stored: one sort and one tree build.

    ``changed [n]`` int, slots: only their log-probabilities have changed since the last refresh, so the order of the
    others is kept and nothing is sorted but these. (Where a possibility depends on all programs, all is done anew.)
    """
    items, filled = state.items, state.filled
    if changed is None or config.possibility in ("percentile", "task_softmax"):
        possibility = p2value.log_possibility(
            items.logprob,
            items.length - items.prompt_length,
            filled,
            items.task_index,
            possibility=config.possibility,
        )
        possibility = jnp.where(filled, possibility, -jnp.inf)
        value = p2value.log_p2value(possibility, items.pass_rate, config.alpha)
        rank = p2value.ranks(value, possibility, state.inserted_at, filled)
    else:
        slots = jnp.where((changed >= 0) & (changed < filled.shape[0]), changed, filled.shape[0])
        rows = gather(state, slots)
        own = p2value.log_possibility(
            rows.logprob, rows.length - rows.prompt_length, rows.valid, possibility=config.possibility
        )
        own = jnp.where(rows.valid, own, -jnp.inf)
        possibility = state.log_possibility.at[slots].set(own, mode="drop")
        own = p2value.log_p2value(own, rows.pass_rate, config.alpha)
        value = state.log_p2value.at[slots].set(own, mode="drop")
        rank = p2value.reranked(state.rank, value, possibility, state.inserted_at, filled, slots)
    leaves = p2value.priorities(
        value,
        rank,
        filled,
        scheme=config.scheme,
        omega=config.omega,
        uniform_mix=config.uniform_mix,
        rounds=items.round,
        age_decay=config.age_decay,
    )
    tree = sum_tree.build(leaves, state.tree.arity)
    return replace(state, log_possibility=possibility, log_p2value=value, rank=rank, tree=tree)


def probabilities(state: ReplayState) -> jax.Array:
    """Probability of each slot in one draw, ``[C]`` float32; sums to 1 unless the buffer is empty."""
    total = sum_tree.total(state.tree)
    even = state.filled / jnp.maximum(state.size, 1).astype(jnp.float32)
    return jnp.where(total > 0, state.tree.priorities / jnp.where(total > 0, total, 1.0), even)


@partial(jax.jit, static_argnames=("n", "config"))
def sample(state: ReplayState, key: jax.Array, n: int, config: ReplayConfig) -> tuple[ReplayState, Draw]:
    """Draw ``n`` programs by priority; equal keys give equal draws. Counts them in ``times_drawn``.

    Without replacement a batch larger than the programs that can be drawn is filled up with the index -1.

    Where every priority is 0 all stored programs are equally likely. From an empty buffer the indices are -1 and the
    weights 0: such rows train nothing.
    """
    if config.replacement:
        indices = sum_tree.sample(
            state.tree, key, n, stratified=config.stratified, target=config.target, filled=state.filled
        )
    else:
        indices = _without_replacement(state, key, n)
    drawn = indices >= 0
    slots = jnp.maximum(indices, 0)
    probability = jnp.where(drawn, probabilities(state)[slots], 0.0)
    draw = Draw(
        indices=indices,
        probability=probability,
        weight=p2value.importance_weights(probability, state.size, config.beta),
        rank=state.rank[slots],
        p2value=jnp.exp(state.log_p2value[slots]),
        log_possibility=state.log_possibility[slots],
        pass_rate=state.items.pass_rate[slots],
        times_drawn=state.times_drawn[slots],
    )
    times_drawn = state.times_drawn.at[slots].add(drawn.astype(jnp.int32))
    return replace(state, times_drawn=times_drawn), draw


def _without_replacement(state: ReplayState, key: jax.Array, n: int) -> jax.Array:
    """``[n]`` int32 distinct slots, as if drawn one after the other (Gumbel top-k: Kool et al., 1903.06059)."""
    probability = probabilities(state)
    scores = jnp.log(probability) + jax.random.gumbel(key, probability.shape)
    best, slots = jax.lax.top_k(scores, min(n, probability.size))
    slots = jnp.where(best > -jnp.inf, slots.astype(jnp.int32), -1)
    return jnp.pad(slots, (0, n - slots.size), constant_values=-1)


def stalest(state: ReplayState, n: int) -> jax.Array:
    """The ``n`` filled slots whose log-probabilities were measured longest ago, ``[n]`` int32; -1 where there are less.

    For a scoring pass now and then over what training has not drawn: score them, :func:`update`, :func:`refresh`.
    """
    size = state.filled.shape[0]
    age = jnp.where(state.filled, state.scored_at, jnp.iinfo(jnp.int32).max)
    order = jnp.argsort(age, stable=True)[: min(n, size)].astype(jnp.int32)
    return jnp.pad(jnp.where(state.filled[order], order, -1), (0, n - order.size), constant_values=-1)


def to_checkpoint(state: ReplayState) -> ReplayState:
    """``state`` with the tree's leaves ``[C]`` in its place: what a checkpoint needs, whatever the arity or devices."""
    return replace(state, tree=state.tree.priorities)  # type: ignore[arg-type]


def from_checkpoint(saved: ReplayState, arity: int | None = None) -> ReplayState:
    """The state that :func:`to_checkpoint` was given, bit for bit (``arity`` None: that of the backend)."""
    return replace(saved, tree=sum_tree.build(saved.tree, arity))  # type: ignore[arg-type]


def gather(state: ReplayState, indices: jax.Array) -> Items:
    """The programs in slots ``indices [n]`` of a :class:`Draw`, each field ``[n, ...]``; -1 gives one not ``valid``."""
    slots = jnp.maximum(indices, 0)
    items = jax.tree.map(lambda field: field[slots], state.items)
    return replace(items, valid=items.valid & (indices >= 0))


def update(state: ReplayState, indices: jax.Array, row_logprob: jax.Array, step: jax.Array | int) -> ReplayState:
    """Note new summed log-probabilities ``row_logprob [n]`` of slots ``indices [n]``, measured at train step ``step``.

    Of several values for one slot the last counts; indices out of range (the -1 of an empty draw) and unfilled slots
    are ignored. Priorities follow with the next :func:`refresh`.
    """
    capacity = state.filled.shape[0]
    slots = sum_tree.keep_last(indices, capacity)
    slots = jnp.where(state.filled.at[slots].get(mode="fill", fill_value=False), slots, capacity)
    logprob = state.items.logprob.at[slots].set(jnp.asarray(row_logprob, jnp.float32), mode="drop")
    scored_at = state.scored_at.at[slots].set(jnp.asarray(step, jnp.int32), mode="drop")
    return replace(state, items=replace(state.items, logprob=logprob), scored_at=scored_at)
