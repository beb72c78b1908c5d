from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pper_jax.execution import Job, Limits, TestPool, Verdict

LIMITS = Limits(timeout_s=1.0, trusted_s=0.5, memory_mb=512, output_bytes=1 << 20)


@pytest.fixture(scope="session")
def pool() -> Iterator[TestPool]:
    with TestPool(workers=1, limits=LIMITS) as shared_pool:
        yield shared_pool


@pytest.fixture
def judge(pool: TestPool) -> Callable[..., Verdict]:
    """Run one program against asserts (texts), or a whole ``tests`` object."""

    def run(program: str, *tests: Any, entry_point: str | None = "f") -> Verdict:
        wanted = tests[0] if isinstance(tests[0], dict) else {"kind": "asserts", "asserts": list(tests)}
        (verdict,) = pool.run([Job(program, wanted, entry_point)])
        return verdict

    return run


@pytest.fixture
def statuses(judge: Callable[..., Verdict]) -> Callable[..., list[str]]:
    def run(program: str, *tests: Any, **options: Any) -> list[str]:
        return [test.status for test in judge(program, *tests, **options).tests]

    return run
