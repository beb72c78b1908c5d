"""What a buffer keeps when it looks for copies, caps tasks or lets the lowest go; and what its steps cost."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_stand_ins import WIDTH, empty, items

from pper_jax import replay
from pper_jax.replay import admission

CAPACITY, BATCH = 6, 4
PLAIN = replay.ReplayConfig(capacity=CAPACITY)
DEDUP = replace(PLAIN, dedup=True)


def stored(state):
    """(task, first token) -> program id of what is held."""
    held = np.asarray(state.filled)
    task, text, program = (
        np.asarray(x)[held].tolist() for x in (state.items.task_index, state.items.tokens[:, 0], state.items.program_id)
    )
    return dict(zip(zip(task, text, strict=True), program, strict=True))


def batch_of(rows, first):
    """``rows``: (task, text, pass rate); the text is the token that fills the row."""
    task, text, rate = (np.array(x) for x in zip(*rows, strict=True))
    tokens = np.repeat(text[:, None], WIDTH, axis=1)
    return items(len(rows), first=first, tokens=tokens, task_index=task, pass_rate=rate, length=[WIDTH] * len(rows))


row = st.tuples(st.integers(0, 2), st.integers(0, 5), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
batches = st.lists(st.lists(row, min_size=BATCH, max_size=BATCH), min_size=1, max_size=5)


@given(batches)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_copy_takes_the_place_of_what_it_copies_and_the_oldest_makes_room(rounds):
    """The model is a dict in the order of age: a copy moves to its end."""
    state, model = empty(DEDUP), {}
    for number, rows in enumerate(rounds):
        state = replay.add(state, batch_of(rows, BATCH * number), DEDUP)
        new = {}
        for place, (task, text, _) in enumerate(rows):
            new.pop((task, text), None)
            new[task, text] = BATCH * number + place
        copies = {key: model.pop(key) for key in new if key in model}
        while len(model) + len(new) > CAPACITY:
            model.pop(next(iter(model)))
        assert len(copies) <= len(new)
        model.update(new)
        assert stored(state) == model
    age = np.asarray(state.inserted_at)[np.asarray(state.filled)]
    assert np.unique(age).size == age.size


@given(batches, st.sampled_from([0, 1, 2]), st.sampled_from(["oldest", "lowest"]))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_each_program_makes_room_in_its_turn_however_they_are_batched(rounds, cap, evict):
    """The model stores one after the other: of its own task where that is at its cap, then of all, the least goes.

    With alpha 0 the P2Value is the pass rate; of equal ones the older is the lower.
    """
    config, model = replace(PLAIN, evict=evict, task_cap=cap, alpha=0.0), []
    state = empty(config)
    for number, rows in enumerate(rounds):
        state = replay.add(state, batch_of(rows, BATCH * number), config)
        for place, (task, _, rate) in enumerate(rows):
            model.append((rate if evict == "lowest" else 0, BATCH * number + place, task))
            own = [entry for entry in model if entry[2] == task]
            if cap and len(own) > cap:
                model.remove(min(own))
            if len(model) > CAPACITY:
                model.remove(min(model))
    at_once = replay.pad_items(batch_of([row for rows in rounds for row in rows], 0), 5 * BATCH)
    for each in (state, replay.add(empty(config), at_once, config)):
        held = np.asarray(each.items.program_id)[np.asarray(each.filled)]
        assert sorted(held.tolist()) == sorted(program for _, program, _ in model)
    np.testing.assert_array_equal(np.asarray(replay.probabilities(state)) > 0, state.filled)


def test_a_task_at_its_cap_makes_room_among_its_own_and_not_elsewhere():
    for evict in ("oldest", "lowest"):
        config = replace(PLAIN, capacity=4, task_cap=1, evict=evict, alpha=0.0)
        state = replay.add(empty(config), batch_of([(task, task, 1.0) for task in range(4)], 0), config)
        state = replay.add(state, batch_of([(4, text, 0.0) for text in range(5, 9)], 4), config)
        assert sorted(stored(state).values()) == ([1, 2, 3, 7] if evict == "oldest" else [0, 1, 2, 3])


def test_what_is_stored_holds_its_place_against_newcomers_that_are_worth_less():
    config = replace(PLAIN, capacity=4, evict="lowest", alpha=0.0)
    solved = replay.add(empty(config), batch_of([(0, text, 1.0) for text in range(4)], 0), config)
    after = replay.add(solved, batch_of([(1, text, 0.0) for text in range(4)], 4), config)
    assert sorted(stored(after).values()) == [0, 1, 2, 3]
    rates = [1.0, 0.9, 0.1, 0.2, 0.0]
    state = replay.add(empty(config), batch_of([(0, i, rate) for i, rate in enumerate(rates)], 0), config)
    assert sorted(stored(state).values()) == [0, 1, 2, 3]


def test_of_more_newcomers_than_slots_the_last_stay():
    for config in (DEDUP, replace(PLAIN, evict="lowest")):
        state = replay.add(empty(config), batch_of([(0, text, 0.5) for text in range(10)], 0), config)
        assert sorted(stored(state).values()) == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(("evict", "kept"), [("oldest", [2, 3, 4, 5]), ("lowest", [0, 3, 4, 5])])
def test_of_each_task_at_most_so_many_stay_the_newest_or_the_best(evict, kept):
    config = replace(PLAIN, evict=evict, task_cap=2, alpha=0.0)
    rows = [(0, 0, 1.0), (0, 1, 0.0), (0, 2, 0.25), (0, 3, 0.5), (1, 4, 0.0), (1, 5, 0.0)]
    state = replay.add(empty(config), batch_of(rows, 0), config)
    assert sorted(stored(state).values()) == kept
    np.testing.assert_array_equal(np.asarray(replay.probabilities(state)) > 0, state.filled)
    state = replay.add(state, batch_of([(2, 6, 0.5)], 6), config)  # takes an empty slot, nothing makes room
    assert sorted(stored(state).values()) == [*kept, 6]


def test_hashes_see_every_token_up_to_the_length_and_none_beyond():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 50_000, (4000, 12)).astype(np.int32)
    first, second = admission.token_hash(jnp.asarray(tokens), jnp.full(4000, 12))
    assert np.unique(np.stack([first, second]), axis=1).shape[1] == np.unique(tokens, axis=0).shape[0]
    one = tokens[:1]
    other = one.copy()
    other[0, 11] += 1
    short = [admission.token_hash(jnp.asarray(x), jnp.array([11])) for x in (one, other)]
    whole = [admission.token_hash(jnp.asarray(x), jnp.array([12])) for x in (one, other)]
    assert [int(h[0]) for h in short[0]] == [int(h[0]) for h in short[1]]
    assert all(int(a[0]) != int(b[0]) for a, b in zip(*whole, strict=True))


# ---------------------------------------------------------------- draws


@pytest.mark.parametrize("possibility", ["geomean", "joint", "percentile", "task_softmax"])
def test_programs_of_log_probability_minus_500_and_minus_5000_stay_distinct_and_are_drawn(possibility):
    config = replace(PLAIN, possibility=possibility)
    given_ = items(6, logprob=[-500, -5000, -501, -5001, -500.5, -4999], task_index=[0] * 6)
    state = replay.add(empty(config), given_, config)
    assert state.rank.tolist() == [1, 5, 3, 6, 2, 4]
    _, draw = replay.sample(state, jax.random.key(0), 256, config)
    assert set(draw.indices.tolist()) == set(range(6))


# ---------------------------------------------------------------- steps


def test_a_thousand_steps_compile_once_move_nothing_to_the_host_and_reuse_the_memory():
    traced = []

    def step(state, key, rows):
        traced.append(1)
        state = replay.add(state, rows, DEDUP)
        state, draw = replay.sample(state, key, 8, DEDUP)
        state = replay.update(state, draw.indices, draw.log_possibility - 0.5, 1)
        return replay.refresh(state, DEDUP, draw.indices)

    run = jax.jit(step, donate_argnums=0)
    state = jax.device_put(jax.tree.map(jnp.copy, empty(DEDUP)))
    rows = jax.device_put([items(2, first=i) for i in range(4)])
    keys = list(jax.random.split(jax.random.key(0), 1000))
    # On a CPU the guard sees transfers to the device alone; the other way a compiled step has these operations only.
    text = run.lower(state, keys[0], rows[0]).compile().as_text()
    assert [word for word in ("callback", "outfeed", "infeed", "send(") if word in text] == []
    with jax.transfer_guard("disallow"):
        for number, key in enumerate(keys):
            before = state.items.tokens.unsafe_buffer_pointer()
            state = run(state, key, rows[number % 4])
            assert state.items.tokens.unsafe_buffer_pointer() == before
    assert len(traced) == 1
    assert int(state.times_drawn.sum()) > 0


def test_a_checkpoint_holds_the_leaves_alone_and_restores_onto_any_arity():
    state = replay.add(empty(PLAIN), items(5, logprob=[-1, -2, -3, -4, -5]), PLAIN)
    saved = jax.device_get(replay.to_checkpoint(state))
    assert saved.tree.shape == (CAPACITY,)
    restored = replay.from_checkpoint(saved)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    _, expected = replay.sample(state, jax.random.key(3), 64, PLAIN)
    for arity in (2, 16):
        _, draw = replay.sample(replay.from_checkpoint(saved, arity), jax.random.key(3), 64, PLAIN)
        np.testing.assert_array_equal(draw.indices, expected.indices)


# ---------------------------------------------------------------- what a person is told


def told(**fields):
    config = replace(PLAIN, capacity=20, **fields.pop("config", {}))
    state = replay.add(empty(config), items(20, **fields), config)
    return replay.describe(state, config)


def test_a_task_far_above_its_fair_share_is_warned_of():
    fair = {"pass_rate": [1.0] * 20, "config": {"scheme": "uniform"}}
    assert told(task_index=np.arange(20), **fair)["warnings"] == []
    figures = told(task_index=[3] * 11 + list(range(10, 19)), **fair)
    assert figures["task_share"] == pytest.approx(0.55)
    assert [w for w in figures["warnings"] if w.startswith("task number 3 gets 55 % of the draws, 6 times its fair")]


def test_an_order_of_the_likelihood_alone_is_warned_of():
    rng = np.random.default_rng(0)
    fields = {"logprob": -4 * rng.random(20), "pass_rate": rng.random(20), "task_index": np.arange(20)}
    mostly = [w for w in told(config={"alpha": 0.9999}, **fields)["warnings"] if "likelihood dominates" in w]
    assert len(mostly) == 1
    assert not [w for w in told(config={"alpha": 0.5}, **fields)["warnings"] if "likelihood dominates" in w]


def test_the_table_shows_each_program_and_why_it_is_drawn():
    state = replay.add(empty(PLAIN), items(4, logprob=[-2, -1, -0.2, -4], pass_rate=[0.75, 0.25, 1, 0]), PLAIN)
    state, _ = replay.sample(state, jax.random.key(0), 3, PLAIN)
    rows = replay.table(state)
    assert [row["program"] for row in rows] == [2, 0, 1, 3]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert sum(row["probability"] for row in rows) == pytest.approx(1)
    assert sum(row["times_drawn"] for row in rows) == 3
    assert rows[0]["possibility"] == pytest.approx(np.exp(-0.1))
    assert [row["program"] for row in replay.table(state, limit=2)] == [2, 0]
    text = replay.as_text(rows, limit=2).splitlines()
    assert text[0].split()[:3] == ["rank", "program", "task"]
    assert text[1].split()[:2] == ["1", "2"]
    assert len(text) == 4
    assert text[3].startswith("4 programs of 2 tasks")
    assert replay.as_text([]) == "The buffer is empty."


def test_the_table_has_a_row_a_program_however_many_there_are():
    config = replace(PLAIN, capacity=12_000)
    state = replay.add(empty(config), items(11_000), config)
    rows = replay.table(state)
    assert len(rows) == 11_000
    assert sum(row["probability"] for row in rows) == pytest.approx(1, abs=1e-4)


def test_the_table_says_what_a_program_is_worth_where_that_is_not_its_p2value():
    config = replace(PLAIN, priority="learnability")
    rows = replay.table(replay.add(empty(config), items(3, pass_rate=[1, 0.5, 0]), config))
    assert [row["worth"] for row in rows] == pytest.approx([0.25] * 3)
    assert "worth" in replay.as_text(rows)
    assert "worth" not in replay.as_text(replay.table(replay.add(empty(PLAIN), items(3), PLAIN)))


def test_shares_of_draws_and_of_programs_are_told_apart():
    figures = told(pass_rate=[0.0] * 5 + [1.0] * 15, task_index=np.arange(20), config={"omega": 1.0, "alpha": 0.0})
    assert figures["zero_pass_programs"] == pytest.approx(0.25)
    draws = 1 / np.arange(1, 21)
    assert figures["zero_pass_share"] == pytest.approx(draws[15:].sum() / draws.sum())


# ---------------------------------------------------------------- rows of any shape


def test_a_buffer_is_shaped_after_its_example_and_keeps_extra_columns_with_their_rows():
    def extras(first, count):
        tokens = first + np.arange(count, dtype=np.float32)[:, None] + np.zeros(WIDTH, np.float32)
        return {"sampler_logprobs": -tokens, "reference": {"seen": np.arange(first, first + count, dtype=np.int32)}}

    columns = {"sampler_logprobs": np.zeros(WIDTH, np.float32), "reference": {"seen": np.int32(0)}}
    example = replay.example_row(WIDTH, columns)
    for config in (PLAIN, replace(DEDUP, evict="lowest", task_cap=3)):
        state = replay.init(config, example)
        for first in (0, 4):
            state = replay.add(state, items(4, first=first, extras=extras(first, 4)), config)
        _, draw = replay.sample(state, jax.random.key(0), 32, config)
        for rows in (state.items, replay.gather(state, draw.indices)):
            np.testing.assert_array_equal(rows.extras["reference"]["seen"], rows.program_id)
            np.testing.assert_array_equal(rows.extras["sampler_logprobs"], -np.tile(rows.program_id[:, None], WIDTH))
        saved = jax.device_get(replay.to_checkpoint(state))
        jax.tree.map(np.testing.assert_array_equal, replay.from_checkpoint(saved), state)
        with pytest.raises(ValueError, match="items have the extra columns none, the buffer"):
            replay.add(state, items(4), config)


def test_items_filled_up_to_one_number_of_rows_store_the_same_and_compile_once():
    plain = padded = empty(PLAIN)
    before = replay.add._cache_size()
    for count in (3, 0, 5, 1):
        rows = replay.pad_items(items(count, first=10 * count), 5)
        assert rows.valid.tolist() == [True] * count + [False] * (5 - count)
        padded = replay.add(padded, rows, PLAIN)
    assert replay.add._cache_size() <= before + 1
    for count in (3, 0, 5, 1):
        plain = replay.add(plain, items(count, first=10 * count), PLAIN)
    assert stored(padded) == stored(plain)
    assert padded.items.program_id.tolist() == plain.items.program_id.tolist()
    with pytest.raises(ValueError, match="6 programs do not fit into 5 rows"):
        replay.pad_items(items(6), 5)
