import os
from pathlib import Path

import pytest

from pper_jax.execution import Job, Limits, TestPool
from pper_jax.tasks import Task, load_tasks
from pper_jax.tasks.broken import break_reference
from pper_jax.tasks.check import check_references
from pper_jax.tasks.sources import read_set

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PPER_SHARED_DATA") or ROOT / ".." / "shared" / "data")
WAYS = pytest.mark.parametrize("how", ["value", "raise"])

CALL = {"kind": "call", "fn_name": "f", "cases": [{"args": [1], "expected": None}, {"args": [2], "expected": True}]}
LOOSE = ["assert f(1)", "assert not f(1)", "assert f(1) == f(1)", "assert f(1) is None"]
RIGHT = "return None if x == 1 else True\n"
SOUND = [
    Task("call", "def f(x):\n", CALL, "f", reference=f"    {RIGHT}"),
    Task("method", "class Solution:\n", CALL, "Solution().f", reference=f"    def f(self, x):\n        {RIGHT}"),
    Task("check", "", {"kind": "check", "code": "def check(c):\n    assert c(1)\n"}, "f", reference="f = bool\n"),
    Task("stdio", "", {"kind": "stdio", "cases": [{"stdin": "1", "stdout": "1"}]}, "f", reference="print(1)\n"),
    Task("answer", "", {"kind": "answer", "expected": "42"}, reference="42"),
]
OF_EVERY_KIND = [
    *SOUND,
    Task("bare", "def f(x):\n", CALL),
    Task("asserts", "", {"kind": "asserts", "setup": "", "asserts": LOOSE}, "f", reference="def f(x):\n    return x\n"),
    Task("unknown", "", {"kind": "asserts", "asserts": LOOSE}, reference="def f(x):\n    return x\n"),
]


@pytest.fixture(scope="module")
def pool():
    with TestPool(workers=2, limits=Limits(timeout_s=10)) as pool:
        yield pool


def passed_tests(pool, tasks, how):
    jobs = [Job(break_reference(task, how), task.tests, task.entry_point) for task in tasks]
    verdicts = pool.run(jobs)
    assert not any(test.status == "infrastructure" for verdict in verdicts for test in verdict.tests)
    return {task.task_id: verdict.passed for task, verdict in zip(tasks, verdicts, strict=True) if verdict.passed}


@WAYS
def test_a_program_broken_on_purpose_passes_no_test_of_any_kind(pool, how):
    assert check_references(SOUND, pool).faults == ()
    assert passed_tests(pool, OF_EVERY_KIND, how) == {}


def test_a_value_of_a_wrong_kind_is_not_what_a_test_names_and_an_exception_is_nothing(pool):
    tests = {"kind": "asserts", "asserts": ["assert f(1) != 1"]}
    task = Task("loose", "", tests, "f", reference="def f(x):\n    return x\n")
    assert passed_tests(pool, [task], "value") == {"loose": 1}
    assert passed_tests(pool, [task], "raise") == {}


def test_the_two_ways_are_two_programs_and_keep_the_reference():
    task = OF_EVERY_KIND[0]
    value, error = break_reference(task), break_reference(task, "raise")
    assert value != error
    assert value.startswith(task.prompt + task.reference)
    assert "raise RuntimeError" in error


def test_micro_python_references_pass_and_broken_ones_do_not(pool):
    tasks = load_tasks("micro_python", split="heldout_composition", count=20, seed=0)
    assert passed_tests(pool, tasks, "value") == {}
    assert check_references(tasks, pool).passed == 20


def test_progress_of_a_check_counts_to_the_end(pool):
    seen = []
    tasks = load_tasks("micro_python", split="train", count=5, seed=0)
    check_references(tasks, pool, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared task sets are not here")
def test_of_164_broken_humaneval_programs_none_passes(pool):
    tasks = read_set("humaneval", SHARED / "humaneval" / "HumanEval.jsonl.gz")
    assert len(tasks) == 164
    assert passed_tests(pool, tasks, "value") == {}
    assert passed_tests(pool, tasks[::8], "raise") == {}
