"""The pool's end of one worker process, and the runs that it has in hand."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pper_jax.execution import wire
from pper_jax.execution.limits import Limits
from pper_jax.execution.spawn import spawn
from pper_jax.execution.ticket import Run
from pper_jax.execution.verdict import TestResult

START_SECONDS = 60.0
SILENCE_SECONDS = 10.0
SEND_SECONDS = 30.0
MESSAGE_LIMIT = 1 << 28
AHEAD_BYTES = 1 << 15  # a job this small fits into the socket's buffer, so that sending it never blocks


class WorkerLost(Exception):
    """A worker process died or cannot be understood."""


class Link:
    """One worker process. ``runs`` are the runs given to it, the one under way first."""

    def __init__(self, limits: Limits, compare: str, lifeline: int) -> None:
        self.limits = limits
        self.sock, theirs = socket.socketpair()
        options = json.dumps({"limits": asdict(limits), "compare": compare, "lifeline": lifeline})
        self.process: subprocess.Popen[bytes] = spawn(
            "worker", [str(theirs.fileno()), options], [theirs.fileno(), lifeline]
        )
        theirs.close()
        self.frames = wire.Frames(MESSAGE_LIMIT)
        self.isolation: tuple[str, ...] | None = None
        self.looked_at = False
        self.runs: deque[Run] = deque()
        self.results: dict[int, TestResult] = {}
        self.expect_word()

    @property
    def ready(self) -> bool:
        """Whether work can be given: the socket holds it until the process is up."""
        return True

    def give(self, run: Run) -> None:
        """Send a job; raise WorkerLost."""
        if not self.runs:
            self.expect_word()
        self.runs.append(run)
        try:
            self.sock.settimeout(SEND_SECONDS)
            self.sock.sendall(run.message)
        except OSError:
            raise WorkerLost from None

    def receive(self) -> Iterator[tuple[Run, list[TestResult]]]:
        """Take in what the worker sent; yield each run that is done, with its results. Raises WorkerLost."""
        try:
            data = self.sock.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            raise WorkerLost
        self.frames.data += data
        self.expect_word()
        while (message := self._message()) is not None:
            if "ready" in message:
                self.isolation = tuple(message["ready"])
            elif "test" in message:
                place, *result = message["test"]
                self.results[place] = TestResult(*result)
            elif "done" in message:
                results, self.results = self.results, {}
                yield self.runs.popleft(), [results[place] for place in sorted(results)]

    def _message(self) -> Any:
        try:
            return self.frames.take()
        except (wire.Malformed, wire.TooLarge):
            raise WorkerLost from None

    def expect_word(self) -> None:
        """A worker that works says something within the time of loading a program twice, a test, and its own work."""
        start = START_SECONDS if self.isolation is None else 0.0
        silence_s = max(limits.silence_s for limits in (self.limits, *(run.limits for run in self.runs)))
        self.silent_until = time.monotonic() + silence_s + SILENCE_SECONDS + start

    def why_it_ended(self) -> str:
        """Return what is known of a process that never started."""
        return f"exit status {self.process.poll()}, and its message is on standard error"

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
