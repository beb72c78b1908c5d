"""One worker of the pool: the trusted side of testing, with a zygote of its own for the programs.

A worker is two processes. The watchman does nothing but wait for the judge, which takes jobs from the pool one at a
time and sends each test's result. The judge's code never runs a program, only the code of tests, under an alarm. Where
that is not enough (one endless call of C code, a crash of the interpreter), the judge ends and the watchman starts
another, which judges the program again, but for the test that it ended in. A job says how it is to be run::

    {"program": source, "tests": object, "entry_point": name or None, "count": how many tests,
     "isolation": "program" (a child of its own, the default) | "batch" (up to 24 programs share one),
     "stop": "all" (the default) | "first_failure" (tests after one that is not passed are not run),
     "limits": those that hold for it, "compare": the rule that does (the worker's where they are left out)}

A result is ``{"test": [place, status, seconds, detail]}``; a later one for the same place takes the place of the first.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pper_jax.execution import sandbox, values, wire
from pper_jax.execution.alarm import Alarm
from pper_jax.execution.checks import CallTest, Test, plan
from pper_jax.execution.limits import Limits
from pper_jax.execution.server import ForkServer, ZygoteLost
from pper_jax.execution.session import Session, limit_own_memory
from pper_jax.execution.trial import Result, Trial
from pper_jax.execution.watch import Blame, Journal, watch

MESSAGE_LIMIT = 1 << 30
PLANS_KEPT = 256
BATCH_SIZE = 24


def main() -> None:
    """Serve the socket whose descriptor is the first argument, with the options in the second."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    sandbox.hide()
    watch(lambda journal, blames: judge(sock, options, journal, blames), Limits(**options["limits"]))


def judge(sock: socket.socket, options: Mapping[str, Any], journal: Journal, blames: list[Blame]) -> None:
    """Serve the socket; ``blames``: first the job again that judges before this one ended in, but for those tests."""
    limits = Limits(**options["limits"])
    worker = Worker(limits, options["compare"], options["lifeline"], journal)
    limit_own_memory(limits.memory_mb + 3072)
    with contextlib.suppress(OSError):  # the pool went away
        wire.write_message(sock.fileno(), {"ready": worker.server.isolation})
        if blames:
            serve(worker, wire.unpack(journal.job()), sock, blames)
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


def serve(worker: Worker, job: Mapping[str, Any], sock: socket.socket, blames: Sequence[Blame] = ()) -> None:
    """Run a job and send its results: those of quick tests together, but all before anything that may take long."""
    waiting: list[bytes] = []

    def flush() -> None:
        if waiting:
            sock.sendall(b"".join(waiting))
            waiting.clear()

    worker.before_long_work = flush
    for place, status, seconds, detail in worker.run(job, blames):
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

    def run(self, job: Mapping[str, Any], blames: Sequence[Blame] = ()) -> Iterator[Result]:
        """Yield the result of each test of a job, and of some once more."""
        self._obey(job)
        try:
            tests = self._plan(job)
        except (SyntaxError, ValueError, RecursionError) as error:
            detail = f"the tests are no Python: {type(error).__name__}: {error}"
            yield from ((place, "infrastructure", 0.0, detail) for place in range(job["count"]))
            return
        if "numpy" in job["program"]:  # its values may come: better to load what reads them before a clock runs
            with contextlib.suppress(ImportError):
                importlib.import_module("numpy")
        # A program that is confirmed knows the tests then, so that its process could not serve another.
        batch = job.get("isolation") == "batch" and all(isinstance(test, CallTest) for test in tests)
        if batch and not blames and self.session is not None and self.session.idle:
            results = self._run_shared(job, tests)
            if results is not None:
                yield from results
                return
        self.end_session()
        try:
            yield from Trial(self, job, tests, shared=batch and not blames, blames=blames).results()
        finally:
            if not batch or self.session is None or not self.session.idle:
                self.end_session()

    def _obey(self, job: Mapping[str, Any]) -> None:
        """Take the limits and the rule that hold for a job; the zygote is another one where its memory differs."""
        self.compare = job.get("compare", self.compare)
        limits = Limits(**job["limits"]) if "limits" in job else self.limits
        if limits == self.limits:
            return
        self.end_session()
        before, self.limits = self.limits, limits
        self.alarm.obey(limits)
        self.journal.obey(limits)
        if limits.memory_mb != before.memory_mb:
            self.renew_server()

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
