"""``isolation="batch"``: programs that share a process, and what they may and may not do to each other."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from pper_jax.execution import Job, Limits, TestPool, values
from pper_jax.execution import worker as worker_module
from pper_jax.execution.server import Child, ForkServer
from pper_jax.execution.watch import Journal

TESTS = {"kind": "call", "fn_name": "f", "cases": [{"args": [1], "expected": 2}, {"args": [5], "expected": 6}]}
GOOD = "def f(x): return x + 1"
LIMITS = Limits(timeout_s=0.5, wall_s=2.0, memory_mb=256)


class CountingServer(ForkServer):
    """A fork server that counts the children taken from it."""

    taken = 0

    def take(self) -> Child:
        type(self).taken += 1
        return super().take()


@pytest.fixture
def count_children(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Run programs by a worker in this process; return how many children that takes."""
    monkeypatch.setattr(worker_module, "ForkServer", CountingServer)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGALRM, signal.SIGPROF)]
    lifeline, theirs = os.pipe()
    worker = worker_module.Worker(LIMITS, "strict", theirs, Journal(LIMITS))

    def run(programs: list[str], isolation: str, tests: dict[str, object]) -> int:
        CountingServer.taken = 0
        rows = [
            {"program": p, "tests": values.encode(tests), "entry_point": "f", "count": 2, "isolation": isolation}
            for p in programs
        ]
        found = [list(worker.run(row)) for row in rows]
        assert all(status == "pass" for results in found for _, status, _, _ in results)
        return CountingServer.taken

    yield run
    worker.end_session()
    worker.server.close()
    for number, handler in before:
        signal.signal(number, handler)
    for fd in (lifeline, theirs):
        os.close(fd)


@pytest.mark.parametrize(("isolation", "children"), [("program", 50), ("batch", 3)])
def test_how_many_children_programs_take(count_children: Callable[..., int], isolation: str, children: int) -> None:
    assert count_children([f"{GOOD}  # {number}" for number in range(50)], isolation, TESTS) == children


def test_programs_that_are_not_tame_or_were_confirmed_share_with_nobody(count_children: Callable[..., int]) -> None:
    wild = [f"import os\n{GOOD}  # {number}" for number in range(6)]
    check = {"kind": "check", "code": "def check(c):\n    assert c(1) == 2"}
    assert count_children(wild, "batch", TESTS) == 6
    assert count_children([f"{GOOD}  # {number}" for number in range(6)], "batch", check) == 6


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ("import os\ndef f(x): os._exit(0)", "crash"),
        ("import os\nos._exit(0)", "crash"),
        ("def f(x):\n    while True: pass", "timeout"),
        ("def f(x): return bytearray(1 << 30)", "memory"),
        ("raise SystemExit", "error"),
        ("def f(x):", "error"),
    ],
)
def test_a_program_that_ends_the_child_costs_its_neighbours_nothing(bad: str, status: str) -> None:
    jobs = [Job(f"{bad if number % 4 == 2 else GOOD}  # {number}", TESTS, "f") for number in range(11)]
    with TestPool(workers=1, limits=LIMITS, isolation="batch") as pool:
        found = [verdict.status for verdict in pool.run(jobs)]
    assert found == [status if number % 4 == 2 else "pass" for number in range(11)]


def test_what_programs_most_often_do_to_what_they_share_is_undone() -> None:
    spoilers = [
        "import builtins\nbuiltins.len = builtins.sorted = lambda *a: 0\ndel builtins.sum\n" + GOOD,
        "import sys\nsys.setrecursionlimit(60)\nsys.stdout = None\n" + GOOD,
        "class Solution:\n    def f(self, x): return x + 1",
        "hoard = [bytearray(1 << 20) for _ in range(100)]\n" + GOOD,
    ]
    victim = "def f(x):\n    print(end='')\n    return sum(sorted([x, 1])) if len([x]) and deep(200) else 0\n"
    victim += "def deep(n): return n == 0 or deep(n - 1)"
    jobs = [Job(f"{program}  # {number}", TESTS, "f") for number in range(4) for program in (spoilers[number], victim)]
    with TestPool(workers=1, limits=LIMITS, isolation="batch") as pool:
        verdicts = pool.run(jobs)
    assert [verdict.status for verdict in verdicts] == ["pass"] * 8


def test_a_program_knows_nothing_of_the_one_before() -> None:
    first = Job("hidden = 1\ndef g(x): return x + 1\ndef f(x): return x + 1", TESTS, "f")
    second = Job("def f(x): return x + 1 if 'hidden' not in globals() else 0", TESTS, "f")
    third = Job("hidden = 2", {"kind": "call", "fn_name": "g", "cases": TESTS["cases"]})
    with TestPool(workers=1, limits=LIMITS, isolation="batch") as pool:
        assert [verdict.status for verdict in pool.run([first, second, third])] == ["pass", "pass", "error"]


def test_a_lack_of_memory_is_looked_into_alone() -> None:
    keeper = "import builtins, sys\nsys.kept = bytearray(100 << 20)\n" + GOOD
    large = "def f(x): return x + 1 + 0 * len(bytearray(120 << 20))"
    with TestPool(workers=1, limits=LIMITS, isolation="batch") as pool:
        verdicts = pool.run([Job(keeper, TESTS, "f"), Job(large, TESTS, "f")])
    assert [verdict.status for verdict in verdicts] == ["pass", "pass"]


def test_kinds_may_be_mixed() -> None:
    script = Job("print(int(input()) + 1)", {"kind": "stdio", "cases": [{"stdin": "1", "stdout": "2"}] * 2})
    answer = Job("42", {"kind": "answer", "expected": "42"})
    check = Job(GOOD, {"kind": "check", "code": "def check(c):\n    assert c(1) == 2"}, "f")
    jobs = [Job(f"{GOOD}  # {number}", TESTS, "f") for number in range(3)]
    with TestPool(workers=1, limits=LIMITS, isolation="batch", cache=False) as pool:
        verdicts = pool.run([jobs[0], script, jobs[1], answer, check, script, jobs[2], answer])
    assert [verdict.status for verdict in verdicts] == ["pass"] * 8


@pytest.mark.parametrize("isolation", ["program", "batch"])
def test_random_numbers_are_the_same_for_every_program_and_worker(isolation: str) -> None:
    tests = {"kind": "call", "fn_name": "f", "cases": [{"args": [], "expected": -1}]}
    jobs = [Job(f"import random\ndef f(): return random.random()  # {number}", tests) for number in range(12)]
    with TestPool(workers=2, isolation=isolation) as pool:
        said = {verdict.tests[0].detail for verdict in pool.run(jobs)}
    assert len(said) == 1
    assert "expected -1" in str(said)
