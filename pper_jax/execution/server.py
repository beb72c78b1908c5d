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
from pper_jax.execution.limits import Limits
from pper_jax.execution.spawn import left_out, spawn

END_SECONDS = 10.0  # for a zygote to end a child and fork the next; it takes milliseconds
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
    """One sandboxed process: the trusted end of its channel, and its CPU clock."""

    def __init__(self, fd: int, number: int) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
        self.fd, self.number = fd, number
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
                self.clock = (~pid << 3) | 2 if pid > 0 else None  # the kernel's name for that process's CPU clock
        self.sock.settimeout(None)

    def cpu(self) -> float:
        """Return the CPU seconds that the process has used; 0.0 where the kernel does not say (it ended, say)."""
        if self.clock is not None:
            with contextlib.suppress(OSError):
                return time.clock_gettime(self.clock)
        return 0.0


class Deadline:
    """When a child has to be done: by its CPU clock first, by the wall clock at last."""

    def __init__(self, child: Child, cpu_s: float, wall_s: float) -> None:
        self.child, self.cpu_s, self.wall_s = child, cpu_s, wall_s
        self.cpu_start = child.cpu()
        self.wall_end = time.monotonic() + wall_s
        self.next_look = cpu_s

    def wait(self, poll: select.poll) -> list[tuple[int, int]]:
        """Wait for an event and return it; raise ChildLost when the time is over."""
        while True:
            wall_left = self.wall_end - time.monotonic()
            if wall_left <= 0:
                raise ChildLost("timeout", f"no answer within {self.wall_s:g} s of wall-clock time")
            if events := poll.poll(1000 * max(0.001, min(wall_left, self.next_look))):
                return events
            used = self.child.cpu() - self.cpu_start
            if used >= self.cpu_s:
                raise ChildLost("timeout", f"no answer within {self.cpu_s:g} s of CPU time")
            self.next_look = self.cpu_s - used

    def used(self) -> float:
        """CPU seconds since the start."""
        return max(0.0, self.child.cpu() - self.cpu_start)


class ForkServer:
    """A handle on a zygote, restarted by its owner when it dies. One child lives at a time, and the next waits."""

    def __init__(self, limits: Limits, lifeline: int) -> None:
        self.stdin, self.stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
        self.control, theirs = socket.socketpair()
        fds = [theirs.fileno(), self.stdin, self.stdout, lifeline]
        arguments = [json.dumps(fds), json.dumps(asdict(limits)), json.dumps(left_out())]
        self.process: subprocess.Popen[bytes] = spawn("zygote", arguments, fds)
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
        child.sock.close()
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
            data, fds, _, _ = socket.recv_fds(self.control, wire.NEWS.size, 1)
        except OSError:  # dead, or stopped by a program that no PID namespace holds back
            raise ZygoteLost from None
        if len(data) != wire.NEWS.size or len(fds) != 1:
            raise ZygoteLost
        number, status, cpu = wire.NEWS.unpack(data)
        self.next = Child(fds[0], number)
        return status, cpu

    def close(self) -> None:
        """End the zygote and everything under it."""
        self.control.close()
        if self.next is not None:
            self.next.sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        self.process.kill()
        self.process.wait()
        os.close(self.stdin)
        os.close(self.stdout)


def refill(fd: int, content: bytes) -> None:
    """Make a memory file hold just this, to be read from its start."""
    os.ftruncate(fd, 0)
    view = memoryview(content)
    written = 0
    while written < len(content):
        written += os.pwrite(fd, view[written:], written)
    os.lseek(fd, 0, os.SEEK_SET)


def printed(fd: int, cap: int) -> bytes:
    """Return what a memory file holds, up to ``cap + 1`` bytes."""
    parts: list[bytes] = []
    size = 0
    while size <= cap and (part := os.pread(fd, cap + 1 - size, size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)
