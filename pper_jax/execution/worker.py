"""One worker of the pool: the trusted side of testing, with a zygote of its own for the programs.

A worker is two processes. The watchman does nothing but wait for the judge, which takes jobs from the pool one at a
time and sends each test's result. The judge's code never runs a program, only the code of tests, under an alarm. Where
that is not enough (one endless call of C code, a crash of the interpreter), the judge ends and the watchman starts
another, which goes on behind the test that it ended in. A job says how it is to be run::

    {"program": source, "tests": object, "entry_point": name or None, "count": how many tests,
     "isolation": "program" (a child of its own, the default) | "batch" (up to 24 programs share one),
     "stop": "all" (the default) | "first_failure" (tests after one that is not passed are not run)}

A result is ``{"test": [place, status, seconds, detail]}``; a later one for the same place takes the place of the first.

**Confirmation.** Stand-ins cannot show everything. So once all tests of a program are judged, the code of its tests
runs once more, within the program's process, in its own names, as the interpreter would run both in one file: first in
the process that is there; where that says otherwise, which may be the fault of what the first run left, all tests in a
new one. What fails there has failed. What passes there, and failed here, has passed if the program cannot deceive (see
``tame``: by its code it has no means to); else the trusted side's word stands.
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

from pper_jax.execution import sandbox, values, wire
from pper_jax.execution.checks import (
    AnswerTest,
    CallTest,
    CodeTest,
    Outcome,
    StdioTest,
    Test,
    TrustedTimeout,
    explain,
    plan,
)
from pper_jax.execution.compare import outputs_match
from pper_jax.execution.limits import Limits, backstop
from pper_jax.execution.scripts import run_script
from pper_jax.execution.server import ChildLost, ForkServer, ZygoteLost, run_delay
from pper_jax.execution.session import HarnessFault, Session, limit_own_memory
from pper_jax.execution.watch import Blame, Journal, watch

Result = tuple[int, str, float, str | None]  # place, status, seconds, detail
MESSAGE_LIMIT = 1 << 30
PLANS_KEPT = 256
BATCH_SIZE = 24
CONFIRM_FACTOR = 2.0  # how many times a test's limit its confirmation may take
CONFIRMED = ("pass", "fail", "error", "infrastructure")
TOO_LONG = "checking the answer took too long"


def main() -> None:
    """Serve the socket whose descriptor is the first argument, with the options in the second."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    sandbox.hide()
    watch(lambda journal, blame: judge(sock, options, journal, blame))


def judge(sock: socket.socket, options: Mapping[str, Any], journal: Journal, blame: Blame | None) -> None:
    """Serve the socket; ``blame``: first go on with the job that the judge before this one ended in."""
    limits = Limits(**options["limits"])
    worker = Worker(limits, options["compare"], options["lifeline"], journal)
    limit_own_memory(limits.memory_mb + 3072)
    with contextlib.suppress(OSError):  # the pool went away
        wire.write_message(sock.fileno(), {"ready": worker.server.isolation})
        if blame is not None:
            serve(worker, wire.unpack(journal.job()), sock, blame)
        while (message := _receive(sock)) is not None:
            journal.begin(message)
            serve(worker, wire.unpack(message), sock)
    worker.server.close()


def _receive(sock: socket.socket) -> bytes | None:
    """Return the next message, and take nothing of the one behind it; None where there is none."""
    header = _read(sock, wire.HEADER.size)
    if header is None:
        return None
    return _read(sock, min(wire.HEADER.unpack(header)[0], MESSAGE_LIMIT))


def _read(sock: socket.socket, size: int) -> bytes | None:
    parts: list[bytes] = []
    while size > 0:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def serve(worker: Worker, job: Mapping[str, Any], sock: socket.socket, blame: Blame | None = None) -> None:
    """Run a job and send its results: those of quick tests together, but all before anything that may take long."""
    waiting: list[bytes] = []

    def flush() -> None:
        if waiting:
            sock.sendall(b"".join(waiting))
            waiting.clear()

    worker.before_long_work = flush
    for place, status, seconds, detail in worker.run(job, blame):
        waiting.append(wire.pack({"test": [place, status, seconds, detail]}))
    waiting.append(wire.pack({"done": True}))
    flush()


