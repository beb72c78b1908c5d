"""The pool: worker processes that test programs, and the one loop that feeds them.

The calling process never forks and starts no thread: workers are exec'ed, and this loop waits on their sockets while
somebody waits for a verdict. Each worker owns a zygote that forks the sandboxed children. A worker that dies is
replaced and its job run again; after a third death its tests are ``infrastructure``. A worker that falls silent counts
as dead. A program that the machine was too busy to judge waits until the others are done, and is tried once more.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pper_jax.errors import RunFailure
from pper_jax.execution.cache import VerdictCache, as_cache, may_be_kept, plain_tests, verdict_key
from pper_jax.execution.compare import COMPARE_MODES
from pper_jax.execution.isolation import look_at
from pper_jax.execution.limits import Limits, require_choice, require_positive
from pper_jax.execution.link import AHEAD_BYTES, Link, WorkerLost
from pper_jax.execution.rules import Rules
from pper_jax.execution.said import say_once
from pper_jax.execution.tally import Statistics
from pper_jax.execution.ticket import Run, Ticket, next_of, packed
from pper_jax.execution.verdict import Job, TestResult, Verdict, count_tests, validate_job

ISOLATION_MODES = ("program", "batch")
STOP_RULES = ("all", "first_failure")
DEATHS = 3  # of workers under one job, after which it is given up
FAILED_STARTS = 3  # in a row, after which the pool gives up
BUSY = "the machine was too busy"
BACKLOG = 64  # jobs a worker that may wait


class TestPool:
    """Tests programs in sandboxed processes; use it as a context manager.

    A hanging, crashing, flooding or hostile program costs its own verdict only. When the pool closes, by an exception
    or Ctrl-C too, no process of it is left.

    workers: how many programs are tested at a time.
    limits: what one program may use.
    compare: ``"strict"``, ``"tokens"`` or ``"official"`` (see ``compare``).
    isolation: ``"program"``: each program has a child process of its own. ``"batch"``: tame ones (see
        ``tame``) with ``call`` tests or literal asserts share one, which is faster; what does not pass there is judged
        again alone.
    stop: ``"all"`` runs every test, as pass rates need it; ``"first_failure"`` leaves the rest ``not_run``.
    require_isolation: ``"strong"`` refuses to start where too few layers of isolation stand (see ``isolation``).
    overrule: what a job's own rules and limits do not change: ``"compare"``, ``"seconds"``, ``"memory_mb"``.
    cache: True keeps verdicts in memory (see ``cache``), a path keeps them in that folder too, a VerdictCache may be
        shared by pools; False runs every job.
    backlog: how many jobs may wait; ``submit`` waits for room beyond.
    progress: called with (jobs done, jobs handed in) after each.
    watch: called at least once a second while somebody waits; what it raises ends the wait.
    Raises UserError for wrong options.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    def __init__(
        self,
        workers: int = 2,
        limits: Limits | None = None,
        compare: str = "strict",
        *,
        isolation: str = "program",
        stop: str = "all",
        require_isolation: Literal["strong"] | None = None,
        overrule: Collection[str] = (),
        cache: VerdictCache | str | Path | bool = True,
        backlog: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        require_positive("workers", workers, whole=True)
        require_positive("backlog", 1 if backlog is None else backlog, whole=True)
        require_choice("compare", compare, tuple(COMPARE_MODES))
        require_choice("isolation", isolation, ISOLATION_MODES)
        require_choice("stop", stop, STOP_RULES)
        require_choice("require_isolation", require_isolation, (None, "strong"))
        self.limits = Limits() if limits is None else limits
        self.compare, self.isolation, self.stop = compare, isolation, stop
        self.require_isolation = require_isolation
        self.backlog = BACKLOG * workers if backlog is None else backlog
        self.progress, self.watch = progress, watch
        self.statistics = Statistics()
        self.cache = as_cache(cache)
        self.rules = Rules(self.limits, compare, stop, isolation, overrule)
        self._wanted = workers
        self._workers: list[Any] = []  # Link, or what does the same
        self._waiting: deque[Run] = deque()
        self._shared: dict[str, Run] = {}  # runs that wait or are under way
        self._lifeline: tuple[int, int] | None = None
        self._failed_starts = 0  # in a row
        self._finished = 0

    def expect(self, programs: int) -> None:
        """Say, before the pool is opened, how many programs there will be: more workers than that are not started."""
        self._wanted = max(1, min(self._wanted, programs))

    def __enter__(self) -> TestPool:
        self._lifeline = os.pipe()
        try:
            for _ in range(self._wanted):
                self._start_worker()
            while self.require_isolation is not None and self.walls is None:
                self.poll(1.0)
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
        """The layers of isolation that stand here (see ``isolation``); None before a worker has said so."""
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

    def as_completed(self, jobs: Iterable[Job | Ticket], *, in_order: bool = False) -> Iterator[tuple[int, Verdict]]:
        """Yield ``(place in jobs, verdict)`` as programs finish, or ``in_order``.

        Jobs of a sequence are all looked at before any is run; those of an iterator are taken as there is room for
        them. Tickets of ``submit`` may stand among them; a cancelled one raises RunFailure. Leaving the iteration
        early cancels what it started. Raises UserError for a job that is not well formed.
        """
        if isinstance(jobs, Sequence):
            for index, job in enumerate(jobs):
                if isinstance(job, Job):
                    validate_job(job, f"job {index}")
        self._require_open()
        source = enumerate(jobs)
        tickets: dict[int, Ticket] = {}
        own: set[int] = set()
        finished: deque[int] = deque()
        alike: dict[str, Verdict] = {}  # of this call, where the cache keeps none
        exhausted = False
        try:
            while not exhausted or tickets:
                while not exhausted and len(tickets) < self.backlog:
                    index, job = next(source, (-1, None))
                    if job is None:
                        exhausted = True
                        break
                    ticket = job if isinstance(job, Ticket) else self._submit(job, f"job {index}", alike)
                    tickets[index] = ticket
                    if ticket is not job:
                        own.add(index)
                    ticket.when_done(partial(finished.append, index))
                while next_one := next_of(finished, tickets, in_order):
                    index, ticket = next_one
                    del tickets[index]
                    own.discard(index)
                    yield index, ticket.result()
                if tickets:
                    self.poll(1.0)
        finally:
            for index in own:
                tickets[index].cancel()

    def submit(self, job: Job) -> Ticket:
        """Hand in a job and return its ticket, once there is room among those that wait.

        Raises UserError for a job that is not well formed.
        """
        ticket = self._submit(job, "the job", {})
        while len(self._waiting) > self.backlog:
            self.poll(1.0)
        return ticket

    def poll(self, seconds: float = 0.0) -> None:
        """Hand out work, wait so long for news, and settle the tickets of what is finished."""
        self._require_open()
        if self.watch is not None:
            self.watch()
        self._hand_out()
        for worker in self._news(seconds):
            try:
                for run, results in worker.receive():
                    self._finish(run, Verdict(tuple(results)))
            except WorkerLost:
                self._bury(worker)
                continue
            if worker.isolation is not None and not worker.looked_at:
                worker.looked_at = True
                look_at(worker.isolation, self.require_isolation)
        self._end_silent()
        self._stop_unwanted()
        self._hand_out()

    def cancel(self, ticket: Ticket) -> bool:
        """Give up a ticket; its program is stopped if nobody else waits for it. False where it is done already."""
        if ticket.done:
            return False
        run = next((run for run in self._runs() if ticket in run.tickets), None)
        self.statistics.cancelled += 1
        ticket.settle(None)
        if run is None:  # an exception came between the end of its run and its verdict
            return True
        run.tickets.remove(ticket)
        if not run.tickets:
            self._forget(run)
            if run in self._waiting:
                self._waiting.remove(run)
            self._stop_unwanted()
        return True

    def close(self) -> None:
        """End all processes of the pool and wait until they are gone; what has no verdict yet is cancelled."""
        if self._lifeline is None:
            return
        reader, writer = self._lifeline
        self._lifeline = None
        left = [ticket for run in self._runs() for ticket in run.tickets]
        for worker in self._workers:
            worker.ask_to_end()
        for worker in self._workers:
            worker.end(0.0 if worker.runs else 2.0)
        self._workers.clear()
        self._waiting.clear()
        self._shared.clear()
        os.close(writer)
        select.select([reader], [], [], 5.0)  # the end of this pipe is the end of the last zygote
        os.close(reader)
        for ticket in left:
            self.statistics.cancelled += 1
            ticket.settle(None)

    def _submit(self, job: Job, where: str, alike: dict[str, Verdict]) -> Ticket:
        validate_job(job, where)
        self._require_open()
        tests = plain_tests(job.tests)
        limits, compare, rules = self.rules.of(job)
        key = None if self.cache is None else verdict_key(rules, job, tests)
        ticket = Ticket(self, job)
        self.statistics.jobs += 1
        verdict = None if key is None or self.cache is None else self.cache.get(key) or alike.get(key)
        if verdict is not None:
            self.statistics.from_cache += 1
            self._tell(ticket, verdict)
            return ticket
        run = None if key is None else self._shared.get(key)
        if run is not None:
            run.tickets.append(ticket)
        else:
            message = packed(job, tests, self.isolation, self.stop, limits, compare)
            run = Run(job, message, limits, key, [ticket])
            self._waiting.append(run)
            if key is not None:
                self._shared[key] = run
            self._hand_out()
        if key is not None:
            ticket.when_done(lambda: self._keep_alike(alike, key, ticket))
        return ticket

    def _runs(self) -> list[Run]:
        return [*self._waiting, *(run for worker in self._workers for run in worker.runs)]

    def _hand_out(self) -> None:
        """Give each idle worker a run, and each busy one a second while many wait, so that none waits for this loop."""
        for depth in (1, 2):
            for worker in list(self._workers):
                if depth == 2 and (len(self._waiting) <= 2 * self._wanted or worker.isolation is None):
                    continue
                if not self._waiting or len(worker.runs) >= depth or not worker.ready:
                    continue
                run = self._waiting[0]
                if run.put_off and any(other.runs for other in self._workers):
                    continue
                if worker.runs and len(run.message) + len(worker.runs[0].message) > AHEAD_BYTES:
                    continue
                self._waiting.popleft()
                try:
                    worker.give(run)
                except WorkerLost:
                    self._bury(worker)

    def _news(self, seconds: float) -> list[Any]:
        """Return the workers that have something to say."""
        poll = select.poll()
        by_fd = {worker.sock.fileno(): worker for worker in self._workers}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        return [by_fd[fd] for fd, _ in poll.poll(1000 * seconds)]

    def _finish(self, run: Run, verdict: Verdict) -> None:
        """Settle a run, or put it off until there is room where the machine was too busy for it."""
        busy = any(test.status == "infrastructure" and (test.detail or "").startswith(BUSY) for test in verdict.tests)
        if busy and not run.put_off and run.tickets:
            run.put_off = True
            self._waiting.append(run)
        else:
            self._settle(run, verdict, kept=True)

    def _settle(self, run: Run, verdict: Verdict, *, kept: bool) -> None:
        """Give a verdict to all who wait for it, and keep it for others."""
        self._forget(run)
        self._failed_starts = 0
        if run.tickets:
            self.statistics.executions += 1
            self.statistics.shared += len(run.tickets) - 1
        if verdict.status == "infrastructure":
            self.statistics.infrastructure += 1
            reason = next(test.detail for test in verdict.tests if test.status == "infrastructure")
            say_once(f"a program was not judged, which is no fault of its own: {reason}")
        if kept and run.key is not None and self.cache is not None and may_be_kept(verdict, self.stop):
            self.cache.put(run.key, verdict)
        tickets, run.tickets = run.tickets, []
        for ticket in tickets:
            self._tell(ticket, verdict)

    def _tell(self, ticket: Ticket, verdict: Verdict) -> None:
        self._finished += 1
        ticket.settle(verdict)
        if self.progress is not None:
            self.progress(self._finished, self.statistics.jobs)

    def _forget(self, run: Run) -> None:
        if run.key is not None:
            self._shared.pop(run.key, None)

    def _end_silent(self) -> None:
        """Replace workers that say nothing for longer than the busiest machine could make them."""
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.runs and now >= worker.silent_until:
                self._bury(worker)

    def _bury(self, worker: Any) -> None:
        """Replace a dead worker; run its job again, or give it up after the third death.

        One retry too many costs little; one too few, and two strokes of bad luck would go down as a verdict.
        """
        started = worker.isolation is not None
        self._failed_starts = 0 if started else self._failed_starts + 1
        if self._failed_starts > FAILED_STARTS:
            raise RunFailure(f"Test workers end while they start: {worker.why_it_ended()}.")
        run = worker.runs[0] if worker.runs else None
        self._replace(worker, lost=True)
        if run is None or not run.tickets:
            return
        run.deaths += started  # a worker that never ran it cannot have died of it
        if run.deaths < DEATHS:
            self._waiting.appendleft(run)
            return
        lost = TestResult("infrastructure", 0.0, f"the worker process died {DEATHS} times")
        self._settle(run, Verdict((lost,) * count_tests(run.job.tests)), kept=False)

    def _stop_unwanted(self) -> None:
        """End the workers whose program nobody waits for any more."""
        for worker in list(self._workers):
            if worker.runs and not worker.runs[0].tickets:
                self._replace(worker)

    def _require_open(self) -> None:
        if self._lifeline is None:
            raise RunFailure("The pool is closed: use it inside its `with` block.")

    def _start_worker(self) -> None:
        self._workers.append(self._new_link())

    def _new_link(self) -> Any:
        assert self._lifeline is not None
        return Link(self.limits, self.compare, self._lifeline[1])

    def _replace(self, worker: Any, lost: bool = False) -> None:
        """Start another worker in the place of this one; what it was to run next waits again."""
        self.statistics.workers_lost += lost
        for run in reversed(list(worker.runs)[1:]):
            if run.tickets:
                self._waiting.appendleft(run)
        worker.runs.clear()
        self._workers.remove(worker)
        worker.end()
        self._start_worker()

    def _keep_alike(self, alike: dict[str, Verdict], key: str, ticket: Ticket) -> None:
        if ticket.verdict is not None and not may_be_kept(ticket.verdict, self.stop):
            alike[key] = ticket.verdict
