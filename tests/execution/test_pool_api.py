"""Handing work to the pool: tickets, order, back-pressure, cancelling, progress, stop rules, required isolation."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

import pper_jax.execution.said as said_module
from pper_jax.errors import RunFailure, UserError
from pper_jax.execution import Job, Limits, TestPool
from pper_jax.execution.isolation import LAYERS, is_strong, missing_layers

LIMITS = Limits(timeout_s=20.0, memory_mb=512)
TESTS = {"kind": "asserts", "asserts": ["assert f(1) == 2", "assert f(2) == 3", "assert f(3) == 4"]}
HANGING = Job("def f(x):\n    while True: pass", TESTS)


def good(number: int) -> Job:
    return Job(f"def f(x): return x + 1  # {number}", TESTS)


def bad(number: int) -> Job:
    return Job(f"def f(x): return x  # {number}", TESTS)


@pytest.fixture(scope="module")
def pool() -> Iterator[TestPool]:
    with TestPool(workers=2, limits=LIMITS) as shared:
        yield shared


def test_a_ticket_waits_for_its_verdict(pool: TestPool) -> None:
    tickets = [pool.submit(good(1)), pool.submit(bad(2))]
    assert tickets[1].result().status == "fail"
    assert tickets[0].result().status == "pass"
    assert all(ticket.done for ticket in tickets)
    assert not tickets[0].cancel()
    assert tickets[0].result() is tickets[0].verdict


def test_tickets_and_jobs_may_be_waited_for_together(pool: TestPool) -> None:
    done = pool.submit(good(3))
    done.result()
    found = dict(pool.as_completed([pool.submit(bad(4)), good(5), done]))
    assert {index: verdict.status for index, verdict in found.items()} == {0: "fail", 1: "pass", 2: "pass"}


def test_in_order_and_as_they_finish(pool: TestPool) -> None:
    slow = Job("import time\ntime.sleep(0.5)\ndef f(x): return x + 1", TESTS)
    assert [index for index, _ in pool.as_completed([slow, bad(6), good(7), bad(8)], in_order=True)] == [0, 1, 2, 3]
    slower = Job("import time\ntime.sleep(0.6)\ndef f(x): return x + 1", TESTS)
    assert [index for index, _ in pool.as_completed([slower, bad(9), good(10)])][-1] == 0


def test_an_iterator_is_read_no_further_than_there_is_room() -> None:
    read: list[int] = []
    finished: list[int] = []

    def endless() -> Iterator[Job]:
        while True:
            read.append(len(read))
            yield good(len(read))

    with TestPool(workers=1, limits=LIMITS, backlog=5) as pool:
        for index, verdict in pool.as_completed(endless()):
            assert verdict.status == "pass"
            finished.append(index)
            assert len(read) - len(finished) <= 5
            if len(finished) == 20:
                break
        assert pool.run([bad(0)])[0].status == "fail"


def test_submit_waits_for_room() -> None:
    with TestPool(workers=1, limits=LIMITS, backlog=3) as pool:
        tickets = [pool.submit(good(number)) for number in range(12)]
        assert sum(ticket.done for ticket in tickets) >= 12 - 3 - 2  # three wait, a worker has at most two in hand
        assert [ticket.result().status for ticket in tickets] == ["pass"] * 12


def test_cancelling_stops_the_program() -> None:
    with TestPool(workers=1, limits=LIMITS) as pool:
        pool.run([good(0)])
        hanging, waiting = pool.submit(HANGING), pool.submit(good(1))
        assert waiting.cancel()
        assert hanging.cancel()
        assert not hanging.cancel()
        with pytest.raises(RunFailure, match="cancelled"):
            hanging.result()
        assert pool.run([good(2)])[0].status == "pass"
        assert (pool.statistics.cancelled, pool.statistics.executions, pool.statistics.workers_lost) == (2, 2, 0)


def test_a_cancelled_ticket_is_no_verdict(pool: TestPool) -> None:
    ticket = pool.submit(HANGING)
    ticket.cancel()
    with pytest.raises(RunFailure, match="cancelled"):
        list(pool.as_completed([good(200), ticket]))
    assert pool.run([good(201)])[0].status == "pass"


def test_cancelling_one_of_two_alike_leaves_the_other() -> None:
    with TestPool(workers=1, limits=LIMITS) as pool:
        first, second = pool.submit(good(1)), pool.submit(good(1))
        assert first.cancel()
        assert second.result().status == "pass"
        assert (pool.statistics.executions, pool.statistics.cancelled) == (1, 1)


def test_closing_cancels_what_is_left() -> None:
    with TestPool(workers=1, limits=LIMITS) as pool:
        ticket = pool.submit(HANGING)
    with pytest.raises(RunFailure):
        ticket.result()
    with pytest.raises(RunFailure, match="closed"):
        pool.submit(good(1))


def test_progress_counts_what_is_done_and_what_was_handed_in() -> None:
    seen: list[tuple[int, int]] = []
    with TestPool(workers=1, limits=LIMITS, progress=lambda done, total: seen.append((done, total))) as pool:
        pool.run([good(1), good(1), bad(2)])
    assert seen[-1] == (3, 3)
    assert [done for done, _ in seen] == [1, 2, 3]


@pytest.mark.parametrize("isolation", ["program", "batch"])
def test_stop_at_the_first_failure(isolation: str) -> None:
    middle = Job("def f(x): return x + 1 if x != 2 else 0", TESTS)
    with TestPool(workers=1, limits=LIMITS, isolation=isolation, stop="first_failure") as pool:
        verdicts = pool.run([middle, good(1)])
    assert [test.status for test in verdicts[0].tests] == ["pass", "fail", "not_run"]
    assert verdicts[1].status == "pass"


def test_batch_gives_the_verdicts_of_single_programs() -> None:
    programs = [
        "def f(x): return x + 1",
        "def f(x): return x",
        "def f(x): 1 // 0",
        "import os\ndef f(x): os._exit(0)",
        "def f(x) return",
        "n = 1\ndef f(x): return x + n",
        "raise SystemExit",
        "def g(x): return x + 1",
        "import sys\ndef f(x): sys.exit(0)",
    ]
    jobs = [Job(program, TESTS) for program in programs * 3]
    with TestPool(workers=2, limits=LIMITS, cache=False) as single:
        expected = [[test.status for test in verdict.tests] for verdict in single.run(jobs)]
    with TestPool(workers=2, limits=LIMITS, cache=False, isolation="batch") as batch:
        found = [[test.status for test in verdict.tests] for verdict in batch.run(jobs)]
    assert found == expected


def test_a_job_that_is_not_well_formed_is_named_before_any_runs(pool: TestPool) -> None:
    before = pool.statistics.jobs
    with pytest.raises(UserError, match="job 1: tests of kind 'x' are unknown"):
        pool.run([good(100), Job("", {"kind": "x"})])
    assert pool.statistics.jobs == before
    with pytest.raises(UserError, match="job 1: "):
        list(pool.as_completed(iter([good(101), Job("", {"kind": "x"})])))
    assert pool.run([good(102)])[0].status == "pass"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"backlog": 0}, "backlog is 0"),
        ({"isolation": "none"}, "program, batch"),
        ({"stop": "never"}, "all, first_failure"),
        ({"require_isolation": "weak"}, "None, strong"),
        ({"cache": "/proc/nowhere"}, "cache folder"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        TestPool(**options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_strong_isolation_takes_the_filter_and_a_wall_around_files() -> None:
    assert missing_layers(LAYERS) == []
    assert missing_layers(["pid", "user"]) == ["mount", "net", "ipc", "seccomp", "landlock"]
    assert is_strong(["seccomp", "landlock"])
    assert is_strong(["seccomp", "pid", "mount"])
    assert not is_strong(["pid", "mount", "net", "ipc", "uid"])
    assert not is_strong(["seccomp", "pid"])


def test_a_lesser_machine_is_refused_where_strong_isolation_is_required(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PPER_EXECUTION_WITHOUT", "seccomp,landlock")
    with pytest.raises(RunFailure) as caught, TestPool(workers=1, limits=LIMITS, require_isolation="strong"):
        pytest.fail("the pool started")
    assert "strong isolation is required" in str(caught.value)
    assert "seccomp, landlock" in str(caught.value)
    assert "\n" not in str(caught.value)

    monkeypatch.setattr(said_module, "_said", set())
    with caplog.at_level(logging.WARNING, "pper_jax.execution"):
        for _ in range(2):
            with TestPool(workers=2, limits=LIMITS) as pool:
                assert pool.run([good(1)])[0].status == "pass"
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert "missing here: " in messages[0]
    assert "seccomp, landlock" in messages[0]


def test_the_calling_process_never_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden() -> int:
        raise AssertionError("the calling process forked")

    monkeypatch.setattr(os, "fork", forbidden)
    with TestPool(workers=1, limits=LIMITS, require_isolation=None) as pool:
        assert pool.run([good(1)])[0].status == "pass"
