"""Draws: those that did not happen, weights without replacement, even draws, and what a person is told of them."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from replay_stand_ins import empty, items

from pper_jax import replay

CAPACITY = 8
CONFIG = replay.ReplayConfig(capacity=CAPACITY, alpha=0.0, omega=1.0)
ONCE = replace(CONFIG, replacement=False)
RATES = np.arange(CAPACITY) / 7  # mean 0.5; the better, the more often drawn


def buffer(config, count=CAPACITY, **fields):
    return replay.add(empty(config), items(count, **{"pass_rate": RATES[:count], **fields}), config)


def test_without_replacement_each_program_comes_at_most_once_and_by_its_share():
    state, first = buffer(ONCE, 4), np.zeros(CAPACITY)
    for seed in range(200):
        _, draw = replay.sample(state, jax.random.key(seed), 5, ONCE)
        drawn = draw.indices.tolist()
        assert sorted(drawn) == [-1, 0, 1, 2, 3]
        first[drawn[0]] += 1
    share = np.asarray(replay.probabilities(state), np.float64)
    assert np.abs(first / 200 - share).max() < 4 * np.sqrt(0.25 / 200)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_draws_beyond_the_programs_there_are_do_not_happen(beta):
    config = replace(ONCE, beta=beta)
    state, draw = replay.sample(buffer(config, 4), jax.random.key(0), 32, config)
    assert np.asarray(draw.drawn).tolist() == [True] * 4 + [False] * 28
    assert sorted(draw.indices.tolist()) == [-1] * 28 + [0, 1, 2, 3]
    assert draw.weight.tolist() == [1] * 4 + [0] * 28  # every program is in the batch: nothing to undo
    for field in (draw.rank, draw.p2value, draw.worth, draw.pass_rate, draw.probability, draw.times_drawn):
        assert (np.asarray(field)[4:] == 0).all()
    rows = replay.draw_rows(draw, np.arange(32))
    assert [row["program"] for row in rows] == [0, 1, 2, 3]
    assert int(state.times_drawn.sum()) == len(rows)


@pytest.mark.parametrize("n", [2, 5, 7])
def test_beta_1_undoes_the_prioritization_without_replacement_too(n):
    """The weighted sum over a batch, divided by its draws, is the mean over all programs in expectation."""
    config = replace(ONCE, beta=1.0)
    state = buffer(config)
    many = jax.jit(jax.vmap(lambda key: replay.sample(state, key, n, config)[1]))
    draw = many(jax.random.split(jax.random.key(n), 20_000))
    weight, rate = np.asarray(draw.weight, np.float64), np.asarray(draw.pass_rate, np.float64)
    found = (weight * rate).sum(axis=1) / n
    error = found.std() / np.sqrt(found.size)
    assert abs(found.mean() - 0.5) < 4 * error
    assert error < 0.01
    assert abs(weight.mean() - 1) < 4 * weight.mean(axis=1).std() / np.sqrt(found.size)
    assert rate.mean() - 0.5 > 4 * error  # without weights it is higher


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "uniform", "age_decay": 0.5, "beta": 1.0},
        {"mode": "none", "age_decay": 0.5, "uniform_mix": 0.3},
        {"mode": "uniform", "omega": 3.0, "scheme": "proportional", "priority": "advantage"},
        {"mode": "uniform", "beta": 1.0, "replacement": False, "possibility": "percentile"},
    ],
)
def test_modes_that_draw_evenly_do_so_whatever_else_is_set(options):
    config = replace(CONFIG, **options)
    state = buffer(config, 6, round=[1, 2, 3, 4, 5, 6])
    assert replay.probabilities(state).tolist()[6:] == [0, 0]
    np.testing.assert_allclose(replay.probabilities(state)[:6], 1 / 6, rtol=1e-6)
    _, draw = replay.sample(state, jax.random.key(0), 4, config)
    np.testing.assert_allclose(draw.weight, 1, rtol=1e-6)
    state = replay.refresh(state, config, draw.indices)
    np.testing.assert_allclose(replay.probabilities(state)[:6], 1 / 6, rtol=1e-6)
    assert "was equally likely" in replay.draw_reason(replay.draw_rows(draw, range(4))[0], config)


def test_mode_none_holds_the_programs_of_the_last_add_alone():
    config = replace(CONFIG, mode="none")
    state, _ = replay.sample(buffer(config), jax.random.key(0), 8, config)
    again = replay.add(state, items(2, first=50), config)
    jax.tree.map(np.testing.assert_array_equal, again, replay.add(empty(config), items(2, first=50), config))
    assert again.items.program_id.tolist()[:2] == [50, 51]


# ---------------------------------------------------------------- why


DRAW = {"possibility": 0.5, "pass_rate": 0.25, "p2value": 0.375, "rank": 3, "probability": 0.125}


@pytest.mark.parametrize(
    ("options", "words", "never"),
    [
        ({}, ["0.5 x possibility 0.500 + 0.5 x pass rate 0.25 = P2Value 0.375", "rank 3", "12.50 % of a draw"], "even"),
        ({"mode": "uniform"}, ["every stored program was equally likely"], "P2Value"),
        ({"mode": "uniform", "age_decay": 1.0}, ["every stored program was equally likely"], "age"),
        ({"mode": "none"}, ["every program of its round was equally likely"], "P2Value"),
        ({"scheme": "uniform"}, ["every stored program was equally likely"], "P2Value"),
        ({"omega": 0.0}, ["every stored program was equally likely"], "P2Value"),
        ({"scheme": "uniform", "age_decay": 2.0}, ["alike but for an age decay over 2 rounds", "12.50 %"], "equally"),
        ({"uniform_mix": 0.25, "age_decay": 2.0}, ["rank 3", "25 % of the draws made evenly", "age decay"], "equally"),
        ({"priority": "advantage"}, ["size of advantage 0.125 (pass rate 0.25), rank 3"], "P2Value"),
        ({"priority": "learnability"}, ["learnability 0.125"], "P2Value"),
    ],
)
def test_the_reason_of_a_draw_is_a_true_sentence_with_its_figures(options, words, never):
    row = {**DRAW, "worth": 0.125} if "priority" in options else DRAW
    sentence = replay.draw_reason(row, replay.ReplayConfig(**options))
    for word in words:
        assert word in sentence
    assert never not in sentence


def test_where_nothing_is_worth_anything_the_reason_says_that_all_were_equally_likely():
    config = replace(CONFIG, scheme="proportional")
    _, draw = replay.sample(buffer(config, 4, pass_rate=[0] * 4), jax.random.key(0), 1, config)
    sentence = replay.draw_reason(replay.draw_rows(draw, [0])[0], config)
    assert sentence == "no stored program had any P2Value, so that each was equally likely (25.00 % of a draw)"
