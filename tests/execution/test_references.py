"""The reference solutions of HumanEval and MBPP pass their own tests."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import pytest

from pper_jax.execution import Job, Limits, TestPool

SHARED = Path(os.environ.get("PPER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not (SHARED / "humaneval").is_dir(), reason="the shared data folder is not here")


def humaneval() -> list[Job]:
    with gzip.open(SHARED / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        Job(row["prompt"] + row["canonical_solution"], {"kind": "check", "code": row["test"]}, row["entry_point"])
        for row in rows
    ]


def mbpp() -> list[Job]:
    rows = [json.loads(line) for line in (SHARED / "mbpp" / "mbpp.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        Job(
            row["code"],
            {
                "kind": "asserts",
                "setup": row["test_setup_code"],
                "asserts": row["test_list"] + row["challenge_test_list"],
            },
        )
        for row in rows
    ]


def failures(jobs: list[Job], isolation: str) -> dict[int, dict[str, object]]:
    with TestPool(workers=2, limits=Limits(timeout_s=20.0), isolation=isolation) as pool:
        start = time.perf_counter()
        verdicts = pool.run(jobs)
        seconds = time.perf_counter() - start
    print(f"{len(jobs)} programs, isolation {isolation}: {seconds:.2f} s, {len(jobs) / seconds:.0f} programs/s")
    return {index: verdict.to_json() for index, verdict in enumerate(verdicts) if verdict.status != "pass"}


@pytest.mark.parametrize("isolation", ["program", "batch"])
def test_a_slice_of_the_references_passes(isolation: str) -> None:
    helpers = humaneval()[32:51:6]  # these four checks call other functions of the prompt than the candidate
    odd = [job for job in mbpp() if job.tests["setup"] or "([Pair(" in job.tests["asserts"][0]]
    assert len(odd) == 3
    assert failures(helpers + humaneval()[::20] + odd + mbpp()[::60], isolation) == {}


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["program", "batch"])
def test_all_references_pass(isolation: str) -> None:
    assert failures(humaneval(), isolation) == {}
    assert failures(mbpp(), isolation) == {}
