"""The trusted side's own clock over the code of a test."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from types import CodeType, FrameType

from pper_jax.execution.checks import Outcome, TrustedTimeout
from pper_jax.execution.limits import Limits, backstop
from pper_jax.execution.server import run_delay
from pper_jax.execution.session import Session
from pper_jax.execution.watch import Journal


class Alarm:
    """What ends the code of a test that does not come to an end: after so much CPU time, or so long a wait.

    It rings again and again, for the code may catch what it raises, but within that code alone.
    """

    def __init__(self, limits: Limits, journal: Journal) -> None:
        self.journal = journal
        self.obey(limits)
        self.went_off = False
        self.own = (self._on_cpu.__code__, self._on_wall.__code__)
        self.guarded: CodeType | None = None  # of the step that the clocks run for
        self.session: Session | None = None
        self.start_s = self.waited = 0.0
        signal.signal(signal.SIGALRM, self._on_wall)
        signal.signal(signal.SIGPROF, self._on_cpu)

    def obey(self, limits: Limits) -> None:
        """Go by these limits from now on."""
        self.cpu_s, self.wall_s = limits.trusted_s, limits.test_wall_s + backstop(limits.trusted_s)

    def over(self, step: Callable[[], Outcome], session: Session) -> Outcome:
        """Take a step under the clocks and return its outcome; raise TrustedTimeout in it when they go off."""
        self.session, self.guarded, self.went_off = session, step.__code__, False
        self.start_s = time.monotonic()
        self.waited = 0.0
        try:
            signal.setitimer(signal.ITIMER_PROF, self.cpu_s, 0.1)
            signal.setitimer(signal.ITIMER_REAL, self.wall_s, 0.1)
            return step()
        finally:
            self.guarded = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _rings_within(self, frame: FrameType | None) -> bool:
        """Whether the step itself runs: nobody awaits an exception around it, or in what an earlier ring set off."""
        while frame is not None and self.guarded is not None and frame.f_code not in self.own:
            if frame.f_code is self.guarded:
                return True
            frame = frame.f_back
        return False

    def _on_cpu(self, number: int, frame: FrameType | None) -> None:
        if self._rings_within(frame):
            self._go_off()

    def _on_wall(self, number: int, frame: FrameType | None) -> None:
        if self._rings_within(frame) and not self._is_early():
            self._go_off()

    def _go_off(self) -> None:
        self.went_off |= self.session is None or self.session.lost is None  # what is lost later is so by this
        self.journal.hurry()  # should the code of the test catch this and go on
        raise TrustedTimeout

    def _is_early(self) -> bool:
        """Whether the wall clock's time is not over, for waiting for a core, here or there, does not count."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            waited = run_delay("/proc/self/schedstat")
            self.waited = self.waited or waited
            session = self.session
            busy = waited - self.waited + (session.deadline.stretch() if session is not None else 0.0)
            return time.monotonic() - self.start_s < self.wall_s + busy
        return False
