"""Advantages within a task's group, pairs of solved and failed programs, fresh shares, least pass rates."""

import jax
import numpy as np
import pytest
from replay_stand_ins import chi_square_deviates, empty, items

from pper_jax import replay
from pper_jax.errors import UserError

EVEN = replay.ReplayConfig(capacity=16, mode="uniform")
RATES = [1, 0, 0.5, 1, 1, 0, 0, 0, 1]  # tasks 0, 1 and 2 of three programs each
TASKS = [0, 0, 0, 1, 1, 1, 2, 2, 3]


def stored(config=EVEN, **fields):
    rows = items(len(RATES), pass_rate=RATES, task_index=TASKS, **fields)
    return replay.add(empty(config), rows, config)


def test_an_advantage_is_over_the_mean_of_the_programs_of_its_task():
    rows = items(9, pass_rate=RATES, task_index=TASKS, valid=[True] * 5 + [False] + [True] * 3)
    found = replay.group_advantage(rows)
    np.testing.assert_allclose(found, [0.5, -0.5, 0, 0, 0, 0, 0, 0, 0], atol=1e-6)
    found = replay.group_advantage(rows, normalize=True)
    deviation = np.std([1, 0, 0.5])
    np.testing.assert_allclose(found, [0.5 / deviation, -0.5 / deviation, 0, 0, 0, 0, 0, 0, 0], atol=1e-5)


def test_pairs_are_a_solved_and_a_failed_program_of_one_task():
    state, draw = replay.sample_pairs(stored(), jax.random.key(0), 3000)
    pairs = np.asarray(draw.indices).reshape(-1, 2)
    assert set(pairs[:, 0].tolist()) == {0, 3, 4}  # task 2 has none solved, task 3 none failed
    assert (np.array(TASKS)[pairs[:, 0]] == np.array(TASKS)[pairs[:, 1]]).all()
    assert (np.array(RATES)[pairs[:, 1]] < 1).all()
    counts = np.bincount(pairs[:, 0], minlength=5)[[0, 3, 4]]
    assert chi_square_deviates(counts, np.full(3, 1 / 3)) < 4
    of_first = pairs[pairs[:, 0] == 0, 1]
    assert chi_square_deviates(np.bincount(of_first, minlength=3)[1:], np.full(2, 1 / 2)) < 4
    assert (draw.weight == 1).all()
    np.testing.assert_array_equal(state.times_drawn[:9], np.bincount(pairs.ravel(), minlength=9))


def test_the_solved_one_of_a_pair_is_drawn_by_priority():
    config = replay.ReplayConfig(capacity=16, scheme="proportional", omega=1.0, alpha=1.0, possibility="joint")
    chance = np.array([0.1, 0.5, 0.5, 0.6, 0.3, 0.5, 0.5, 0.5, 0.9])
    _, draw = replay.sample_pairs(stored(config, logprob=np.log(chance)), jax.random.key(1), 3000)
    counts = np.bincount(np.asarray(draw.indices)[::2], minlength=9)[[0, 3, 4]]
    assert chi_square_deviates(counts, [0.1, 0.6, 0.3]) < 4


def test_equal_keys_give_equal_pairs_and_no_pair_gives_none():
    state = stored()
    first, second = (replay.sample_pairs(state, jax.random.key(5), 8)[1].indices for _ in range(2))
    assert first.tolist() == second.tolist()
    assert replay.has_pairs(state)
    for rates in ([1] * 9, [0] * 9, [0, 0, 0, 1, 1, 1, 0, 0, 0]):
        rows = items(9, pass_rate=rates, task_index=TASKS)
        state = replay.add(empty(EVEN), rows, EVEN)
        assert not replay.has_pairs(state)
        state, draw = replay.sample_pairs(state, jax.random.key(0), 4)
        assert draw.indices.tolist() == [-1] * 8
        assert not draw.weight.any()
        assert not state.times_drawn.any()
    assert not replay.has_pairs(empty(EVEN))


def test_a_share_of_the_batch_comes_from_the_newest_round():
    config = replay.ReplayConfig(capacity=16, fresh=0.25)
    state = stored(config, round=[1] * 6 + [2, 1, 2])
    state, draw = replay.sample(state, jax.random.key(0), 4000, config)
    slots, weight = np.asarray(draw.indices), np.asarray(draw.weight)
    assert chi_square_deviates(np.bincount(slots[:1000], minlength=9)[[6, 8]], [0.5, 0.5]) < 4
    assert set(slots[:1000].tolist()) == {6, 8}
    chances = np.asarray(replay.probabilities(state), np.float64)[:9]
    assert chi_square_deviates(np.bincount(slots[1000:], minlength=9), chances / chances.sum()) < 4
    assert (weight == 1).all()
    assert state.times_drawn.sum() == 4000
    assert "25 % of the draws made among the newest round's" in replay.draw_reason(
        replay.draw_rows(draw, slots)[0], config
    )


def test_all_of_a_batch_may_be_fresh_and_an_empty_buffer_gives_none():
    config = replay.ReplayConfig(capacity=16, fresh=1.0)
    _, draw = replay.sample(stored(config, round=[1] * 8 + [2]), jax.random.key(0), 8, config)
    assert draw.indices.tolist() == [8] * 8
    _, draw = replay.sample(empty(config), jax.random.key(0), 8, config)
    assert draw.indices.tolist() == [-1] * 8
    assert not draw.weight.any()


def test_no_fresh_share_draws_as_ever():
    config = replay.ReplayConfig(capacity=16)
    nearly = replay.ReplayConfig(capacity=16, fresh=0.001)  # rounds to no program
    draws = [
        replay.sample(stored(config), jax.random.key(3), 32, each)[1].indices.tolist() for each in (config, nearly)
    ]
    assert draws[0] == draws[1]


def test_programs_below_the_least_pass_rate_are_not_stored():
    config = replay.ReplayConfig(capacity=16, min_pass_rate=0.5)
    assert stored(config).items.program_id[:5].tolist() == [0, 2, 3, 4, 8]
    assert stored(config).size == 5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fresh": 1.5}, "replay.fresh is 1.5"),
        ({"min_pass_rate": -0.1}, "replay.min_pass_rate is -0.1"),
        ({"min_pass_rate": 1, "store": "failed"}, "so that nothing is stored"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(UserError) as error:
        replay.ReplayConfig(**wrong)
    assert said in str(error.value)
