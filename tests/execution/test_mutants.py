"""Broken programs fare in the pool as in a fresh interpreter, test by test."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from mutants import OWN_EQUALITY, Mutant, fresh, mutants
from task_sets import SETS, SHARED

from pper_jax.execution import Limits, TestPool, Verdict

pytestmark = [
    pytest.mark.skipif(not (SHARED / "humaneval").is_dir(), reason="the shared data folder is not here"),
    pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning"),  # of the references
]

SEED = int(os.environ.get("PPER_MUTANT_SEED", "0"))
MOST = {"humaneval": 1640, "mbpp": 1948, "sanitized": 854, "leetcode": 2090, "codecontests": 328, "apps": 110}
CPU_S = 2


def of_set(name: str) -> list[Mutant]:
    """The mutants of a set, drawn over all of its references."""
    references = SETS[name][0]()
    most = int(MOST[name] * float(os.environ.get("PPER_MUTANT_FACTOR", "1")))
    each, step = -(-most // len(references)), max(1, len(references) // most)
    found = [mutant for reference in references[SEED % step :: step] for mutant in mutants(reference, each, SEED)]
    return found[:most]


def judged(jobs: list[Mutant], compare: str, isolation: str) -> list[Verdict]:
    limits = Limits(timeout_s=CPU_S, program_timeout_s=2 * CPU_S)
    with TestPool(workers=2, limits=limits, isolation=isolation, compare=compare, cache=False) as pool:
        return pool.run([mutant.job for mutant in jobs])


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_pool_says_what_a_fresh_interpreter_says(name: str) -> None:
    compare = SETS[name][1]
    chosen = of_set(name)
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as threads:
        wanted = list(threads.map(lambda mutant: fresh(mutant.job, compare, 2 * CPU_S), chosen))
    seconds = [time.perf_counter() - start]
    isolations = ["program"] if name == "codecontests" else ["program", "batch"]
    differences: list[str] = []
    counts: Counter[str] = Counter()
    for isolation in isolations:
        start = time.perf_counter()
        verdicts = judged(chosen, compare, isolation)
        seconds.append(time.perf_counter() - start)
        for mutant, results, verdict in zip(chosen, wanted, verdicts, strict=True):
            kind, text = compared(mutant, results, verdict)
            counts[f"{isolation}: {kind}"] += 1
            if kind in ("infrastructure", "false pass", "false fail"):
                differences.append(f"{kind}: {mutant.name} ({isolation}): {text}")
            elif kind == "timeout of one":
                print(f"{kind}: {mutant.name} ({isolation}): {text}")
    print(f"{name}: {len(chosen)} mutants, {len({m.kind for m in chosen})} kinds, {[round(s, 1) for s in seconds]} s")
    print(*(f"  {kind}: {count}" for kind, count in sorted(counts.items())), *differences, sep="\n")
    assert differences == []


def compared(mutant: Mutant, wanted: list[tuple[str, str | None]], verdict: Verdict) -> tuple[str, str]:
    """How the two fare: ``same``, ``timeout of both`` or ``of one``, or in what they differ, and at which test.

    ``own equality``: passed only as an object of the program called itself equal, which the pool does not believe.
    """
    if verdict.status == "infrastructure":
        return "infrastructure", str(verdict.to_json())
    for place, ((status, detail), result) in enumerate(zip(wanted, verdict.tests, strict=True)):
        if "timeout" in (status, result.status) or result.status == "not_run":
            where = "both" if status == "timeout" and result.status in ("timeout", "not_run") else "one"
            return f"timeout of {where}", f"test {place}: fresh {status} ({detail}), pool {result.status}"
        if (status == "pass") != (result.status == "pass"):
            kind = "false pass" if result.status == "pass" else "false fail"
            if kind == "false fail" and mutant.kind in OWN_EQUALITY:
                return "own equality", ""
            return kind, f"test {place}: fresh {status} ({detail}), pool {result.status} ({result.detail})"
    return "same", ""
