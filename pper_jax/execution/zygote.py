"""The fork server: one small process that forks one sandboxed child a program and ends all that the child leaves.

It knows neither tests nor programs: the child reads its program from a channel that the trusted side made, so nothing
that a program could read in inherited memory is worth reading. One child lives at a time. Over the control socket::

    worker -> zygote   b"S" with the channel's descriptor, or with channel, stdin and stdout      start a child
                       b"K"                                                                       end it now
    zygote -> worker   the wait status of the child, once everything it left behind is gone
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from pper_jax.execution import sandbox

PRELOAD = ("bisect", "collections", "copy", "datetime", "functools", "heapq", "itertools", "math", "operator", "random")
PRELOAD_MORE = ("re", "string", "threading", "typing")
CORE_LIMIT = 0


def main() -> None:
    """Serve the control socket whose descriptor is the first argument, under the limits in the second."""
    control = socket.socket(fileno=int(sys.argv[1]))
    limits = json.loads(sys.argv[2])
    for name in PRELOAD + PRELOAD_MORE:
        importlib.import_module(name)
    for name in ("wire", "child"):
        _load_privately(f"pper_jax.execution.{name}", Path(__file__).with_name(f"{name}.py"))
    sys.argv[:] = [""]
    walls = sandbox.enter()  # after the imports: behind the walls these files cannot be read
    control.sendall(json.dumps(walls.walls).encode() + b"\n")
    gc.collect()
    gc.freeze()
    Zygote(control, limits, walls).serve()


def _load_privately(name: str, path: Path) -> None:
    """Import a module with a copy of the builtins of its own, so that nobody can patch what it uses."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    module.__dict__["__builtins__"] = dict(vars(builtins))
    sys.modules[name] = module
    spec.loader.exec_module(module)


class Zygote:
    """The loop of the fork server."""

    def __init__(self, control: socket.socket, limits: dict[str, float], walls: sandbox.Sandbox) -> None:
        self.control = control
        self.limits = limits
        self.walls = walls
        self.wakeup, wakeup = os.pipe()
        for fd in (self.wakeup, wakeup):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Start children until the control socket closes."""
        while True:
            data, fds, _, _ = socket.recv_fds(self.control, 1, 3)
            if not data:
                return
            if data == b"S":
                status = self.run(fds)
                with contextlib.suppress(OSError):
                    self.control.sendall(sys.modules["pper_jax.execution.wire"].STATUS.pack(status))

    def run(self, fds: list[int]) -> int:
        """Fork a child, wait until it ends or must end, end its descendants, and return its wait status."""
        box = self.walls.make_box(4 * int(self.limits["file_bytes"]))
        pid = os.fork()
        if pid == 0:
            self.become_child(fds, box)
        for fd in fds:
            os.close(fd)
        status = self.wait(pid)
        self.walls.end_descendants()
        self.walls.remove_box(box)
        return status

    def wait(self, pid: int) -> int:
        """Return the wait status of the child; kill it on request, or when the trusted side is gone."""
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        poll.register(self.control, select.POLLIN)
        while True:
            for ready, status in iter(_reap, (0, 0)):
                if ready == pid:
                    return status
            for fd, _ in poll.poll():
                if fd == self.wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wakeup, 4096)
                elif self.control.recv(1) in (b"", b"K"):
                    poll.unregister(self.control)
                    os.kill(pid, signal.SIGKILL)

    def become_child(self, fds: list[int], box: str) -> NoReturn:
        """Turn this fork into the sandboxed child and run it."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.setsid()
            channel = _arrange(fds)
            os.chdir(box)
            self.limit_resources()
            self.walls.drop_rights()
            os.environ.clear()
            os.environ.update(HOME=box, TMPDIR=box, PATH="/usr/bin:/bin", LC_ALL="C.UTF-8")
            tempfile.tempdir = None
            atexit._clear()
            sys.modules["pper_jax.execution.child"].run(channel)
        finally:
            os._exit(70)

    def limit_resources(self) -> None:
        """Set the limits of the kernel, hard and soft alike."""
        limits = {name: int(value) for name, value in self.limits.items()}
        for what, value in (
            (resource.RLIMIT_AS, limits["memory_mb"] << 20),
            (resource.RLIMIT_CPU, limits["program_timeout_s"] + 2),
            (resource.RLIMIT_NPROC, limits["processes"]),
            (resource.RLIMIT_FSIZE, max(limits["file_bytes"], limits["output_bytes"] + 1)),
            (resource.RLIMIT_NOFILE, limits["open_files"]),
            (resource.RLIMIT_CORE, CORE_LIMIT),
        ):
            _, hard = resource.getrlimit(what)
            ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(what, (ceiling, ceiling))


def _reap() -> tuple[int, int]:
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0


def _arrange(fds: Iterable[int]) -> int:
    """Put the child's descriptors in their places, stderr on /dev/null, and close all others; return the channel's."""
    channel, *streams = fds
    os.dup2(0, 2)  # the zygote's stdin is /dev/null; what programs say on stderr is nobody's business
    for place, fd in enumerate(streams):
        os.dup2(fd, place)
    os.dup2(channel, 3)
    os.closerange(4, 1 << 16)
    return 3
