"""The trusted side's handle on a zygote and on the children that it forks."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import time
from dataclasses import asdict
from struct import Struct

from pper_jax.execution import wire
from pper_jax.execution.limits import BUSY, MEBIBYTE, Limits
from pper_jax.execution.spawn import left_out, spawn

FIRST_LOOK_S = 0.02
END_SECONDS = 30.0  # for a zygote to end a child and fork the next; it takes milliseconds
CREDENTIALS = Struct("3i")  # pid, uid, gid


class ChildLost(BaseException):
    """The program's process can no longer be used; the test under way gets ``status``.

    No Exception, so that the code of a check cannot catch it by accident.
    """

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail


class ZygoteLost(BaseException):
    """The fork server is gone: a fault of ours, or a program without walls around it killed it."""


class Child:
    """One sandboxed process: the trusted end of its channel, a script's input and output, and its CPU clock."""

    def __init__(self, fd: int, stdin: int, stdout: int, number: int) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
        self.fd, self.stdin, self.stdout, self.number = fd, stdin, stdout, number
        self.pid = 0
        self.clock: int | None = None

    def greet(self) -> None:
        """Wait until the child is ready, and learn its process id from the kernel; raise ZygoteLost if it never is."""
        self.sock.settimeout(END_SECONDS)
        try:
            hello, ancillary, _, _ = self.sock.recvmsg(1, socket.CMSG_SPACE(CREDENTIALS.size))
        except OSError:
            hello, ancillary = b"", []
        if hello != wire.HELLO:
            raise ZygoteLost
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= CREDENTIALS.size:
                pid = CREDENTIALS.unpack_from(data)[0]
                self.pid = max(pid, 0)
                self.clock = (~pid << 3) | 2 if pid > 0 else None  # the kernel's name for that process's CPU clock
        self.sock.settimeout(None)

    def close(self) -> None:
        """Close all of this end."""
        self.sock.close()
        os.close(self.stdin)
        os.close(self.stdout)

    def cpu(self) -> float:
        """Return the CPU seconds that the process has used; 0.0 where the kernel does not say (it ended, say)."""
        if self.clock is not None:
            with contextlib.suppress(OSError):
                return time.clock_gettime(self.clock)
        return 0.0

    def threads(self) -> int:
        """Return how many threads the process has, 0 where the kernel does not say."""
        with contextlib.suppress(OSError):
            return os.stat(f"/proc/{self.pid}/task").st_nlink - 2
        return 0

    def starved(self) -> float:
        """Return the seconds that the process was ready to run and others had the cores; 0.0 where nobody says."""
        longest = 0.0
        with contextlib.suppress(OSError, ValueError, IndexError):
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                longest = max(longest, run_delay(f"/proc/{self.pid}/task/{thread}/schedstat"))
        return longest


def run_delay(path: str) -> float:
    """Return the seconds that a thread waited for a core, from its ``schedstat``; raise OSError or ValueError."""
    with open(path, "rb") as file:
        return int(file.read().split()[1]) / 1e9


class Deadline:
    """When a child has to be done: by its CPU clock first, by the wall clock at last.

    The wall clock stands still while the child is ready to run and the machine is busy with others, up to BUSY times
    its limit: then nobody can say any more whose fault it is.
    """

    def __init__(self, child: Child, cpu_s: float, wall_s: float) -> None:
        self.child, self.cpu_s, self.wall_s = child, cpu_s, wall_s
        self.cpu_start = child.cpu()
        self.start = time.monotonic()
        self.wall_end = self.start + wall_s
        self.starved_start: float | None = None  # as it was soon after the start: to ask costs more than most answers
        self.next_look = FIRST_LOOK_S

    def wait(self, poll: select.poll) -> list[tuple[int, int]]:
        """Wait for an event and return it; raise ChildLost when the time is over."""
        while True:
            wall_left = self.wall_end - time.monotonic()
            if events := poll.poll(1000 * max(0.001, min(wall_left, self.next_look))):
                return events
            if self.starved_start is None:
                self.starved_start = self.child.starved()
            used = self.child.cpu() - self.cpu_start
            if used >= self.cpu_s:
                raise ChildLost("timeout", f"no answer within {self.cpu_s:g} s of CPU time")
            self.next_look = self.cpu_s - used
            if time.monotonic() >= self.wall_end:
                self._look_at_the_wall()

    def stretch(self) -> float:
        """Return the seconds since the start that do not count: those for which the child had no core."""
        return 0.0 if self.starved_start is None else max(0.0, self.child.starved() - self.starved_start)

    def _look_at_the_wall(self) -> None:
        self.wall_end = self.start + self.wall_s + self.stretch()
        now = time.monotonic()
        if now >= self.wall_end:
            raise ChildLost("timeout", f"no answer within {self.wall_s:g} s of wall-clock time")
        if now - self.start > BUSY * self.wall_s:
            raise ChildLost("busy", f"the machine was too busy to run it for {now - self.start:.0f} s")

    def used(self) -> float:
        """CPU seconds since the start."""
        return max(0.0, self.child.cpu() - self.cpu_start)


class ForkServer:
    """A handle on a zygote, restarted by its owner when it dies. One child lives at a time, and the next waits."""

    def __init__(self, limits: Limits, lifeline: int) -> None:
        self.control, theirs = socket.socketpair()
        fds = [theirs.fileno(), lifeline]
        arguments = [json.dumps(fds), json.dumps(asdict(limits)), json.dumps(left_out())]
        self.process: subprocess.Popen[bytes] = spawn("zygote", arguments, fds, limits.memory_mb * MEBIBYTE)
        self.most_mb = 0  # what the last child that ended had in use
        theirs.close()
        self.isolation: list[str] = wire.unpack(self._first_line())
        self.next: Child | None = None

    def _first_line(self) -> bytes:
        data = b""
        while not data.endswith(b"\n"):
            part = self.control.recv(1)
            if not part:
                raise ZygoteLost
            data += part
        return data[:-1]

    def take(self) -> Child:
        """Return the next child, which is usually there already."""
        if self.next is None:
            self.hear()
        child, self.next = self.next, None
        assert child is not None
        return child

    def release(self, child: Child) -> None:
        """Have a child ended, with everything that it left, and go on."""
        child.close()
        try:
            self.control.sendall(wire.END.pack(child.number))
        except OSError:
            raise ZygoteLost from None

    def end(self, child: Child) -> tuple[int, float]:
        """End a child; return its wait status and CPU seconds once nothing of it is left."""
        self.release(child)
        return self.hear()

    def hear(self) -> tuple[int, float]:
        """Take in the zygote's news: how the last child ended, and the channel of the next."""
        self.control.settimeout(END_SECONDS)
        try:
            data, fds, _, _ = socket.recv_fds(self.control, wire.NEWS.size, 3)
        except OSError:  # dead, or stopped by a program that no PID namespace holds back
            raise ZygoteLost from None
        if len(data) != wire.NEWS.size or len(fds) != 3:
            raise ZygoteLost
        number, status, cpu, self.most_mb = wire.NEWS.unpack(data)
        self.next = Child(fds[0], fds[1], fds[2], number)
        return status, cpu

    def close(self) -> None:
        """End the zygote and everything under it."""
        self.control.close()
        if self.next is not None:
            self.next.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        self.process.kill()
        self.process.wait()
