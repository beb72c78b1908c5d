from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pper_jax.execution.link as link_module
from pper_jax.errors import RunFailure, UserError
from pper_jax.execution import Job, Limits, TestPool, Verdict
from pper_jax.execution.verdict import validate_job

GOOD = Job("def f(x): return x + 1", {"kind": "asserts", "asserts": ["assert f(1) == 2"]})
SLOW = Job("import time\ntime.sleep(0.4)\ndef f(x): return x + 1", GOOD.tests)
HANGING = Job("while True: pass", GOOD.tests)


def descendants(pid: int) -> set[int]:
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


def gone(pids: set[int]) -> bool:
    """Whether the processes end within two seconds."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.01)
    return False


def test_verdicts_come_in_the_order_of_the_jobs() -> None:
    bad = Job("def f(x): return x", GOOD.tests)
    seen: list[tuple[int, int]] = []
    with TestPool(workers=2, cache=False) as pool:
        verdicts = pool.run([SLOW, bad, GOOD, bad, GOOD], lambda done, total: seen.append((done, total)))
        again = [index for index, _ in pool.as_completed([SLOW, GOOD, GOOD])]
    assert [verdict.status for verdict in verdicts] == ["pass", "fail", "pass", "fail", "pass"]
    assert seen == [(number, 5) for number in range(1, 6)]
    assert sorted(again) == [0, 1, 2]
    assert again[-1] == 0


def test_no_process_is_left() -> None:
    before = descendants(os.getpid())
    with TestPool(workers=2) as pool:
        pool.run([SLOW, SLOW])
        assert isinstance(pool.walls, tuple)
        running = descendants(os.getpid()) - before
        assert len(running) >= 4
    assert gone(running)
    with pytest.raises(RunFailure):
        pool.run([GOOD])


def test_leaving_early_ends_what_is_under_way() -> None:
    with TestPool(workers=2) as pool:
        for _, verdict in pool.as_completed([GOOD, HANGING]):
            assert verdict.status == "pass"
            break
        start = time.monotonic()
        assert pool.run([GOOD, GOOD])[1].status == "pass"
        assert time.monotonic() - start < 3


def test_a_killed_worker_is_replaced_and_its_job_run_again() -> None:
    with TestPool(workers=1, cache=False) as pool:
        first = pool._workers[0].process.pid
        pool.run([GOOD])
        os.kill(first, signal.SIGKILL)
        assert pool.run([GOOD, GOOD])[1].status == "pass"
        assert pool._workers[0].process.pid != first


def test_a_killed_zygote_is_replaced() -> None:
    with TestPool(workers=1, cache=False) as pool:
        pool.run([GOOD])
        for pid in descendants(pool._workers[0].process.pid):
            with contextlib.suppress(ProcessLookupError):  # one takes the others with it
                os.kill(pid, signal.SIGKILL)
        assert [verdict.status for verdict in pool.run([GOOD, GOOD])] == ["pass", "pass"]


def test_a_job_whose_worker_dies_again_and_again_is_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    with TestPool(workers=1) as pool:
        pool.run([GOOD])
        news: Callable[[float], list[Any]] = pool._news

        def killing(seconds: float) -> list[Any]:
            for worker in pool._workers:
                if worker.isolation is not None and worker.runs and "sleep" in worker.runs[0].job.program:
                    worker.process.kill()
                    worker.process.wait()
            return news(seconds)

        monkeypatch.setattr(pool, "_news", killing)
        verdicts = pool.run([Job("import time\ntime.sleep(0.3)", GOOD.tests), GOOD])
    assert [verdict.status for verdict in verdicts] == ["infrastructure", "pass"]


def test_a_test_that_loops_on_the_trusted_side_is_a_timeout() -> None:
    texts = ["assert f(1) == 2", "while f(1): pass", "x = f(1)\nwhile x: pass", "assert f(1) == 2"]
    job = Job(GOOD.program, {"kind": "asserts", "asserts": texts}, "f")
    with TestPool(workers=1, limits=Limits(timeout_s=0.3, trusted_s=0.1)) as pool:
        (verdict,) = pool.run([job])
    assert [test.status for test in verdict.tests] == ["pass", "timeout", "timeout", "pass"]


@pytest.mark.parametrize(
    "stuck",
    [
        "while f(1):\n    try:\n        import time\n        time.sleep(1)\n    except BaseException: pass",
        "while f(1):\n    try:\n        while True: pass\n    except BaseException: pass",
        "assert sum(range(f(1) * 10**9)) == 3",  # one call of C code, which no alarm interrupts
    ],
)
def test_a_test_that_cannot_be_stopped_is_a_timeout_and_costs_no_worker(stuck: str) -> None:
    texts = ["assert [f(1)] == [2]", stuck, "assert [f(1)] == [2]", "assert f(1) == 3"]
    job = Job(GOOD.program, {"kind": "asserts", "asserts": texts}, "f")
    with TestPool(workers=1, limits=Limits(timeout_s=0.2, trusted_s=0.1)) as pool:
        verdicts = pool.run([GOOD, job, GOOD])
        assert pool.statistics.workers_lost == 0
    assert [test.status for test in verdicts[1].tests] == ["pass", "timeout", "pass", "fail"]
    assert [verdicts[0].status, verdicts[2].status] == ["pass", "pass"]


def test_what_stood_before_a_test_that_ended_the_checker_is_confirmed_too() -> None:
    texts = ["x = (1, 2)\nassert f(x) is not x", "assert sum(range(f(10**10))) == 3", "assert [f(1)] == [1]"]
    job = Job("def f(x): return x", {"kind": "asserts", "asserts": texts}, "f")
    with TestPool(workers=1, limits=Limits(timeout_s=0.5, trusted_s=0.2)) as pool:
        (verdict,) = pool.run([job])  # only a copy, which crosses the border, is not what was given
        assert pool.statistics.workers_lost == 0
    assert [test.status for test in verdict.tests] == ["fail", "timeout", "pass"]


def test_a_crash_of_the_checker_is_an_error_and_costs_no_worker() -> None:
    crash = "import os, signal\nassert f(1) == 2\nos.kill(os.getpid(), signal.SIGSEGV)"
    job = Job(GOOD.program, {"kind": "asserts", "asserts": [crash, "assert [f(1)] == [2]"]}, "f")
    with TestPool(workers=1) as pool:
        (verdict,) = pool.run([job])
        assert pool.statistics.workers_lost == 0
    assert [test.status for test in verdict.tests] == ["error", "pass"]


def test_a_worker_that_says_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with TestPool(workers=1, cache=False) as pool:
        pool.run([GOOD])
        os.kill(pool._workers[0].process.pid, signal.SIGSTOP)
        for pid in descendants(pool._workers[0].process.pid):
            with contextlib.suppress(ProcessLookupError):  # a child that ended since it was listed
                os.kill(pid, signal.SIGSTOP)
        bury = pool._bury

        def bury_and_be_patient(worker: Any) -> None:
            monkeypatch.undo()
            bury(worker)

        monkeypatch.setattr(link_module, "SILENCE_SECONDS", 0.2)
        monkeypatch.setattr(Limits, "silence_s", 0.2)
        monkeypatch.setattr(pool, "_bury", bury_and_be_patient)
        assert pool.run([GOOD])[0].status == "pass"
        assert pool.statistics.workers_lost == 1


def test_control_c_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores Ctrl-C
        "from pper_jax.execution import *\n"
        "job = Job('while True: pass', {'kind': 'asserts', 'asserts': ['assert f(1) == 2']})\n"
        "with TestPool(workers=2, limits=Limits(timeout_s=60)) as pool:\n"
        "    print('up', flush=True)\n    pool.run([job] * 2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    time.sleep(0.5)
    below = descendants(process.pid)
    assert below
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert errors.rstrip().endswith(b"KeyboardInterrupt")
    assert gone(below)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: TestPool(workers=0), "workers is 0"),
        (lambda: TestPool(compare="loose"), "strict, tokens, official"),
        (lambda: Limits(timeout_s=-1), "limits.timeout_s is -1"),
        (lambda: Limits(timeout_s=float("nan")), "limits.timeout_s"),
        (lambda: Limits(memory_mb=0), "limits.memory_mb"),
        (lambda: Limits(memory_mb=10), "limits.memory_mb"),
        (lambda: Limits(processes=1.5), "whole number"),  # type: ignore[arg-type]
        (lambda: validate_job(Job("", {"kind": "x"}), "job 3"), "job 3: tests of kind 'x'"),
        (lambda: validate_job(Job("", {"kind": "call", "cases": []}), "job 0"), "`fn_name`"),
        (lambda: validate_job(Job("", {"kind": "check", "code": ""}), "job 0"), "entry_point"),
        (lambda: validate_job(Job("", {"kind": "stdio", "cases": [{"stdin": ""}]}), "job 0"), "`stdout`"),
        (lambda: validate_job(Job("", {"kind": "asserts", "asserts": "assert 1"}), "job 0"), "must be a list"),
        (lambda: validate_job(Job(b"", {"kind": "answer", "expected": 1}), "job 0"), "must be text"),  # type: ignore[arg-type]
    ],
)
def test_wrong_use_is_one_sentence(build: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError) as caught:
        build()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_room_imports_the_standard_library_only() -> None:
    code = "import sys, pper_jax.execution; print(sorted({'jax', 'numpy', 'flax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == b"[]"


def test_empty_verdict() -> None:
    assert (Verdict(()).status, Verdict(()).pass_rate) == ("not_run", 0.0)
