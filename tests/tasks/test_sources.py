import json
import random

import pytest

from pper_jax.errors import UserError
from pper_jax.tasks import Task, load_tasks, write_tasks


def make_task(number, split):
    return Task(f"t/{number}", f"p{number}", {"kind": "answer", "expected": str(number)}, split=split)


@pytest.fixture
def tasks_file(tmp_path):
    """Twenty tasks: even ones train, odd ones test, the last two without a split."""
    path = tmp_path / "tasks.jsonl"
    tasks = [make_task(i, ("train", "test")[i % 2] if i < 18 else None) for i in range(20)]
    write_tasks(path, tasks)
    return str(path)


def numbers(tasks):
    return [int(task.task_id.removeprefix("t/")) for task in tasks]


def test_all_tasks_of_a_file_in_its_order(tasks_file):
    assert numbers(load_tasks(tasks_file, split=None, count=0, seed=5)) == list(range(20))


def test_a_split_of_a_file(tasks_file):
    assert numbers(load_tasks(tasks_file, split="test", count=0, seed=0)) == list(range(1, 18, 2))


def test_a_subset_is_drawn_by_the_seed_and_keeps_the_order(tasks_file):
    draws = [numbers(load_tasks(tasks_file, split=None, count=6, seed=seed)) for seed in range(20)]
    assert all(draw == sorted(set(draw)) and len(draw) == 6 for draw in draws)
    assert len(set(map(tuple, draws))) > 15
    assert set().union(*draws) == set(range(20))
    assert draws[7] == numbers(load_tasks(tasks_file, split=None, count=6, seed=7))
    assert draws[7] == sorted(random.Random(7).sample(range(20), 6))


def test_a_subset_of_a_split_is_of_that_split(tasks_file):
    odd = numbers(load_tasks(tasks_file, split="test", count=4, seed=1))
    assert len(odd) == 4
    assert all(number % 2 and number < 18 for number in odd)


def test_as_many_as_there_are_is_all_of_them(tasks_file):
    assert numbers(load_tasks(tasks_file, split="train", count=9, seed=1)) == list(range(0, 18, 2))


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"split": "dev"}, "has no task of split dev; its splits are none, test, train"),
        ({"split": "test", "count": 10}, "split test, has 9 tasks; 10 cannot be taken"),
        ({"count": 21}, "has 20 tasks; 21 cannot be taken"),
        ({"count": -1}, "count is -1"),
    ],
)
def test_a_choice_that_the_file_cannot_serve(tasks_file, choice, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        load_tasks(tasks_file, **{"split": None, "count": 0, "seed": 0, **choice})
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    path = str(tmp_path / "humaneval.jsonl")
    with pytest.raises(UserError, match=f"no tasks file {path}; make one with: pper tasks convert NAME SRC {path}"):
        load_tasks(path, split=None, count=0, seed=0)


def test_a_broken_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(make_task(0, None).to_json()) + "\n{\n")
    with pytest.raises(UserError, match="line 2 is not JSON"):
        load_tasks(str(path), split=None, count=0, seed=0)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"count": 0}, "need a count"),
        ({"count": -3}, "count is -3"),
        ({"count": 10**6}, "1000000 cannot be drawn"),
        ({"count": 5, "split": "dev"}, "no split 'dev'; choose one of train, heldout_kind, heldout_composition"),
    ],
)
def test_micro_python_needs_a_count_that_it_has_and_a_split_that_it_knows(choice, sentence):
    with pytest.raises(UserError, match=sentence):
        load_tasks("micro_python", **{"split": None, "seed": 0, **choice})


def test_micro_python_by_split_count_and_seed():
    train = load_tasks("micro_python", split=None, count=8, seed=3)
    assert train == load_tasks("micro_python", split="train", count=8, seed=3)
    assert len(train) == 8
    assert {task.split for task in train} == {"train"}
    assert train != load_tasks("micro_python", split="train", count=8, seed=4)