class Worker:
    """Runs jobs against one zygote, which it replaces when it dies."""

    def __init__(self, limits: Limits, compare: str, lifeline: int, journal: Journal) -> None:
        self.limits, self.compare, self.lifeline, self.journal = limits, compare, lifeline, journal
        self.server = self._new_server()
        self.session: Session | None = None
        self.plans: dict[tuple[str, str | None], list[Test]] = {}
        self.before_long_work: Any = lambda: None
        self.alarm = Alarm(limits, journal)

    def run(self, job: Mapping[str, Any], blame: Blame | None = None) -> Iterator[Result]:
        """Yield the result of each test of a job, and of some once more."""
        try:
            tests = self._plan(job)
        except (SyntaxError, ValueError, RecursionError) as error:
            detail = f"the tests are no Python: {type(error).__name__}: {error}"
            yield from ((place, "infrastructure", 0.0, detail) for place in range(job["count"]))
            return
        if "numpy" in job["program"]:  # its values may come: better to load what reads them before a clock runs
            with contextlib.suppress(ImportError):
                import numpy  # noqa: F401
        batch = job.get("isolation") == "batch" and not isinstance(tests[0] if tests else None, StdioTest | AnswerTest)
        if batch and blame is None and self.session is not None and self.session.idle:
            results = self._run_shared(job, tests)
            if results is not None:
                yield from results
                return
        self.end_session()
        try:
            yield from Trial(self, job, tests, shared=batch and blame is None, blame=blame).results()
        finally:
            if not batch or self.session is None or not self.session.idle:
                self.end_session()

    def _run_shared(self, job: Mapping[str, Any], tests: list[Test]) -> list[Result] | None:
        """Return the results of a program in the process of those before it; None where it has to be judged alone.

        Only what passes there passed: all else may be owed to the others.
        """
        trial = Trial(self, job, tests, shared=True)
        results = list(trial.results())
        session = self.session
        if session is not None and (session.programs >= BATCH_SIZE or not session.idle):
            self.end_session()
        if trial.refused or any(status != "pass" for _, status, _, _ in results):
            return None
        return results

    def _plan(self, job: Mapping[str, Any]) -> list[Test]:
        key = wire.to_json(job["tests"]), job["entry_point"]
        tests = self.plans.get(key)
        if tests is None:
            if len(self.plans) >= PLANS_KEPT:
                self.plans.clear()
            tests = self.plans[key] = plan(values.decode(job["tests"]), job["entry_point"])
        return tests

    def end_session(self) -> None:
        """End the child that is there, and everything that it left."""
        if self.session is not None:
            try:
                self.session.release()
            except ZygoteLost:
                self.renew_server()
            self.session = None

    def renew_server(self) -> None:
        """Take a new zygote in the place of the one that is there."""
        self.session = None
        self.server.close()
        self.server = self._new_server()

    def _new_server(self) -> ForkServer:
        return ForkServer(self.limits, self.lifeline)


