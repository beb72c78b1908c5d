"""Verdicts are kept by all that they depend on; duplicates cost one run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.execution import Job, Limits, Statistics, TestPool, TestResult, Verdict, VerdictCache
from pper_jax.execution.cache import may_be_kept, plain_tests, rules_key, verdict_key
from pper_jax.execution.verdict import STATUSES

LIMITS = Limits(timeout_s=0.3, trusted_s=0.2, memory_mb=512)
TESTS = {"kind": "asserts", "asserts": ["assert f(1) == 2"]}
GOOD = Job("def f(x): return x + 1", TESTS)
BAD = Job("def f(x): return x", TESTS)
HANGING = Job("def f(x):\n    while True: pass", TESTS)
verdicts = st.lists(
    st.builds(TestResult, st.sampled_from(sorted(STATUSES)), st.floats(0, 100), st.none() | st.text()), max_size=4
).map(lambda tests: Verdict(tuple(tests)))


def key(
    job: Job, limits: Limits = LIMITS, compare: str = "strict", stop: str = "all", isolation: str = "program"
) -> str:
    return verdict_key(rules_key(limits, compare, stop, isolation), job, plain_tests(job.tests))


def test_duplicate_programs_run_once() -> None:
    with TestPool(workers=2, limits=LIMITS) as pool:
        found = pool.run([GOOD, BAD] * 50)
        assert [verdict.status for verdict in found] == ["pass", "fail"] * 50
        assert pool.statistics.executions == 2
        assert pool.statistics.shared + pool.statistics.from_cache == 98
        assert pool.run([GOOD])[0].status == "pass"
        assert (pool.statistics.executions, pool.statistics.jobs) == (2, 101)


def test_without_a_cache_every_program_runs() -> None:
    with TestPool(workers=1, limits=LIMITS, cache=False) as pool:
        pool.run([GOOD] * 5)
        assert pool.statistics == Statistics(jobs=5, executions=5)


def test_a_timeout_is_shared_within_a_run_and_tried_again_in_the_next() -> None:
    with TestPool(workers=1, limits=LIMITS, backlog=1) as pool:
        assert [verdict.status for verdict in pool.run([HANGING] * 4)] == ["timeout"] * 4
        assert pool.statistics.executions == 1
        assert pool.run([HANGING])[0].status == "timeout"
        assert pool.statistics.executions == 2


def test_a_folder_keeps_verdicts_between_pools(tmp_path: Path) -> None:
    folder = tmp_path / "verdicts"
    with TestPool(workers=1, limits=LIMITS, cache=folder) as pool:
        first = pool.run([GOOD, BAD, HANGING])
    with TestPool(workers=1, limits=LIMITS, cache=folder) as pool:
        assert pool.run([BAD, GOOD]) == [first[1], first[0]]
        assert pool.statistics == Statistics(jobs=2, from_cache=2)
        assert pool.run([HANGING])[0].status == "timeout"
        assert pool.statistics.executions == 1
    for file in folder.rglob("*.json"):
        file.write_text("[[1, 2")
    with TestPool(workers=1, limits=LIMITS, cache=folder) as pool:
        assert pool.run([GOOD])[0].status == "pass"
        assert pool.statistics.executions == 1
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize(
    "other",
    [
        lambda: key(replace(GOOD, program=GOOD.program + "\n")),
        lambda: key(replace(GOOD, tests={**TESTS, "setup": "x = 1"})),
        lambda: key(replace(GOOD, tests={"kind": "asserts", "asserts": ["assert f(1) == 2", "assert f(1) == 2"]})),
        lambda: key(replace(GOOD, entry_point="f")),
        lambda: key(GOOD, limits=replace(LIMITS, memory_mb=256)),
        lambda: key(GOOD, compare="official"),
        lambda: key(GOOD, stop="first_failure"),
        lambda: key(GOOD, isolation="batch"),
    ],
)
def test_the_key_holds_all_that_a_verdict_depends_on(other: Callable[[], str]) -> None:
    assert key(GOOD) == key(Job(GOOD.program, dict(TESTS)))
    assert other() != key(GOOD)


def test_the_key_tells_values_apart_that_are_equal() -> None:
    def call(expected: object) -> str:
        return key(Job("", {"kind": "call", "fn_name": "f", "cases": [{"args": [], "expected": expected}]}))

    assert len({call(value) for value in (1, 1.0, True, "1", (1,), [1])}) == 6


def test_another_version_of_this_package_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(GOOD)
    monkeypatch.setattr("pper_jax.execution.cache.harness_version", lambda: "another")
    assert key(GOOD) != before


@settings(deadline=None)
@given(verdicts)
def test_what_a_folder_holds_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, verdict: Verdict) -> None:
    folder = tmp_path_factory.mktemp("cache")
    VerdictCache(folder).put("ab" * 32, verdict)
    assert VerdictCache(folder).get("ab" * 32) == verdict
    assert VerdictCache(folder).get("cd" * 32) is None


@settings(deadline=None)
@given(verdicts)
def test_only_what_would_surely_end_the_same_is_kept(verdict: Verdict) -> None:
    statuses = {test.status for test in verdict.tests}
    assert may_be_kept(verdict, "first_failure") == (not statuses & {"infrastructure", "timeout"})
    assert may_be_kept(verdict, "all") == (not statuses & {"infrastructure", "timeout", "not_run"})


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    cache = VerdictCache(entries=2)
    for name in ("a", "b"):
        cache.put(name, Verdict((TestResult("pass", 1.0, name),)))
    assert cache.get("a") is not None  # used: now b is the oldest
    cache.put("c", Verdict(()))
    assert (cache.get("b"), len(cache)) == (None, 2)


def test_files_say_what_was_found(tmp_path: Path) -> None:
    VerdictCache(tmp_path).put("ab" * 32, Verdict((TestResult("fail", 0.5, "returned 1, expected 2"),)))
    (file,) = tmp_path.rglob("*.json")
    assert json.loads(file.read_text()) == [["fail", 0.5, "returned 1, expected 2"]]
