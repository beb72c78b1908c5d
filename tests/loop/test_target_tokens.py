"""Runs that learn from as many target tokens, and runs that begin with programs that are there."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import results, rows, small

from pper_jax.errors import UserError
from pper_jax.files import RunFolder
from pper_jax.learn import within_budget
from pper_jax.loop import run
from pper_jax.loop.journal import Onlooker
from pper_jax.terminal import Interrupted

ENOUGH = {"rounds": 2, "train__steps": 50, "train__target_tokens": 700}


def trained(folder):
    return [row for row in rows(folder.metrics) if row["event"] == "train"]


def test_each_round_learns_from_its_share_to_within_a_program_in_steps_of_like_size(tmp_path):
    folder = run(small(tmp_path, **ENOUGH))
    for index in (1, 2):
        assert 700 * index <= sum(row["tokens"] for row in trained(folder) if row["round"] <= index) < 700 * index + 40
    steps = [row["tokens"] for row in trained(folder)]
    assert min(steps) > max(steps) / 3
    assert len({row["step"] for row in trained(folder)}) < 50


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=32).filter(lambda x: len(x) % 2 == 0), st.floats(1, 5000))
def test_a_budget_is_spent_whole_and_at_most_a_program_over_it(tokens, budget):
    for together in (1, 2):
        left, steps = budget, []
        while left > 0:
            kept = np.asarray(within_budget(jnp.asarray(tokens), jnp.float32(left), together))
            assert kept[:together].all()
            assert all(len(set(pair)) == 1 for pair in kept.reshape(-1, together))
            steps.append(int(np.asarray(tokens)[kept].sum()))
            left -= steps[-1]
        assert -left < together * max(tokens)
        assert len(steps) <= math.ceil(budget / sum(tokens)) + 1


def test_without_a_budget_all_steps_are_taken(tmp_path):
    assert len(trained(run(small(tmp_path)))) == 4


@pytest.mark.parametrize("after", [3])
def test_a_run_that_was_interrupted_within_its_budget_ends_with_the_same_bytes(tmp_path, monkeypatch, after):
    whole = run(small(tmp_path, "whole", **ENOUGH))
    from pper_jax.loop import rounds

    took = rounds.Steps.took
    seen = []

    def stopped(steps, *measured):
        took(steps, *measured)
        seen.append(measured)
        if len(seen) == after:
            raise Interrupted(130)

    monkeypatch.setattr(rounds.Steps, "took", stopped)
    with pytest.raises(Interrupted):
        run(small(tmp_path, "cut", **ENOUGH))
    monkeypatch.undo()
    assert results(run(small(tmp_path, "cut", **ENOUGH)).path) == results(whole.path)


@pytest.mark.parametrize("tokens", [0, -3])
def test_a_budget_of_nothing_is_refused(tmp_path, tokens):
    with pytest.raises(UserError, match=f"train.target_tokens is {tokens}"):
        small(tmp_path, train__target_tokens=tokens)


def test_a_process_that_writes_nothing_counts_as_the_first_does(tmp_path):
    onlooker = Onlooker(RunFolder(tmp_path), steps=4)
    onlooker.rewind((1, 0), 1)
    onlooker.target_tokens = 50  # as the first process said, which read its files
    onlooker.log("train", 1, step=1, loss=1.0, tokens=30)
    onlooker.log("sample", 1, tokens=1000)
    assert onlooker.target_tokens == 80


def test_a_run_may_begin_with_programs_and_verdicts_that_are_there(tmp_path):
    whole = run(small(tmp_path, "whole"))
    given = {
        str(path.relative_to(whole.path)): path
        for kind in ("samples", "verdicts")
        for name in ("eval_000_held", "round_001")
        for path in [whole.path / kind / f"{name}.jsonl"]
    }
    before = {place: path.stat().st_mtime_ns for place, path in given.items()}
    again = run(small(tmp_path, "again"), given=given)
    assert results(again.path) == results(whole.path)
    assert {place: path.stat().st_mtime_ns for place, path in given.items()} == before


def test_where_nothing_can_be_learnt_a_row_says_why(tmp_path):
    folder = run(small(tmp_path, replay__store="solved"))  # the tiny model solves nothing
    reasons = [row["reason"] for row in rows(folder.metrics) if row["event"] == "nothing_to_learn"]
    assert reasons == ["the replay buffer is empty (nothing to store)"]
