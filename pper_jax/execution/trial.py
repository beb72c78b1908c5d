"""One program's tests, one after the other, and their confirmation.

**Confirmation.** Stand-ins cannot show everything. So once all tests of a program are judged, the code of its tests
runs once more, within the program's process, in its own names, as the interpreter would run both in one file: first in
the process that is there; where that says otherwise, which may be the fault of what the first run left, all tests in a
new one. What fails there has failed. What passes there, and failed here, has passed if the program cannot deceive (see
``tame``: by its code it has no means to); else the trusted side's word stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pper_jax.execution.alarm import Alarm
from pper_jax.execution.checks import (
    AnswerTest,
    CallTest,
    CodeTest,
    Outcome,
    StdioTest,
    Test,
    TrustedTimeout,
    explain,
)
from pper_jax.execution.compare import outputs_match
from pper_jax.execution.limits import Limits, backstop
from pper_jax.execution.scripts import run_script
from pper_jax.execution.server import ChildLost, ForkServer, ZygoteLost
from pper_jax.execution.session import HarnessFault, Session
from pper_jax.execution.watch import Blame, Journal

Result = tuple[int, str, float, str | None]  # place, status, seconds, detail
CONFIRMED = ("pass", "fail", "error", "infrastructure")
CONFIRM_FACTOR = 2.0  # how many times a test's limit its confirmation may take
TOO_LONG = "checking the answer took too long"


class Owner(Protocol):
    """What a trial asks of its worker."""

    limits: Limits
    compare: str
    server: ForkServer
    session: Session | None
    alarm: Alarm
    journal: Journal
    before_long_work: Any

    def end_session(self) -> None:
        """End the child that is there."""

    def renew_server(self) -> None:
        """Take a new zygote."""


class Trial:
    """One program's tests."""

    def __init__(
        self,
        worker: Owner,
        job: Mapping[str, Any],
        tests: list[Test],
        shared: bool = False,
        blames: Sequence[Blame] = (),
    ) -> None:
        self.worker, self.limits, self.program, self.tests, self.shared = (
            worker,
            worker.limits,
            job["program"],
            tests,
            shared,
        )
        self.blames = {blame.place: blame for blame in blames}  # tests that end the judge: not to be tried again
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
        for place in range(len(self.tests)):
            start = time.monotonic()
            blame = self.blames.get(place)
            if blame is not None and over is None:
                yield place, blame.status, blame.seconds, blame.detail
                over = "an earlier test was not passed" if self.stop else None
                continue
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
            return test.judge(self.program, self.worker.compare), 0.0
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

    def _judge(self, step: Callable[[], Outcome], session: Session, place: int) -> Outcome:
        """Take a step on the trusted side, under its alarm; return the outcome, whatever a test's code made of it."""
        journal, alarm = self.worker.journal, self.worker.alarm
        outcome: Outcome
        try:
            journal.enter(place)
            outcome = alarm.over(step, session)
        except ChildLost as lost:
            outcome = _lost(lost)
        except TrustedTimeout:
            outcome = "timeout", TOO_LONG
        except HarnessFault as fault:
            outcome = "infrastructure", str(fault)
        finally:
            journal.leave()
        if alarm.went_off:
            self.worker.renew_server()  # in the middle of what, nobody knows
            self.loaded = False
            return "timeout", TOO_LONG
        if session.lost is not None:
            return _lost(session.lost)
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
        for place in [-1, *(place for place in range(len(self.tests)) if place not in self.blames)]:
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


def _literal_calls(tests: list[Test], place: int) -> list[str]:
    """Return the calls of the tests after this one, up to the first that is no literal call."""
    calls: list[str] = []
    for test in tests[place + 1 :]:
        if not isinstance(test, CallTest):
            break
        calls.append(test.packed)
    return calls
