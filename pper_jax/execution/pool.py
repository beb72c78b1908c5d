"""The pool: worker processes that test programs, and the one loop that feeds them.

The calling process never forks and starts no thread: workers are exec'ed, and this loop waits on their sockets. Each
worker owns a zygote that forks one sandboxed child a program. A worker that dies is replaced and its job run once more;
after a second death its tests are ``infrastructure``. A worker that falls silent is replaced too, at the cost of the
test that it is stuck in.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any

from pper_jax.errors import RunFailure, UserError
from pper_jax.execution import wire
from pper_jax.execution.compare import COMPARE_MODES
from pper_jax.execution.limits import Limits, require_positive
from pper_jax.execution.spawn import spawn
from pper_jax.execution.verdict import Job, TestResult, Verdict, count_tests, validate_job

START_SECONDS = 60.0
SILENCE_SECONDS = 10.0
SEND_SECONDS = 30.0
MESSAGE_LIMIT = 1 << 28


class WorkerLost(Exception):
    """A worker process died or cannot be understood."""


class _Worker:
    """The pool's end of one worker process, and the job it has in hand."""

    def __init__(self, limits: Limits, compare: str, lifeline: int) -> None:
        self.limits = limits
        self.sock, theirs = socket.socketpair()
        options = json.dumps({"limits": asdict(limits), "compare": compare, "lifeline": lifeline})
        self.process: subprocess.Popen[bytes] = spawn(
            "worker", [str(theirs.fileno()), options], [theirs.fileno(), lifeline]
        )
        theirs.close()
        self.buffer = bytearray()
        self.isolation: tuple[str, ...] | None = None
        self.index: int | None = None
        self.results: list[TestResult] = []
        self.silent_until = time.monotonic() + START_SECONDS

    def give(self, index: int, job: Job) -> None:
        """Send a job; raise WorkerLost."""
        message = {
            "program": job.program,
            "tests": _encode_tests(job),
            "entry_point": job.entry_point,
            "count": count_tests(job.tests),
        }
        self.index, self.results = index, []
        self._expect_word()
        try:
            self.sock.settimeout(SEND_SECONDS)
            self.sock.sendall(wire.pack(message))
        except OSError:
            raise WorkerLost from None

    def receive(self) -> bool:
        """Take in what the worker sent; return whether its job is done. Raises WorkerLost."""
        try:
            data = self.sock.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            raise WorkerLost
        self.buffer += data
        self._expect_word()
        done = False
        for message in self._messages():
            done = self._take(message) or done
        return done

    def _messages(self) -> Iterator[Any]:
        while len(self.buffer) >= wire.HEADER.size:
            (size,) = wire.HEADER.unpack_from(self.buffer)
            end = wire.HEADER.size + size
            if size > MESSAGE_LIMIT:
                raise WorkerLost
            if len(self.buffer) < end:
                return
            message = wire.unpack(self.buffer[wire.HEADER.size : end])
            del self.buffer[:end]
            yield message

    def _take(self, message: dict[str, Any]) -> bool:
        if "ready" in message:
            self.isolation = tuple(message["ready"])
        elif "test" in message:
            self.results.append(TestResult(*message["test"]))
        return "done" in message

    def _expect_word(self) -> None:
        """A worker that works says something within the time of loading a program twice, a test, and its own work."""
        limits = self.limits
        start = START_SECONDS if self.isolation is None else 0.0
        self.silent_until = time.monotonic() + limits.silence_s + SILENCE_SECONDS + start

    def ask_to_end(self) -> None:
        """Close the socket, on which the worker ends its zygote and itself."""
        self.sock.close()

    def end(self, seconds: float = 0.0) -> None:
        """Wait so long for the worker to end, then kill it."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.process.kill()
        self.process.wait()


class TestPool:
    """Tests programs in sandboxed processes; use it as a context manager.

    workers: how many programs are tested at a time. compare: ``"strict"`` or ``"official"`` (see ``compare``).
    A hanging, crashing, flooding or hostile program costs its own verdict only. When the pool closes, by an exception
    or Ctrl-C too, no process of it is left. Raises UserError for wrong options.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    def __init__(self, workers: int = 2, limits: Limits | None = None, compare: str = "strict") -> None:
        require_positive("workers", workers, whole=True)
        if compare not in COMPARE_MODES:
            raise UserError(f"compare is {compare!r}, but it must be one of {', '.join(COMPARE_MODES)}.")
        self.limits = Limits() if limits is None else limits
        self.compare = compare
        self._wanted = workers
        self._workers: list[_Worker] = []
        self._lifeline: tuple[int, int] | None = None

    def __enter__(self) -> TestPool:
        self._lifeline = os.pipe()
        try:
            for _ in range(self._wanted):
                self._start_worker()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def walls(self) -> tuple[str, ...] | None:
        """The walls that stand around programs here (see ``sandbox``); None before a worker has said so."""
        return next((worker.isolation for worker in self._workers if worker.isolation is not None), None)

    def run(self, jobs: Sequence[Job], progress: Callable[[int, int], None] | None = None) -> list[Verdict]:
        """Return the verdicts on jobs, in their order; ``progress(finished, total)`` is called after each."""
        jobs = list(jobs)
        verdicts: dict[int, Verdict] = {}
        for index, verdict in self.as_completed(jobs):
            verdicts[index] = verdict
            if progress is not None:
                progress(len(verdicts), len(jobs))
        return [verdicts[index] for index in range(len(jobs))]

    def as_completed(self, jobs: Iterable[Job]) -> Iterator[tuple[int, Verdict]]:
        """Yield ``(index of the job, verdict)`` as programs finish.

        Raises UserError for a job that is not well formed, before any is run. Leaving the iteration early ends what is
        still under way.
        """
        jobs = list(jobs)
        for index, job in enumerate(jobs):
            validate_job(job, f"job {index}")
        if self._lifeline is None:
            raise RunFailure("The pool is closed: use it inside its `with` block.")
        waiting = deque(range(len(jobs)))
        deaths = dict.fromkeys(waiting, 0)
        try:
            while waiting or any(worker.index is not None for worker in self._workers):
                yield from self._step(jobs, waiting, deaths)
        finally:
            for worker in [worker for worker in self._workers if worker.index is not None]:
                self._replace(worker)

    def _step(self, jobs: list[Job], waiting: deque[int], deaths: dict[int, int]) -> Iterator[tuple[int, Verdict]]:
        """Hand out work, wait for news, and yield what is finished."""
        for worker in self._workers:
            if worker.index is None and waiting:
                index = waiting.popleft()
                try:
                    worker.give(index, jobs[index])
                except WorkerLost:
                    yield from self._bury(worker, jobs, waiting, deaths)
                    return
        for worker in self._news():
            try:
                done = worker.receive()
            except (WorkerLost, wire.Malformed):
                yield from self._bury(worker, jobs, waiting, deaths)
                continue
            if done and worker.index is not None:
                finished, worker.index = worker.index, None
                yield finished, Verdict(tuple(worker.results))
        yield from self._end_silent(jobs)

    def _news(self) -> list[_Worker]:
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.sock, selectors.EVENT_READ, worker)
            return [key.data for key, _ in selector.select(1.0)]

    def _end_silent(self, jobs: list[Job]) -> Iterator[tuple[int, Verdict]]:
        """End workers stuck in the code of a test (one long C call); that test is a timeout, the rest is not run."""
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.index is None or now < worker.silent_until:
                continue
            index = worker.index
            total = count_tests(jobs[index].tests)
            stuck = TestResult("timeout", self.limits.timeout_s, "checking the answer took too long")
            rest = TestResult("not_run", 0.0, "an earlier test hung")
            results = [*worker.results, stuck, *[rest] * total][:total]
            self._replace(worker)
            yield index, Verdict(tuple(results))

    def _bury(
        self, worker: _Worker, jobs: list[Job], waiting: deque[int], deaths: dict[int, int]
    ) -> Iterator[tuple[int, Verdict]]:
        """Replace a dead worker; run its job again, or give it up after the second death."""
        if worker.isolation is None:
            code = worker.process.poll()
            raise RunFailure(f"A test worker ended while it started (exit status {code}); its message is on stderr.")
        index, results = worker.index, worker.results
        self._replace(worker)
        if index is None:
            return
        deaths[index] += 1
        if deaths[index] < 2:
            waiting.appendleft(index)
            return
        lost = TestResult("infrastructure", 0.0, "the worker process died twice")
        total = count_tests(jobs[index].tests)
        yield index, Verdict(tuple([*results, *[lost] * total][:total]))

    def _start_worker(self) -> _Worker:
        assert self._lifeline is not None
        worker = _Worker(self.limits, self.compare, self._lifeline[1])
        self._workers.append(worker)
        return worker

    def _replace(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()
        self._start_worker()

    def close(self) -> None:
        """End all processes of the pool and wait until they are gone."""
        if self._lifeline is None:
            return
        reader, writer = self._lifeline
        self._lifeline = None
        for worker in self._workers:
            worker.ask_to_end()
        for worker in self._workers:
            worker.end(0.0 if worker.index is not None else 2.0)
        self._workers.clear()
        os.close(writer)
        select.select([reader], [], [], 5.0)  # the end of this pipe is the end of the last zygote
        os.close(reader)


def _encode_tests(job: Job) -> Any:
    try:
        return wire.encode(_plain(job.tests))
    except wire.NotPlain as error:
        raise UserError(f"the tests hold {error}: use numbers, text, lists and objects.") from None


def _plain(tests: Any) -> dict[str, Any]:
    return {key: tests[key] for key in tests}
