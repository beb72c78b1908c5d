"""Jobs on their way through a pool: tickets for those who wait, runs for what is executed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Protocol

from pper_jax.errors import RunFailure
from pper_jax.execution import wire
from pper_jax.execution.limits import Limits
from pper_jax.execution.verdict import Job, Verdict, count_tests


class Owner(Protocol):
    """What a ticket asks of its pool."""

    def poll(self, seconds: float = 0.0) -> None:
        """Move on; wait so long for news."""

    def cancel(self, ticket: Ticket) -> bool:
        """Give up a ticket."""


class Ticket:
    """A job handed to a pool. The pool moves on while somebody waits for any of its tickets."""

    def __init__(self, owner: Owner, job: Job) -> None:
        self.job = job
        self.verdict: Verdict | None = None
        self.cancelled = False
        self._owner = owner
        self._callbacks: list[Callable[[], None]] = []

    @property
    def done(self) -> bool:
        """Whether there is a verdict, or the job was cancelled."""
        return self.verdict is not None or self.cancelled

    def result(self) -> Verdict:
        """Wait for the verdict; raise RunFailure where the job was cancelled or the pool closed."""
        while not self.done:
            self._owner.poll(1.0)
        if self.verdict is None:
            raise RunFailure("The job was cancelled before it had a verdict.")
        return self.verdict

    def cancel(self) -> bool:
        """Give the job up, also while it runs; return False where it is done already."""
        return self._owner.cancel(self)

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call back once, now or later."""
        if self.done:
            callback()
        else:
            self._callbacks.append(callback)

    def settle(self, verdict: Verdict | None) -> None:
        """Give the verdict, or None for a cancelled job."""
        self.verdict, self.cancelled = verdict, verdict is None
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


@dataclass(eq=False)
class Run:
    """One execution of a program, for one ticket or for several with the same program and tests."""

    job: Job
    message: bytes  # as it goes to a worker
    limits: Limits  # that hold for it
    key: str | None = None  # None: it is shared with nobody
    tickets: list[Ticket] = field(default_factory=list)
    deaths: int = 0  # of workers that had it in hand
    put_off: bool = False  # until no other is under way: the machine was too busy for it


def packed(job: Job, tests: object, isolation: str, stop: str, limits: Limits, compare: str) -> bytes:
    """The message that hands a job to a worker, with the limits and the comparison that hold for it."""
    return wire.pack(
        {
            "program": job.program,
            "tests": tests,
            "entry_point": job.entry_point,
            "count": count_tests(job.tests),
            "isolation": isolation,
            "stop": stop,
            "limits": asdict(limits),
            "compare": compare,
        }
    )


def next_of(finished: deque[int], tickets: dict[int, Ticket], in_order: bool) -> tuple[int, Ticket] | None:
    """Return the next ticket to be told of, if there is one."""
    if in_order:
        index = next(iter(tickets), None)
        return None if index is None or not tickets[index].done else (index, tickets[index])
    return None if not finished else ((index := finished.popleft()), tickets[index])
