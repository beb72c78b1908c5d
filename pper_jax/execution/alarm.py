"""The trusted side's own clock over the code of a test."""

from __future__ import annotations

import contextlib
import signal
import time
from types import FrameType

from pper_jax.execution.checks import TrustedTimeout
from pper_jax.execution.limits import Limits, backstop
from pper_jax.execution.server import run_delay
from pper_jax.execution.session import Session
from pper_jax.execution.watch import Journal


class Alarm:
    """What ends the code of a test that does not come to an end: after so much CPU time, or so long a wait."""

    def __init__(self, limits: Limits, journal: Journal) -> None:
        self.journal = journal
        self.cpu_s, self.wall_s = limits.trusted_s, limits.test_wall_s + backstop(limits.trusted_s)
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
        signal.setitimer(signal.ITIMER_PROF, self.cpu_s, 0.1)
        signal.setitimer(signal.ITIMER_REAL, self.wall_s, 0.1)

    def stop(self) -> None:
        """Stop them."""
        self.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)

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
            if time.monotonic() - self.start_s < self.wall_s + busy:
                return
        self._go_off()
