"""One worker of the pool: the trusted side of testing, with a zygote of its own for the programs.

It takes jobs from the pool one at a time and sends each test's result. Its code never runs a program, only the code of
tests, under an alarm; should that not be enough, the pool ends the whole worker. A job says how it is to be run::

    {"program": source, "tests": object, "entry_point": name or None, "count": how many tests,
     "isolation": "program" (a child of its own, the default) | "batch" (up to 24 programs share one),
     "stop": "all" (the default) | "first_failure" (tests after one that is not passed are not run)}
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from pper_jax.execution import sandbox, wire
from pper_jax.execution.checks import AnswerTest, CallTest, CodeTest, Outcome, StdioTest, Test, plan
from pper_jax.execution.compare import outputs_match
from pper_jax.execution.limits import Limits, backstop
from pper_jax.execution.server import ChildLost, ForkServer, ZygoteLost
from pper_jax.execution.session import Session, limit_own_memory, run_script

Result = tuple[str, float, str | None]
MESSAGE_LIMIT = 1 << 30
PLANS_KEPT = 256
BATCH_SIZE = 24
# What a program in a shared child may owe to those before it: it is then run again in a child of its own.
DOUBTFUL = frozenset({"crash", "timeout", "memory", "output_limit"})


class TrustedTimeout(BaseException):
    """The trusted side itself took too long over an answer."""


def main() -> None:
    """Serve the socket whose descriptor is the first argument, with the options in the second."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    sandbox.hide()
    worker = Worker(Limits(**options["limits"]), options["compare"], options["lifeline"])
    limit_own_memory(options["limits"]["memory_mb"] + 3072)
    frames = wire.Frames(MESSAGE_LIMIT)
    with contextlib.suppress(OSError):  # the pool went away
        wire.write_message(sock.fileno(), {"ready": worker.server.isolation})
        while (job := wire.read_message(sock.fileno(), frames)) is not None:
            serve(worker, job, sock)
    worker.server.close()


def serve(worker: Worker, job: Mapping[str, Any], sock: socket.socket) -> None:
    """Run a job and send its results: those of quick tests together, but all before anything that may take long."""
    waiting: list[bytes] = []

    def flush() -> None:
        if waiting:
            sock.sendall(b"".join(waiting))
            waiting.clear()

    worker.before_long_work = flush
    for status, seconds, detail in worker.run(job):
        waiting.append(wire.pack({"test": [status, seconds, detail]}))
    waiting.append(wire.pack({"done": True}))
    flush()


