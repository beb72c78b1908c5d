"""Scripts: what ``stdio`` tests run, each in a child of its own with files in memory that nobody else ever has."""

from __future__ import annotations

import contextlib
import os
import select
import socket

from pper_jax.execution import wire
from pper_jax.execution.limits import Limits
from pper_jax.execution.server import ChildLost, Deadline, ForkServer
from pper_jax.execution.session import as_exception, describe_end

Script = tuple[str | None, str, str | None, float]
NAME = "main"  # of the file that a script finds itself in


def run_script(server: ForkServer, program: str, stdin: str, limits: Limits) -> Script:
    """Run a program as ``__main__`` in a child of its own.

    Returns ``(status, stdout, detail, CPU seconds)``, where status is None if the program ended well: only then is its
    output worth comparing. Output goes to a file in memory that cannot grow beyond the limit.
    """
    child = server.take()
    child.greet()
    _fill(child.stdin, stdin.encode("utf-8", "surrogatepass"))
    deadline = Deadline(child, limits.test_cpu_s, limits.test_wall_s)
    with contextlib.suppress(OSError):
        child.sock.sendall(wire.pack([0, "main", program, NAME]))
    poll = select.poll()
    poll.register(server.control, select.POLLIN)  # the zygote has news once the child is gone
    try:
        deadline.wait(poll)
    except ChildLost as lost:
        _, used = server.end(child)
        return lost.status, "", lost.detail, used
    ended, used = server.hear()
    with contextlib.closing(child):
        status, detail = _failure(child.sock, ended, server.most_mb, limits)
        output = _read(child.stdout, limits.output_bytes)
    if len(output) > limits.output_bytes:
        return "output_limit", "", f"more than {limits.output_bytes} bytes of output", used
    return status, output.decode("utf-8", "replace"), detail, used


def _failure(sock: socket.socket, ended: int, most_mb: int, limits: Limits) -> tuple[str | None, str | None]:
    if ended == 0:
        return None, None
    if os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == wire.OUT_OF_MEMORY:
        return describe_end(ended, most_mb, limits)
    sock.setblocking(False)
    with contextlib.suppress(OSError, wire.Malformed, TypeError, KeyError, AttributeError):
        told = wire.unpack(sock.recv(4096)[wire.HEADER.size :])["w"]
        return ("memory" if isinstance(as_exception(told), MemoryError) else "error"), str(told[1])[:400]
    return "error", f"exit status {os.WEXITSTATUS(ended)}"


def _fill(fd: int, content: bytes) -> None:
    view = memoryview(content)
    written = 0
    while written < len(content):
        written += os.pwrite(fd, view[written:], written)


def _read(fd: int, cap: int) -> bytes:
    """Return what a file in memory holds, up to ``cap + 1`` bytes."""
    parts: list[bytes] = []
    size = 0
    while size <= cap and (part := os.pread(fd, cap + 1 - size, size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)
