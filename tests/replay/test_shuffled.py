"""The control of P2Value: its values, handed to other programs."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_stand_ins import empty, items

from pper_jax import replay

CAPACITY = 16
SHUFFLED = replay.ReplayConfig(capacity=CAPACITY, priority="shuffled")
SCHEMES = {"rank": {"scheme": "rank"}, "proportional": {"scheme": "proportional", "possibility": "joint"}}
MANY = 2000

row = st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.floats(-30, 0, width=32))


def both(rows, config, *, drop=(), **fields):
    """The same programs in a buffer of the ``config`` and in that of its control; those of ``drop`` are not valid."""
    rate, logprob = (np.array(column, np.float32) for column in zip(*rows, strict=True))
    valid = ~np.isin(np.arange(len(rows)), drop)
    given = items(len(rows), pass_rate=rate, logprob=logprob, valid=valid, **fields)
    configs = (replace(config, priority="p2value"), replace(config, priority="shuffled"))
    return [replay.add(empty(each), given, each) for each in configs]


def by_program(state, values):
    filled = np.asarray(state.filled)
    ids, values = np.asarray(state.items.program_id)[filled], np.asarray(values)[filled]
    return dict(zip(ids.tolist(), values.tolist(), strict=True))


def many(config, seed=0):
    rng = np.random.default_rng(seed)
    rows = [*zip(rng.choice([0.0, 0.5, 1.0], MANY), rng.uniform(-20, -1, MANY), strict=True)]
    return both(rows, replace(config, capacity=MANY))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(st.lists(row, min_size=12, max_size=24), st.sets(st.integers(0, 23), max_size=9))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_worths_and_chances_are_those_of_p2value_handed_out_otherwise(scheme, rows, drop):
    rows = [*rows, *[(0.0, -1.0)] * (24 - len(rows))]  # one size, compiled once
    paper, control = both(rows, replace(SHUFFLED, **SCHEMES[scheme]), drop=tuple(drop))
    filled = np.asarray(paper.filled)
    np.testing.assert_array_equal(filled, control.filled)
    np.testing.assert_array_equal(control.log_p2value, paper.log_p2value)
    for found, expected in ((control.log_worth, paper.log_p2value), (control.tree.priorities, paper.tree.priorities)):
        np.testing.assert_array_equal(np.sort(np.asarray(found)[filled]), np.sort(np.asarray(expected)[filled]))
    assert sorted(np.asarray(control.rank)[filled]) == [*range(1, filled.sum() + 1)]
    assert not np.asarray(control.tree.priorities)[~filled].any()


def test_of_few_programs_each_has_the_value_of_another_and_no_slot_without_one_is_drawn():
    config = replace(SHUFFLED, scheme="proportional", omega=1.0, alpha=0.0)
    rows = [(0.0, -1.0)] + [(1.0 / 2**i, -1.0) for i in range(5)]
    paper, control = both(rows, config, drop=(0,))
    own, lent = by_program(paper, paper.log_p2value), by_program(control, control.log_worth)
    assert sorted(own.values()) == sorted(lent.values())
    assert all(own[program] != lent[program] for program in own)
    _, draw = replay.sample(control, jax.random.key(0), 500, config)
    assert set(np.asarray(control.items.program_id)[np.asarray(draw.indices)].tolist()) == {1, 2, 3, 4, 5}
    assert "shuffled P2Value" in replay.draw_reason(replay.draw_rows(draw, np.arange(500))[0], config)
    (alone,) = by_program(*(lambda state: (state, state.log_worth))(both([(0.5, -1.0)], config)[1])).values()
    assert alone == pytest.approx(np.log(0.5))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_of_a_program_says_what_it_is_worth(scheme):
    paper, control = many(replace(SHUFFLED, **SCHEMES[scheme]))
    figures = {"p2value": paper.log_p2value, "pass rate": paper.items.pass_rate, "logprob": paper.items.logprob}
    for name, figure in figures.items():
        for chosen in (control.log_worth, control.rank):
            assert abs(np.corrcoef(np.asarray(figure), np.asarray(chosen))[0, 1]) < 4 / MANY**0.5, name
    assert np.corrcoef(np.asarray(paper.log_p2value), np.asarray(paper.rank))[0, 1] < -0.5
    assert by_share(paper) == pytest.approx(by_share(control), rel=1e-5)


def by_share(state):
    """The effective sample size of draws."""
    share = np.asarray(replay.probabilities(state), np.float64)
    return 1 / (share**2).sum()


def test_programs_of_equal_worth_are_not_put_in_order_by_their_own_possibility():
    paper, control = many(replace(SHUFFLED, alpha=0.0))  # three values alone
    solved = np.asarray(paper.items.pass_rate) == 1
    handed = np.asarray(control.log_worth) == np.log(np.float32(1))
    orders = [
        np.corrcoef(np.asarray(state.items.logprob)[those], np.asarray(state.rank)[those])[0, 1]
        for state, those in ((paper, solved), (control, handed))
    ]
    assert orders[0] < -0.99
    assert abs(orders[1]) < 4 / handed.sum() ** 0.5


def test_who_lends_to_whom_holds_whatever_the_slots_and_while_the_programs_stay():
    rng = np.random.default_rng(1)
    rate, logprob = rng.choice([0.0, 0.5, 1.0], 12).astype(np.float32), -rng.uniform(1, 9, 12).astype(np.float32)
    order = rng.permutation(12)
    given = items(12, pass_rate=rate, logprob=logprob)
    states = [
        replay.add(empty(SHUFFLED), jax.tree.map(lambda field, way=way: field[way], given), SHUFFLED)
        for way in (np.arange(12), order)
    ]
    assert by_program(states[0], states[0].log_worth) == by_program(states[1], states[1].log_worth)
    again = replay.refresh(states[0], SHUFFLED, np.array([3], np.int32))
    np.testing.assert_array_equal(again.log_worth, states[0].log_worth)
    trained = replay.refresh(replay.update(states[0], np.array([3]), np.array([-0.01]), 1), SHUFFLED, np.array([3]))
    (changed,) = np.flatnonzero(np.asarray(trained.log_worth) != np.asarray(states[0].log_worth))
    assert changed != 3
    assert trained.log_worth[changed] == trained.log_p2value[3]


def test_a_program_that_comes_changes_the_lender_of_one_other():
    rng = np.random.default_rng(2)
    rows = [*zip(np.zeros(12), -rng.uniform(1, 9, 12), strict=True)]
    _, before = both(rows, SHUFFLED)
    after = replay.add(before, items(1, first=12, pass_rate=[1.0]), SHUFFLED)
    old, new = by_program(before, before.log_worth), by_program(after, after.log_worth)
    assert sum(old[program] != new[program] for program in old) == 1