class Worker:
    """Runs jobs against one zygote, which it replaces when it dies."""

    def __init__(self, limits: Limits, compare: str, lifeline: int) -> None:
        self.limits, self.compare, self.lifeline = limits, compare, lifeline
        self.server = self._new_server()
        self.session: Session | None = None
        self.program = ""
        self.plans: dict[tuple[str, str | None], list[Test]] = {}
        self.before_long_work: Any = lambda: None
        signal.signal(signal.SIGALRM, _on_alarm)
        signal.signal(signal.SIGPROF, _on_alarm)

    def run(self, job: Mapping[str, Any]) -> Iterator[Result]:
        """Yield ``(status, seconds, detail)`` of each test of a job."""
        try:
            tests = self._plan(job)
        except (SyntaxError, ValueError, RecursionError) as error:
            detail = f"the tests are no Python: {type(error).__name__}: {error}"
            yield from [("infrastructure", 0.0, detail)] * job["count"]
            return
        batch = job.get("isolation") == "batch" and not isinstance(tests[0] if tests else None, StdioTest)
        stop = job.get("stop") == "first_failure"
        if not batch:
            yield from self._run_alone(job["program"], tests, stop)
            return
        shared = self.session is not None
        results = list(self._run_tests(job["program"], tests, stop))
        if shared and any(status in DOUBTFUL for status, _, _ in results):
            self._end_session()
            results = list(self._run_tests(job["program"], tests, stop))
        session = self.session
        if session is not None and (session.programs >= BATCH_SIZE or session.sent != session.number):
            self._end_session()
        yield from results

    def _plan(self, job: Mapping[str, Any]) -> list[Test]:
        key = wire.to_json(job["tests"]), job["entry_point"]
        tests = self.plans.get(key)
        if tests is None:
            if len(self.plans) >= PLANS_KEPT:
                self.plans.clear()
            tests = self.plans[key] = plan(wire.decode(job["tests"]), job["entry_point"])
        return tests

    def _run_alone(self, program: str, tests: list[Test], stop: bool) -> Iterator[Result]:
        self._end_session()
        try:
            yield from self._run_tests(program, tests, stop)
        finally:
            self._end_session()

    def _run_tests(self, program: str, tests: list[Test], stop: bool) -> Iterator[Result]:
        wall_end = time.monotonic() + backstop(self.limits.program_timeout_s)
        cpu_left = self.limits.program_timeout_s
        broken: Outcome | None = None
        over: str | None = None
        fresh = True
        for place, test in enumerate(tests):
            start = time.monotonic()
            if over is None and (start > wall_end or cpu_left <= 0):
                over = "the program's time was over"
            if over is not None:
                yield "not_run", 0.0, over
                continue
            if isinstance(test, AnswerTest):
                outcome = test.judge(program)
            elif isinstance(test, StdioTest):
                outcome, used = self._twice(self._run_script, program, test)
                cpu_left -= used
            elif broken is not None:
                outcome = broken
            else:
                ahead = [] if stop else _literal_calls(tests, place)
                outcome, used, broken = self._twice(self._run_call, program, test, ahead, fresh)
                cpu_left -= used
                fresh = False
            yield outcome[0], time.monotonic() - start, outcome[1]
            if stop and outcome[0] != "pass":
                over = "an earlier test was not passed"

    def _twice(self, step: Any, *arguments: Any) -> Any:
        """Run a step, and once more with a new zygote if the first died under it."""
        for _ in range(2):
            try:
                return step(*arguments)
            except ZygoteLost:
                self._renew_server()
        outcome = "crash", "the program killed the process that started it"
        if {"pid", "seccomp"} & set(self.server.isolation):
            outcome = "infrastructure", "the process that starts programs died twice"
        return (outcome, 0.0) if step == self._run_script else (outcome, 0.0, None)

    def _load(self, program: str, ahead: list[str], fresh: bool) -> Outcome | None:
        """See that the program is loaded; return the outcome of all its tests where it cannot be."""
        if self.session is not None and not fresh:
            return None
        session = self.session = self.session or Session(self.server, self.limits)
        try:
            session.load(program, ahead)
        except ChildLost as lost:
            self.session = None
            return lost.status, f"while the program was loaded: {lost.detail}"
        except Exception as error:
            if session.programs == 1 or session.sent != session.number:
                self._end_session()
            return ("memory" if isinstance(error, MemoryError) else "error"), str(error)
        return None

    def _run_call(
        self, program: str, test: CallTest | CodeTest, ahead: list[str], fresh: bool
    ) -> tuple[Outcome, float, Outcome | None]:
        """Run one test; return its outcome, its CPU seconds, and the outcome of all further tests if that is known."""
        own = [test.packed] if isinstance(test, CallTest) and test.packed is not None else []
        broken = self._load(program, own + ahead if own else [], fresh)
        if broken is not None:
            return broken, 0.0, broken
        session = self.session
        assert session is not None
        session.begin()
        outcome: Outcome
        if isinstance(test, CodeTest):
            self.before_long_work()
        try:
            self._set_alarms()
            outcome = test.run(session, self.compare, ahead)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except ChildLost as lost:
            outcome = lost.status, lost.detail
        except TrustedTimeout:
            outcome = "timeout", "checking the answer took too long"
            self._renew_server()  # in the middle of what, nobody knows
        except (RecursionError, MemoryError) as error:
            outcome = "error", f"{type(error).__name__} while the answer was checked"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)
        used = session.deadline.used()
        if session.lost is not None:  # whatever the code of the test made of it
            if self.session is not None:
                outcome = session.lost.status, session.lost.detail
            self.session = None
            used = self.limits.test_cpu_s if outcome[0] == "timeout" else used
        return outcome, used, None

    def _set_alarms(self) -> None:
        limits = self.limits
        signal.setitimer(signal.ITIMER_PROF, limits.trusted_s)
        signal.setitimer(signal.ITIMER_REAL, limits.test_wall_s + backstop(limits.trusted_s))

    def _run_script(self, program: str, test: StdioTest) -> tuple[Outcome, float]:
        self.before_long_work()
        status, output, detail, used = run_script(self.server, program, test.stdin, self.limits)
        if status is not None:
            return (status, detail), used
        if outputs_match(output, test.stdout, self.compare):
            return ("pass", None), used
        return ("fail", "wrong output"), used

    def _end_session(self) -> None:
        if self.session is not None:
            try:
                self.session.release()
            except ZygoteLost:
                self._renew_server()
            self.session = None

    def _renew_server(self) -> None:
        self.session = None
        self.server.close()
        self.server = self._new_server()

    def _new_server(self) -> ForkServer:
        return ForkServer(self.limits, self.lifeline)


def _literal_calls(tests: list[Test], place: int) -> list[str]:
    """Return the calls of the tests after this one, up to the first that is no literal call."""
    calls: list[str] = []
    for test in tests[place + 1 :]:
        if not isinstance(test, CallTest) or test.packed is None:
            break
        calls.append(test.packed)
    return calls


def _on_alarm(number: int, frame: FrameType | None) -> None:
    raise TrustedTimeout
