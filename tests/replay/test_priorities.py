"""What a stored program is worth: the rules that come with the buffer, and a user's own."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_stand_ins import empty, items

from pper_jax import replay
from pper_jax.errors import UserError

CONFIG = replay.ReplayConfig(capacity=12)
OWN = ("own_priority:SELDOM", "own_priority:SURPRISE", "own_priority:LEAST_DRAWN", "own_priority:UNSOUND")
RULES = ("p2value", "advantage", "improvement", "learnability", "shuffled", *OWN)


def filled(config, **fields):
    return replay.add(empty(config), items(len(fields["pass_rate"]), **fields), config)


def worth(state):
    return np.exp(np.asarray(state.log_worth)[np.asarray(state.filled)])


def test_by_default_a_program_is_worth_its_p2value():
    state = filled(CONFIG, pass_rate=[0.75, 0.25, 1.0], logprob=[-2, -1, -0.2])
    np.testing.assert_array_equal(state.log_worth, state.log_p2value)


def test_the_size_of_the_advantage_is_the_distance_from_the_tasks_mean():
    config = replace(CONFIG, priority="advantage")
    state = filled(config, pass_rate=[1, 0, 0.5, 0.5, 1, 1], task_index=[7, 7, 7, 3, 2, 2])
    np.testing.assert_allclose(worth(state), [0.5, 0.5, 0, 0, 0, 0], atol=1e-7)
    state = replay.add(state, items(2, first=6, pass_rate=[0, 1], task_index=[3, 2]), config)
    np.testing.assert_allclose(worth(state), [0.5, 0.5, 0, 0.25, 0, 0, 0.25, 0], atol=1e-7)
    assert set(np.asarray(state.rank)[[0, 1]].tolist()) == {1, 2}


def test_improvement_is_what_a_program_has_above_its_tasks_mean_solved_or_not():
    config = replace(CONFIG, priority="improvement", scheme="proportional", omega=1.0)
    state = filled(config, pass_rate=[1, 0, 0.5, 0.3, 0, 0, 1, 1, 0.2], task_index=[7, 7, 7, 3, 3, 3, 2, 2, 1])
    np.testing.assert_allclose(worth(state), [0.5, 0, 0, 0.2, 0, 0, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(np.asarray(replay.probabilities(state))[[0, 3]], [5 / 7, 2 / 7], rtol=1e-5)


def test_learnability_prefers_tasks_that_are_neither_solved_nor_hopeless():
    config = replace(CONFIG, priority="learnability", scheme="proportional", omega=1.0)
    state = filled(config, pass_rate=[1, 0, 1, 1, 0, 0, 1, 0, 0, 0], task_index=[0, 0, 1, 1, 2, 2, 3, 3, 3, 3])
    np.testing.assert_allclose(worth(state), [0.25] * 2 + [0] * 4 + [0.1875] * 4, atol=1e-7)
    share = np.asarray(replay.probabilities(state))
    np.testing.assert_allclose(share[:10], worth(state) / worth(state).sum(), rtol=1e-5)


def test_programs_that_are_gone_and_slots_never_filled_play_no_part_in_their_task():
    config = replace(CONFIG, priority="advantage", capacity=2)
    state = filled(config, pass_rate=[0, 1, 1], task_index=[0, 0, 0])
    np.testing.assert_allclose(worth(state), [0, 0], atol=1e-7)


def test_a_rule_of_ones_own_lies_in_one_file_and_decides_the_draws():
    config = replace(CONFIG, priority="own_priority:SELDOM", scheme="proportional", omega=20.0, replacement=False)
    state = filled(config, pass_rate=[0, 1, 0.5, 0.5])
    seen = []
    for seed in range(2):
        state, draw = replay.sample(state, jax.random.key(seed), 2, config)
        state = replay.refresh(state, config, draw.indices)
        seen += draw.indices.tolist()
    assert sorted(seen) == [0, 1, 2, 3]
    assert "rarity 0.500" in replay.draw_reason({**replay.draw_rows(draw, [0, 1])[0], "worth": 0.5}, config)


def test_what_is_worth_nan_or_infinity_is_worth_nothing():
    state = filled(replace(CONFIG, priority="own_priority:UNSOUND", scheme="proportional"), pass_rate=[0, 1, 0.5])
    assert worth(state).tolist() == [0, 0, 0]
    np.testing.assert_allclose(replay.probabilities(state)[:3], 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("best", "one of p2value, advantage, improvement, learnability, shuffled, or module:NAME"),
        ("nowhere_at_all:RULE", "cannot be imported: No module named 'nowhere_at_all'"),
        ("own_priority:NONE", "cannot be imported: module 'own_priority' has no attribute 'NONE'"),
        ("own_priority:surprise", "no pper_jax.replay.Priority but a function"),
        (3, "one of p2value"),
        ("x" * 10_000, "module:NAME"),
    ],
)
def test_a_priority_that_is_none_is_one_sentence(name, words):
    with pytest.raises(UserError, match=r"replay\.priority is") as caught:
        replay.ReplayConfig(priority=name)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250


row = st.tuples(
    st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([-6.0, -3.0, -1.0, -0.25, 0.0])
)
changes = st.lists(st.tuples(st.integers(-1, 12), st.sampled_from([-5.0, -2.0, -0.5])), min_size=4, max_size=4)


@partial(jax.jit, static_argnames="config")
def after_training(part, whole, where, logprob, config):
    """A batch of new log-probs; its programs count as drawn. What changed is refreshed, and everything."""

    def trained(state):
        drawn = state.times_drawn.at[jnp.where(where < 0, 12, where)].add(1, mode="drop")
        return replay.update(replace(state, times_drawn=drawn), where, logprob, 1)

    return replay.refresh(trained(part), config, where), replay.refresh(trained(whole), config)


@pytest.mark.parametrize(
    ("priority", "possibility"), [*((rule, "geomean") for rule in RULES), ("p2value", "percentile")]
)
@given(st.lists(row, min_size=9, max_size=9), st.lists(changes, min_size=1, max_size=3))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_refresh_of_what_changed_is_a_refresh_of_all(priority, possibility, rows, rounds):
    config = replace(CONFIG, priority=priority, possibility=possibility)
    task, rate, logprob = (np.array(x) for x in zip(*rows, strict=True))
    part = whole = filled(config, pass_rate=rate, task_index=task, logprob=logprob)
    for changed in rounds:
        where, new = (np.array(x) for x in zip(*changed, strict=True))
        part, whole = after_training(part, whole, where.astype(np.int32), new.astype(np.float32), config)
        np.testing.assert_array_equal(part.rank, whole.rank)
        np.testing.assert_array_equal(part.tree.nodes, whole.tree.nodes)
        np.testing.assert_allclose(part.log_worth, whole.log_worth, rtol=1e-6)
