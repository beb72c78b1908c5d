"""Time limits: the CPU clock of the program first, wall-clock time behind it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from pper_jax.errors import UserError
from pper_jax.execution import Job, Limits, TestPool, TestResult, Ticket, Verdict
from pper_jax.execution.cache import plain_tests
from pper_jax.execution.limits import BUSY, backstop
from pper_jax.execution.server import Child, ChildLost, Deadline
from pper_jax.execution.ticket import Run, packed

SPIN = "import time\ndef f(seconds):\n    while time.process_time() < seconds: pass\n    return 'done'"


def call(*cases: tuple[list[Any], Any]) -> dict[str, Any]:
    return {"kind": "call", "fn_name": "f", "cases": [{"args": args, "expected": value} for args, value in cases]}


@pytest.fixture
def busy_core() -> Iterator[None]:
    """This process and what it starts share one core with four others that never rest."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    others = [
        subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"], start_new_session=True) for _ in range(4)
    ]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()
        os.sched_setaffinity(0, mine)


def test_a_busy_machine_makes_a_program_slow_but_not_wrong(busy_core: None) -> None:
    script = "import time\nwhile time.process_time() < 0.5: pass\nprint('done')"
    jobs = [
        Job(SPIN, call(([0.5], "done"))),
        Job(script, {"kind": "stdio", "cases": [{"stdin": "", "stdout": "done"}]}),
    ]
    with TestPool(workers=1, limits=Limits(timeout_s=1.0, wall_s=60.0)) as pool:
        verdicts = pool.run(jobs)
    assert [verdict.status for verdict in verdicts] == ["pass", "pass"]
    assert all(verdict.tests[0].seconds > 1.0 for verdict in verdicts)  # it did have to wait for the core


@pytest.mark.parametrize(
    ("program", "clock"),
    [
        ("def f(x):\n    while True: pass", "CPU"),
        ("while True: pass", "CPU"),
        ("import time\ndef f(x): time.sleep(60)", "wall-clock"),
        ("import threading\ndef f(x): threading.Event().wait()", "wall-clock"),
    ],
)
def test_which_clock_ends_a_program(program: str, clock: str) -> None:
    with TestPool(workers=1, limits=Limits(timeout_s=60.0, cpu_s=0.3, wall_s=1.5)) as pool:
        (verdict,) = pool.run([Job(program, call(([1], 1)))])
    assert verdict.status == "timeout"
    assert verdict.tests[0].detail is not None
    assert clock in verdict.tests[0].detail


def test_scripts_too() -> None:
    cases = {"kind": "stdio", "cases": [{"stdin": "", "stdout": ""}]}
    with TestPool(workers=1, limits=Limits(timeout_s=60.0, cpu_s=0.3, wall_s=1.5)) as pool:
        spins, sleeps = pool.run([Job("while True: pass", cases), Job("import time\ntime.sleep(60)", cases)])
    assert (spins.status, sleeps.status) == ("timeout", "timeout")
    assert "CPU" in str(spins.tests[0].detail)
    assert "wall-clock" in str(sleeps.tests[0].detail)


def test_each_test_has_a_clock_of_its_own_and_the_program_one_for_all() -> None:
    step = "import time\ndef f(x):\n    end = time.process_time() + x\n    while time.process_time() < end: pass\n"
    step += "    return x"
    limits = Limits(timeout_s=0.4, wall_s=30.0, program_timeout_s=0.7)
    with TestPool(workers=1, limits=limits) as pool:
        (verdict,) = pool.run([Job(step, call(*[([0.25], 0.25)] * 5))])
    assert [test.status for test in verdict.tests] == ["pass", "pass", "pass", "not_run", "not_run"]


def test_calls_sent_together_keep_their_order_their_limits_and_their_state() -> None:
    program = (
        "import os, time\nseen = []\ndef f(x):\n    seen.append(x)\n    if x == 'hang':\n        while True: pass\n"
        "    if x == 'exit': os._exit(3)\n    return list(seen)"
    )
    asked = ["a", "b", "hang", "c", "exit", "d", "e"]
    found = [["a"], ["a", "b"], 0, ["c"], 0, ["d"], ["d", "e"]]  # a new process knows nothing of what went before
    with TestPool(workers=1, limits=Limits(timeout_s=0.3, wall_s=10.0)) as pool:
        (verdict,) = pool.run([Job(program, call(*[([x], y) for x, y in zip(asked, found, strict=True)]))])
    assert [test.status for test in verdict.tests] == ["pass", "pass", "timeout", "pass", "crash", "pass", "pass"]


def test_the_limits_that_are_not_given_follow_from_those_that_are() -> None:
    assert (Limits(timeout_s=3.0).test_cpu_s, Limits(timeout_s=3.0).test_wall_s) == (3.0, backstop(3.0)) == (3.0, 7.0)
    assert (Limits(cpu_s=1.0).test_cpu_s, Limits(wall_s=1.0).test_wall_s) == (1.0, 1.0)
    for name in ("cpu_s", "wall_s"):
        with pytest.raises(UserError, match=f"limits.{name} is 0"):
            Limits(**{name: 0.0})


class Starved:
    """A child that gets no core: its clock stands, and it waits."""

    def __init__(self, share: float) -> None:
        self.share, self.start = share, time.monotonic()

    def cpu(self) -> float:
        return 0.0

    def starved(self) -> float:
        return self.share * (time.monotonic() - self.start)


@pytest.mark.parametrize(
    ("share", "status", "seconds"),
    [(0.0, "timeout", 0.1), (0.5, "timeout", 0.2), (1.0, "busy", 0.1 * BUSY)],
)
def test_the_wall_clock_stands_still_while_a_program_has_no_core(share: float, status: str, seconds: float) -> None:
    reader, writer = os.pipe()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    start = time.monotonic()
    with pytest.raises(ChildLost) as caught:
        Deadline(cast(Child, Starved(share)), 1.0, 0.1).wait(poll)
    assert caught.value.status == status
    assert 0.8 * seconds < time.monotonic() - start < 2.5 * seconds + 0.2
    os.close(reader)
    os.close(writer)


def test_a_program_that_the_machine_was_too_busy_for_waits_and_is_tried_once_more() -> None:
    job = Job("def f(x): return x", call(([1], 1)))
    busy = Verdict((TestResult("infrastructure", 9.0, "the machine was too busy to run it for 90 s"),))
    with TestPool(workers=1, cache=False) as pool:
        ticket = Ticket(pool, job)
        message = packed(job, plain_tests(job.tests), "program", "all", pool.limits, pool.compare)
        run = Run(job, message, pool.limits, None, [ticket])
        pool._finish(run, busy)
        assert not ticket.done
        assert ticket.result().status == "pass"  # there is room now
        again = Run(job, b"", pool.limits, None, [Ticket(pool, job)], put_off=True)
        waiting = again.tickets[0]
        pool._finish(again, busy)
        assert waiting.result().status == "infrastructure"
