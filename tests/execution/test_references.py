"""The reference solutions of real task sets pass their own tests."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from mutants import fresh
from task_sets import SETS, SHARED, Reference, apps, codecontests, humaneval, leetcode, mbpp, sanitized

from pper_jax.execution import Limits, TestPool

pytestmark = [
    pytest.mark.skipif(not (SHARED / "humaneval").is_dir(), reason="the shared data folder is not here"),
    pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning"),  # of the references
]

COUNTS = {"humaneval": 164, "mbpp": 974, "sanitized": 427, "leetcode": 2090, "codecontests": 164, "apps": 11}
KNOWN = {  # references that do not pass, here and in a fresh interpreter
    "leetcode/word-ladder-ii": "the order of its answer is that of a set of strings",
}


def failures(references: Sequence[Reference], isolation: str, compare: str = "strict") -> dict[str, object]:
    limits = Limits(timeout_s=20.0, program_timeout_s=120.0)
    with TestPool(workers=2, limits=limits, isolation=isolation, compare=compare) as pool:
        start = time.perf_counter()
        verdicts = pool.run([reference.job() for reference in references])
        seconds = time.perf_counter() - start
    rate = f"{len(references) / seconds:.0f} programs/s, {sum(v.total for v in verdicts) / seconds:.0f} tests/s"
    print(f"{len(references)} programs, isolation {isolation}: {seconds:.2f} s, {rate}")
    pairs = zip(references, verdicts, strict=True)
    return {reference.name: verdict.to_json() for reference, verdict in pairs if verdict.status != "pass"}


@pytest.mark.parametrize("isolation", ["program", "batch"])
def test_a_slice_of_the_references_passes(isolation: str) -> None:
    helpers = humaneval()[32:51:6]  # these four checks call other functions of the prompt than the candidate
    odd = [r for r in mbpp() if r.tests["setup"] or "([Pair(" in r.tests["asserts"][0]]
    assert len(odd) == 3
    imports = [r for r in sanitized() if r.tests["setup"]]
    trees = [r for r in leetcode() if "is_same_" in r.tests["code"]]  # these checks compare by functions of the prompt
    slices = [helpers, humaneval()[::20], odd, mbpp()[::60], imports[::4], sanitized()[::60], trees[::20]]
    assert failures([r for part in slices for r in part] + leetcode()[::100], isolation) == {}


def test_a_slice_of_the_references_passes_by_other_rules() -> None:
    few = [r for r in apps() if len(r.tests["cases"]) < 25]
    assert {r.tests["kind"] for r in few} == {"call", "stdio"}
    assert failures(few, "program", "official") == {}
    assert failures(codecontests()[::40], "program", "tokens") == {}


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["program", "batch"])
@pytest.mark.parametrize("name", SETS)
def test_all_references_pass(name: str, isolation: str) -> None:
    load, compare = SETS[name]
    references = load()
    assert len(references) == COUNTS[name]
    failed = failures(references, isolation, compare)
    known = {r.name: r for r in references if r.name in KNOWN}
    assert {key: row for key, row in failed.items() if key not in known} == {}
    assert failed.keys() == known.keys()
    for reference in known.values():
        assert any(status == "fail" for status, _ in fresh(reference.job(), compare, 20))


@pytest.mark.slow
def test_more_solutions_of_apps_pass() -> None:
    references = apps(solutions=100)
    assert len(references) == 248
    assert failures(references, "program", "official") == {}