class Trial:
    """One program's tests."""

    def __init__(
        self,
        worker: Worker,
        job: Mapping[str, Any],
        tests: list[Test],
        shared: bool = False,
        blame: Blame | None = None,
    ) -> None:
        self.worker, self.limits, self.program, self.tests, self.shared = (
            worker,
            worker.limits,
            job["program"],
            tests,
            shared,
        )
        self.blame = blame
        self.stop = job.get("stop") == "first_failure"
        self.refused = False  # the program may not share a process
        self.loaded = False
        self.broken: Outcome | None = None  # of all tests, where the program cannot be loaded
        self.first: dict[int, Outcome] = {}  # of the code tests that are to be confirmed

    def results(self) -> Iterator[Result]:
        """Yield the results."""
        wall_end = time.monotonic() + backstop(self.limits.program_timeout_s)
        cpu_left = self.limits.program_timeout_s
        over: str | None = None
        first = 0
        if self.blame is not None:
            first = self.blame.place + 1
            yield self.blame.place, self.blame.status, self.blame.seconds, self.blame.detail
            over = "an earlier test was not passed" if self.stop else None
        for place in range(first, len(self.tests)):
            start = time.monotonic()
            if over is None and (start > wall_end or cpu_left <= 0):
                over = "the program's time was over"
            if over is not None:
                yield place, "not_run", 0.0, over
                continue
            outcome, used = self._twice(place)
            if self.refused:
                return
            cpu_left -= used
            yield place, outcome[0], time.monotonic() - start, outcome[1]
            if self.stop and outcome[0] != "pass":
                over = "an earlier test was not passed"
        if self.first:
            yield from self._confirmed()

    def _twice(self, place: int) -> tuple[Outcome, float]:
        """Run a test, and once more with a new zygote if the first died under it."""
        for _ in range(2):
            try:
                return self._run(place)
            except ZygoteLost:
                self.worker.renew_server()
                self.loaded = False
        if {"pid", "seccomp"} & set(self.worker.server.isolation):
            return ("infrastructure", "the process that starts programs died twice"), 0.0
        return ("crash", "the program killed the process that started it"), 0.0

    def _run(self, place: int) -> tuple[Outcome, float]:
        """Run a test; return its outcome and its CPU seconds."""
        test = self.tests[place]
        if isinstance(test, AnswerTest):
            return test.judge(self.program), 0.0
        if isinstance(test, StdioTest):
            return self._run_script(test)
        if self.broken is not None:
            return self.broken, 0.0
        ahead = [] if self.stop else _literal_calls(self.tests, place)
        self.broken = self._load([test.packed, *ahead] if isinstance(test, CallTest) else [])
        if self.broken is not None or self.refused:
            return self.broken or ("not_run", None), 0.0
        session = self.worker.session
        assert session is not None
        session.begin()
        code = isinstance(test, CodeTest)
        if code:
            self.worker.before_long_work()
        outcome = self._judge(lambda: test.run(session, self.worker.compare, ahead), session, place)
        if code and outcome[0] in CONFIRMED:
            self.first[place] = outcome
        return outcome, self._after(session, outcome)

    def _judge(self, step: Any, session: Session, place: int) -> Outcome:
        """Take a step on the trusted side, under its alarm; return the outcome, whatever a test's code made of it."""
        journal, alarm = self.worker.journal, self.worker.alarm
        outcome: Outcome
        try:
            journal.enter(place, self.limits)
            alarm.start(session)
            outcome = step()
        except ChildLost as lost:
            outcome = _lost(lost)
        except TrustedTimeout:
            outcome = "timeout", TOO_LONG
        except HarnessFault as fault:
            outcome = "infrastructure", str(fault)
        finally:
            alarm.stop()
            journal.leave()
        if session.lost is not None:
            return _lost(session.lost)
        if alarm.went_off:
            self.worker.renew_server()  # in the middle of what, nobody knows
            self.loaded = False
            return "timeout", TOO_LONG
        if session.fault is not None:
            outcome, session.fault = ("infrastructure", str(session.fault)), None
        return outcome

    def _after(self, session: Session, outcome: Outcome) -> float:
        """Return the CPU seconds of a test that was run, and see to the session."""
        used = session.deadline.used()
        if session.lost is not None:
            self.worker.session, self.loaded = None, False
            return self.limits.test_cpu_s if outcome[0] == "timeout" else used
        return used

    def _load(self, ahead: list[str]) -> Outcome | None:
        """See that the program is loaded; return the outcome of all its tests where it cannot be."""
        worker = self.worker
        if self.loaded and worker.session is not None:
            return None
        if worker.session is not None and worker.session.programs and not self.shared:
            worker.end_session()
        if worker.session is None:
            worker.session = Session(worker.server, self.limits)
        session = worker.session
        try:
            self.refused = not session.load(self.program, ahead, self.shared)
            self.loaded = True
        except ChildLost as lost:
            worker.session = None
            status, detail = _lost(lost)
            return status, f"while the program was loaded: {detail}"
        except BaseException as error:
            if isinstance(error, ZygoteLost):
                raise
            worker.end_session()
            return explain(error, session)
        return None

    def _run_script(self, test: StdioTest) -> tuple[Outcome, float]:
        self.worker.before_long_work()
        status, output, detail, used = run_script(self.worker.server, self.program, test.stdin, self.limits)
        if status is not None:
            return (_lost(ChildLost(status, detail or "")) if status == "busy" else (status, detail)), used
        if outputs_match(output, test.stdout, self.worker.compare):
            return ("pass", None), used
        return ("fail", "wrong output"), used

    # ---- confirmation

    def _confirmed(self) -> Iterator[Result]:
        """Yield the results of code tests of which a run where the program is says otherwise."""
        self.worker.before_long_work()
        for _ in range(2):
            try:
                if not self._is_confirmed():
                    yield from self._second_run()
                return
            except ZygoteLost:
                self.worker.renew_server()
                self.loaded = False

    def _is_confirmed(self) -> bool:
        """Whether, in the process that is there, what passed passes and what failed fails.

        A failure here settles nothing for tests that met more than data and functions: they are to be looked at again.
        """
        session = self.worker.session
        if not self.loaded or session is None:
            return False
        if session.odd and any(outcome[0] != "pass" for outcome in self.first.values()):
            return False
        for place in [-1, *self.first]:
            passed = self._natively(session, place)[0] == "pass"
            if passed != (place < 0 or self.first[place][0] == "pass"):
                return False
        return True

    def _second_run(self) -> Iterator[Result]:
        """Run all tests natively in a process of their own; yield the results that this changes."""
        worker = self.worker
        worker.end_session()
        session = worker.session = Session(worker.server, self.limits)
        failed = any(outcome[0] != "pass" for outcome in self.first.values())
        guileless = failed and self._is_guileless(session)
        self.loaded, shared, self.shared = False, self.shared, False
        broken = self._load([])
        self.shared = shared
        stopped = False
        for place in [-1, *range(len(self.tests))]:
            start = time.monotonic()
            current = worker.session
            if broken is None and (current is None or current.lost is not None):
                broken = "not_run", "an earlier test ended the process"
            outcome = broken or self._natively(current, place)
            first = self.first.get(place)
            other = first is not None and (
                (outcome[0] == "pass") != (first[0] == "pass") or first[0] == "infrastructure"
            )
            if other and outcome[0] != "not_run":
                if outcome[0] != "pass" or guileless:
                    yield place, outcome[0], time.monotonic() - start, outcome[1]
                    stopped = self.stop and outcome[0] != "pass"
            elif stopped and place >= 0:
                yield place, "not_run", 0.0, "an earlier test was not passed"
        worker.end_session()

    def _is_guileless(self, session: Session) -> bool:
        """Whether the program, by its code, cannot make a test pass that fails; ``session`` has run nothing yet."""
        try:
            return session.why_sly(self.program) is None
        except ChildLost:
            self.worker.session = None
        except BaseException as error:
            explain(error, session)
        return False

    def _natively(self, session: Session, place: int) -> Outcome:
        """Run a test, or what stands before all (-1), in the program's own names; return the outcome."""
        if place < 0:
            test: Test = self.tests[next(iter(self.first))]
            native = test.native_setup if isinstance(test, CodeTest) else None
        else:
            test = self.tests[place]
            native = test.native if isinstance(test, CodeTest | CallTest) else None
        if native is None:
            return "pass", None
        entry_point = next(test.candidate for test in self.tests if isinstance(test, CodeTest))
        session.begin(CONFIRM_FACTOR)
        try:
            session.test(native, entry_point)
        except ChildLost as lost:
            self.worker.session, self.loaded = None, False
            return _lost(lost)
        except BaseException as error:
            if session.raised is error and isinstance(error, AssertionError):
                return "fail", session.told
            return explain(error, session)
        return "pass", None


