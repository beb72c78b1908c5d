"""The watchman of a worker: a process that starts the judge, and another after one that ended over a test."""

from __future__ import annotations

import mmap
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import NoReturn

from pper_jax.execution import sandbox
from pper_jax.execution.limits import Limits

SIZE = Struct("=qq")  # bytes of the job, and which job it is
TEST = Struct("=qddd")  # place of the test under way or -1, its start, its CPU and wall-clock ends
PLACE = Struct("=q")
LOOK_S = 0.5
GRACE_S = 1.0  # beyond the judge's own alarm
FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)


@dataclass(frozen=True)
class Blame:
    """What a judge ended over: the job, the place of the test, and the result that it gets."""

    job: int
    place: int
    status: str
    seconds: float
    detail: str


class Journal:
    """What the judge writes down for the watchman: the job in hand, and the test whose code runs at the moment."""

    def __init__(self, limits: Limits) -> None:
        self.obey(limits)
        self.page = mmap.mmap(-1, mmap.PAGESIZE)
        self.file = os.memfd_create("job")
        self.leave()

    def obey(self, limits: Limits) -> None:
        """Go by these limits from now on."""
        self.cpu_s, self.wall_s = limits.trusted_s + GRACE_S, limits.silence_s + GRACE_S

    def begin(self, job: bytes) -> None:
        """Note a job."""
        os.ftruncate(self.file, 0)
        view, written = memoryview(job), 0
        while written < len(job):
            written += os.pwrite(self.file, view[written:], written)
        SIZE.pack_into(self.page, 0, len(job), SIZE.unpack_from(self.page)[1] + 1)
        self.leave()

    def enter(self, place: int) -> None:
        """Note the test whose code is to run now, and until when."""
        now = time.monotonic()
        TEST.pack_into(self.page, SIZE.size, place, now, time.process_time() + self.cpu_s, now + self.wall_s)

    def hurry(self) -> None:
        """Note that the test under way has to end now."""
        place, start, cpu_end, wall_end = TEST.unpack_from(self.page, SIZE.size)
        TEST.pack_into(self.page, SIZE.size, place, start, cpu_end, min(wall_end, time.monotonic() + GRACE_S))

    def leave(self) -> None:
        """Note that no test's code runs."""
        PLACE.pack_into(self.page, SIZE.size, -1)

    def job(self) -> bytes:
        """Return the job in hand."""
        size, _ = SIZE.unpack_from(self.page)
        parts: list[bytes] = []
        while sum(map(len, parts)) < size:
            parts.append(os.pread(self.file, size, sum(map(len, parts))))
        return b"".join(parts)

    def late(self, clock: int) -> bool:
        """Whether the test under way has outlasted the judge's own alarm; ``clock``: of the judge's CPU time."""
        place, _, cpu_end, wall_end = TEST.unpack_from(self.page, SIZE.size)
        if place < 0:
            return False
        try:
            return time.clock_gettime(clock) > cpu_end or time.monotonic() > wall_end
        except OSError:
            return False

    def blame(self, status: str, detail: str) -> Blame | None:
        """Return the test under way with this result, None if there was none."""
        place, start, _, _ = TEST.unpack_from(self.page, SIZE.size)
        job = SIZE.unpack_from(self.page)[1]
        return None if place < 0 else Blame(job, place, status, time.monotonic() - start, detail)


def watch(judge: Callable[[Journal, list[Blame]], None], limits: Limits) -> NoReturn:
    """Run the judge in a process of its own, again and again as long as it ends over tests; end as it does."""
    journal = Journal(limits)
    blames: list[Blame] = []  # of the job in hand
    while True:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_judge(parent, judge, journal, blames)
        ended, late = _wait(pid, journal)
        number = os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0
        if late:
            blame = journal.blame("timeout", "checking the answer took too long")
        elif number in FAULTS:
            blame = journal.blame("error", f"checking the answer ended in {signal.Signals(number).name}")
        else:
            blame = None
        if blame is None:
            sys.exit(os.waitstatus_to_exitcode(ended) if number == 0 else 1)
        blames = [one for one in blames if one.job == blame.job] + [blame]
        journal.leave()


def _be_judge(
    parent: int, judge: Callable[[Journal, list[Blame]], None], journal: Journal, blames: list[Blame]
) -> NoReturn:
    try:
        sandbox.follow_parent(parent)
        judge(journal, blames)
        sys.stderr.flush()
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(1)


def _wait(pid: int, journal: Journal) -> tuple[int, bool]:
    """Wait for the judge's end; return its status, and whether it had to be ended over a test."""
    end = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(end, select.POLLIN)
    late = False
    try:
        while not poll.poll(1000 * LOOK_S):
            if journal.late((~pid << 3) | 2):
                late = True
                os.kill(pid, signal.SIGKILL)
    finally:
        os.close(end)
    return os.waitpid(pid, 0)[1], late
