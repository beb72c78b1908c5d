"""One worker of the pool: the trusted side of testing, with a zygote of its own for the programs.

It takes jobs from the pool one at a time and sends each test's result as soon as it is known. Its code never runs a
program, only the code of tests, under an alarm; should that not be enough, the pool ends the whole worker.
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

from pper_jax.execution import wire
from pper_jax.execution.checks import AnswerTest, CallTest, CodeTest, Outcome, StdioTest, plan
from pper_jax.execution.compare import outputs_match
from pper_jax.execution.session import ChildLost, ForkServer, Session, ZygoteLost, limit_own_memory, run_script

Result = tuple[str, float, str | None]
MESSAGE_LIMIT = 1 << 30


class TrustedTimeout(BaseException):
    """The trusted side itself took too long over an answer."""


def main() -> None:
    """Serve the socket whose descriptor is the first argument, with the options in the second."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    worker = Worker(options["limits"], options["compare"], options["lifeline"])
    limit_own_memory(options["limits"]["memory_mb"] + 3072)
    with contextlib.suppress(OSError):  # the pool went away
        wire.write_message(sock.fileno(), {"ready": worker.server.isolation})
        while (job := wire.read_message(sock.fileno(), MESSAGE_LIMIT)) is not None:
            for status, seconds, detail in worker.run(job):
                wire.write_message(sock.fileno(), {"test": [status, seconds, detail]})
            wire.write_message(sock.fileno(), {"done": True})
    worker.server.close()


class Worker:
    """Runs jobs against one zygote, which it replaces when it dies."""

    def __init__(self, limits: Mapping[str, float], compare: str, lifeline: int) -> None:
        self.limits, self.compare, self.lifeline = limits, compare, lifeline
        self.server = self._new_server()
        self.session: Session | None = None
        signal.signal(signal.SIGALRM, _on_alarm)

    def run(self, job: Mapping[str, Any]) -> Iterator[Result]:
        """Yield ``(status, seconds, detail)`` of each test of a job."""
        try:
            tests = plan(wire.decode(job["tests"]), job["entry_point"])
        except (SyntaxError, ValueError, RecursionError) as error:
            detail = f"the tests are no Python: {type(error).__name__}: {error}"
            yield from [("infrastructure", 0.0, detail)] * job["count"]
            return
        end = time.monotonic() + self.limits["program_timeout_s"]
        broken: Outcome | None = None
        try:
            for test in tests:
                start = time.monotonic()
                if start > end:
                    outcome: Outcome = ("not_run", "the program's time was over")
                elif isinstance(test, AnswerTest):
                    outcome = test.judge(job["program"])
                elif isinstance(test, StdioTest):
                    outcome = self._twice(self._run_script, job["program"], test)
                else:
                    broken = broken or self._twice(self._load, job["program"])
                    outcome = broken or self._twice(self._run_call, job["program"], test)
                yield outcome[0], time.monotonic() - start, outcome[1]
        finally:
            self._end_session()

    def _twice(self, step: Any, *arguments: Any) -> Any:
        """Run a step, and once more with a new zygote if the first died under it."""
        for _ in range(2):
            try:
                return step(*arguments)
            except ZygoteLost:
                self.session = None
                self.server.close()
                self.server = self._new_server()
        if "pid" in self.server.isolation:
            return "infrastructure", "the process that starts programs died twice"
        return "crash", "the program killed the process that started it"

    def _load(self, program: str) -> Outcome | None:
        """See that there is a session; return the outcome of all further tests where the program cannot be loaded."""
        if self.session is not None:
            return None
        session = Session(self.server, program, self.limits)
        try:
            session.load()
        except ChildLost as lost:
            return lost.status, f"while the program was loaded: {lost.detail}"
        except Exception as error:
            session.end()
            return ("memory" if isinstance(error, MemoryError) else "error"), str(error)
        self.session = session
        return None

    def _run_call(self, program: str, test: CallTest | CodeTest) -> Outcome:
        broken = self._load(program)  # again, only where a zygote died between loading and this test
        if broken is not None or self.session is None:
            return broken or ("infrastructure", "no process to run the program")
        session = self.session
        session.begin(self.limits["timeout_s"])
        try:
            signal.setitimer(signal.ITIMER_REAL, self.limits["timeout_s"] + self.limits["trusted_s"])
            outcome = test.run(session, self.compare)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except ChildLost as lost:
            outcome = lost.status, lost.detail
        except TrustedTimeout:
            outcome = "timeout", "checking the answer took too long"
            self._end_session()
        except (RecursionError, MemoryError) as error:
            outcome = "error", f"{type(error).__name__} while the answer was checked"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if session.lost is not None:  # whatever the code of the test made of it
            outcome = session.lost.status, session.lost.detail
            self.session = None
        return outcome

    def _run_script(self, program: str, test: StdioTest) -> Outcome:
        status, printed, detail = run_script(self.server, program, test.stdin, self.limits)
        if status is not None:
            return status, detail
        if outputs_match(printed, test.stdout, self.compare):
            return "pass", None
        return "fail", "wrong output"

    def _end_session(self) -> None:
        if self.session is not None:
            try:
                self.session.end()
            except ZygoteLost:
                self.server.close()
                self.server = self._new_server()
            self.session = None

    def _new_server(self) -> ForkServer:
        return ForkServer(json.dumps(dict(self.limits)), self.lifeline)


def _on_alarm(number: int, frame: FrameType | None) -> None:
    raise TrustedTimeout