def _lost(lost: ChildLost) -> Outcome:
    """Return the outcome for a process that is lost; ``infrastructure`` where the machine was too busy to say."""
    return ("infrastructure" if lost.status == "busy" else lost.status), lost.detail


class Alarm:
    """What ends the code of a test that does not come to an end: after so much CPU time, or so long a wait."""

    def __init__(self, limits: Limits, journal: Journal) -> None:
        self.limits, self.journal = limits, journal
        self.armed = self.went_off = False
        self.session: Session | None = None
        self.start_s = self.waited = 0.0
        signal.signal(signal.SIGALRM, self._on_wall)
        signal.signal(signal.SIGPROF, self._on_cpu)

    def start(self, session: Session) -> None:
        """Start the clocks."""
        self.session, self.armed, self.went_off = session, True, False
        self.start_s = time.monotonic()
        self.waited = 0.0
        signal.setitimer(signal.ITIMER_PROF, self.limits.trusted_s, 0.1)
        signal.setitimer(signal.ITIMER_REAL, self._wall_s(), 0.1)

    def stop(self) -> None:
        """Stop them."""
        self.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _wall_s(self) -> float:
        return self.limits.test_wall_s + backstop(self.limits.trusted_s)

    def _on_cpu(self, number: int, frame: FrameType | None) -> None:
        if self.armed:
            self._go_off()

    def _go_off(self) -> None:
        self.went_off = True
        self.journal.hurry()  # should the code of the test catch this and go on
        raise TrustedTimeout

    def _on_wall(self, number: int, frame: FrameType | None) -> None:
        if not self.armed:
            return
        with contextlib.suppress(OSError, ValueError, IndexError):  # not counted: waiting for a core, here or there
            waited = run_delay("/proc/self/schedstat")
            self.waited = self.waited or waited
            session = self.session
            busy = waited - self.waited + (session.deadline.stretch() if session is not None else 0.0)
            if time.monotonic() - self.start_s < self._wall_s() + busy:
                return
        self._go_off()


def _literal_calls(tests: list[Test], place: int) -> list[str]:
    """Return the calls of the tests after this one, up to the first that is no literal call."""
    calls: list[str] = []
    for test in tests[place + 1 :]:
        if not isinstance(test, CallTest):
            break
        calls.append(test.packed)
    return calls
