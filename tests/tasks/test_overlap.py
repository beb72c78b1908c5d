"""Contamination: what two tasks share is seen through names, words and wrappings, and refused in a run."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.errors import UserError
from pper_jax.execution import TestPool
from pper_jax.loop.leaks import refuse_leaks
from pper_jax.tasks import Task, load_tasks
from pper_jax.tasks.overlap import count_runs, find_alike, find_overlaps, like_pairs, normalised, splits_of

TOTAL = '''def total(numbers: list[int]) -> int:
    """Add them all."""
    result = 0
    for number in numbers:
        result += number  # one by one
    return result
'''
RENAMED = """def add_up(xs):
    s = 0
    for x in xs:

        s += x
    return s
"""
OTHER = RENAMED.replace("+=", "-=")
BUILTIN = "def add_up(xs):\n    return sum(list(xs), 0) if xs else sum([])\n"


def task(name, reference, words="", cases=(([1, 2], 3), ([], 0)), split=None, fn_name=None):
    fn_name = fn_name or reference.split("(")[0].removeprefix("def ")
    tests = {"kind": "call", "fn_name": fn_name, "cases": [{"args": [a], "expected": b} for a, b in cases]}
    prompt = f'"""{words or f"Task {name}"}"""\n'
    return Task(name, prompt, tests, fn_name, reference=reference, split=split)


def test_a_program_is_the_same_under_other_names_comments_and_docstrings():
    assert normalised(TOTAL) == normalised(RENAMED) != normalised(OTHER)
    assert normalised("x = 1") is None  # so small that many problems share it
    assert normalised("def (") is None


@given(names=st.lists(st.sampled_from("abcdefg"), min_size=3, max_size=3, unique=True))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_names_that_a_program_gives_do_not_count_and_those_it_uses_do(names):
    a, b, c = names
    program = f"def {a}({b}):\n    {c} = len({b})\n    return [{b}[i] + {c} for i in range({c})]\n"
    assert normalised(program) == normalised("def f(x):\n    n = len(x)\n    return [x[j] + n for j in range(n)]\n")
    assert normalised(program) != normalised(program.replace("len(", "sum("))


def test_two_problems_are_one_by_id_words_tests_or_code():
    words = "Write a function to add up all numbers of a list."
    mine = task("a", TOTAL, words)
    others = {
        "task_id": task("a", OTHER, cases=[([5], 5)]),
        "text": task("b", OTHER, "write a function, to ADD up all numbers of a list", cases=[([5], 5)]),
        "tests": task("c", OTHER),
        "code": task("d", RENAMED, cases=[([7, 7], 14)]),
    }
    for how, other in others.items():
        (found,) = find_overlaps([mine], [task("z", OTHER, cases=[([1], 9)]), other])
        assert (found.a, found.b, found.how) == ("a", other.task_id, how)
    assert find_overlaps([mine], [task("z", OTHER, cases=[([1], 9)])]) == []


def test_two_questions_with_one_answer_are_two():
    one, two = (Task(name, f"How many {name}?", {"kind": "answer", "expected": "4"}) for name in ("cats", "dogs"))
    assert find_overlaps([one], [two]) == []


def test_behaviour_is_seen_where_code_differs_and_both_ways_are_asked():
    a = [task("a", TOTAL, cases=[([1, 2], 3), ([4, 4], 8)])]
    first_item = "def first(xs):\n    return xs[0] if xs else 0\n"
    b = [
        task("same", BUILTIN, cases=[([5, -5], 0), ([9], 9)]),
        task("other", OTHER, cases=[([5, -5], 0), ([9], -9)]),
        task("fooled", first_item, cases=[([6], 6), ([], 0)]),  # the sum passes its tests, it does not pass the sum's
        task("texts", "def f(s):\n    return len(s)\n", cases=[("a", 1), ("", 0)]),
        task("alike", "def f(xs):\n    return 3\n", cases=[([1], 3), ([2], 3)]),
    ]
    pairs = like_pairs(a, b)
    assert [pair.b.task_id for pair in pairs] == ["same", "other", "fooled"]
    assert count_runs(pairs) == 4
    ran = []
    with TestPool(workers=1) as pool:
        found = find_alike(pairs, pool, ran.append)
    assert [(one.a, one.b, one.how) for one in found] == [("a", "same", "behaviour")]
    assert len(ran) == 4


def test_asserts_and_checks_are_calls_where_they_are_literal():
    asserts = Task(
        "m", "", {"kind": "asserts", "asserts": ["assert f(1) == 2", "assert f([2])", "assert f(2) == 4"]}, "f"
    )
    code = "def check(candidate):\n    assert candidate(1) == 2\n    x = 3\n    assert candidate(2) == 5\n"
    check = Task("h", "", {"kind": "check", "code": code}, "g")
    pair = [dataclasses.replace(one, reference="def f(x): return x") for one in (asserts, check)]
    (found,) = like_pairs(pair[:1], pair[1:])
    assert [[call["args"] for call in calls] for calls in found.calls] == [[[1], [2]], [[1], [2]]]
    assert [call["expected"] for call in found.calls[1]] == [2, 5]


def test_the_splits_of_a_set_are_compared_two_by_two():
    tasks = [task(str(n), TOTAL, split=split) for n, split in enumerate(("train", "test", None, "test"))]
    sizes = {(a, b): (len(x), len(y)) for a, x, b, y in splits_of(tasks)}
    assert sizes == {("train", "test"): (1, 2), ("train", "none"): (1, 1), ("test", "none"): (2, 1)}


def test_a_run_refuses_contamination_or_counts_it_where_it_is_allowed(capsys):
    train = [task("a", TOTAL)]
    held_out = {"far": [task("z", OTHER, cases=[([1], 9)])], "near": [task("b", RENAMED, cases=[([7], 7)])]}
    with pytest.raises(
        UserError, match=r"1 tasks of tasks\.eval\.near, such as b, .* \(1 by code; .*allow_contamination"
    ):
        refuse_leaks(train, held_out)
    refuse_leaks(train, held_out, allowed=True)
    assert "1 tasks of tasks.eval.near, such as b" in capsys.readouterr().out


def test_tasks_that_are_learnt_from_are_judged_where_that_is_allowed_but_not_two_of_one_id(capsys):
    train = [task("a", TOTAL), task("b", OTHER)]
    with pytest.raises(UserError, match=r"by task_id.*allow_contamination"):
        refuse_leaks(train, {"same": train})
    refuse_leaks(train, {"same": train[:1]}, allowed=True)
    assert "1 tasks of tasks.eval.same, such as a, are in tasks.train too (1 by task_id" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"by task_id, .*; choose other tasks for one of the two$"):
        refuse_leaks(train, {"other": [task("a", OTHER)]}, allowed=True)


def test_micro_pythons_own_splits_are_not_contaminated():
    train = load_tasks("micro_python", split="train", count=256, seed=0)
    for split in ("heldout_kind", "heldout_composition"):
        refuse_leaks(train, {split: load_tasks("micro_python", split=split, count=128, seed=0)})
