from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pper_jax.execution import Job, Limits, TestPool, Verdict

OWN_KEY = str(0x70706572)  # of System V objects that hostile programs try to make
LIMITS = Limits(timeout_s=1.0, wall_s=2.0, trusted_s=0.5, memory_mb=512, output_bytes=1 << 20)


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


@pytest.fixture
def descendants() -> Callable[[int], set[int]]:
    return _descendants


@pytest.fixture
def traces() -> Callable[[], dict[str, set[str]]]:
    """What this process and its pools could leave on the machine, by kind; processes are those below this one."""

    def look() -> dict[str, set[str]]:
        queues = [
            line for kind in ("shm", "sem", "msg") for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
        ]
        return {
            "processes": {str(pid) for pid in _descendants(os.getpid())},
            "descriptors": set(os.listdir("/proc/self/fd")),
            "temporary files": {name for name in os.listdir("/tmp") if name.startswith(("pper-box", "pper_"))},
            "shared memory": {*os.listdir("/dev/shm"), *(line for line in queues if OWN_KEY in line)},
        }

    return look


def _descendants(pid: int) -> set[int]:
    """Every live process below ``pid`` that is not a zombie."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    while True:
        more = {child for child, parent in parents.items() if (parent == pid or parent in found)} - found
        if not more:
            return found
        found |= more


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest closes its own to others, whenever another session of it begins."""
    folder = Path(tempfile.mkdtemp(prefix="pper-open-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
