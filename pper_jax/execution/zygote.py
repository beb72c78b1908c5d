"""The fork server: one small process that forks one sandboxed child after another and ends all that each leaves.

It knows neither tests nor programs: the child reads its programs from a channel, so nothing that a program could read
in inherited memory is worth reading. One child lives at a time; the next is forked as soon as nothing is left of it,
so that it waits, behind its walls, for the trusted side and not the other way round. Over the control socket::

    zygote -> worker   NEWS: number of the child just forked, wait status and CPU seconds of the one before it,
                       with descriptors of the trusted end of its channel and of files in memory for
                       its standard input and output
    worker -> zygote   END: the number of the child to end; every child is ended so, but one that ends by itself
"""

from __future__ import annotations

import _socket
import atexit
import builtins
import ctypes
import fcntl
import gc
import importlib
import json
import marshal
import os
import resource
import select
import site
import sys
from array import array
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any, NoReturn

from pper_jax.execution import sandbox
from pper_jax.execution.wire import END, NEWS, OUT_OF_MEMORY

PRIVATE = (
    "wire",
    "values",
    "heap",
    "standins",
    "tame",
    "inside",
    "script",
    "child",
)  # loaded so, each after what it imports
PRELOAD = ("bisect", "collections", "copy", "datetime", "functools", "heapq", "itertools", "math", "operator", "random")
PRELOAD_MORE = ("re", "string", "threading", "typing")
CHANNEL, STDIN, STDOUT = 3, 4, 5  # descriptors of a child; the zygote's own lie beyond
OWN = 10
SHARED_BY = 24  # programs that may share a child, whose CPU time the kernel adds up


def main() -> None:
    """Serve the control socket.

    Arguments, as JSON: descriptors of that socket and of a pipe to hold open until the end; the limits; the names of
    layers to leave out.
    """
    given, limits, without = (json.loads(argument) for argument in sys.argv[1:4])
    control_fd, _ = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, OWN) for fd in given)
    for fd in {*given, CHANNEL, STDIN, STDOUT}:
        os.dup2(0, fd)
    control = _socket.socket(fileno=control_fd)
    for name in PRELOAD + PRELOAD_MORE:
        importlib.import_module(name)
    _load_privately(PRIVATE)
    inside = sys.modules["pper_jax.execution.inside"]
    inside.Depth.per_exec, inside.Depth.per_call = _aside(inside.measure_depth)
    inside.see_recursion_limit()
    for add_builtins in (site.setquit, site.setcopyright, site.sethelper):
        add_builtins()
    sys.argv[:] = [""]
    sandbox.set_thread_stack(int(limits["memory_mb"]))
    walls = sandbox.enter(limits, without)  # after the imports: behind the walls these files cannot be read
    try:
        control.sendall(json.dumps(walls.walls).encode() + b"\n")
    except OSError:  # the worker is gone already
        walls.remove_box()
        return
    Zygote(control, limits, walls).serve()


def _load_privately(names: tuple[str, ...]) -> None:
    """Import modules of this package with a copy of the builtins of their own: nobody can patch what they use."""
    for name, code in zip(names, _compiled(names), strict=True):
        module = sys.modules[f"{__package__}.{name}"] = ModuleType(f"{__package__}.{name}")
        module.__dict__["__builtins__"] = dict(vars(builtins))
        exec(code, module.__dict__)


def _compiled(names: tuple[str, ...]) -> list[CodeType]:
    """Return the code of modules of this package."""

    def compile_all() -> list[CodeType]:
        codes = []
        for name in names:
            path = f"{os.path.dirname(__file__)}/{name}.py"
            with open(path, "rb") as file:
                codes.append(compile(file.read(), path, "exec", dont_inherit=True, optimize=2))
        return codes

    return list(_aside(compile_all))


def _aside(work: Callable[[], Any]) -> Any:
    """Return what a function returns that runs in a process of its own.

    What it takes of memory, and how it leaves that, would be the share of every child.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with open(writer, "wb") as pipe:
                marshal.dump(work(), pipe)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as pipe:
        found = marshal.load(pipe)
    os.waitpid(pid, 0)
    return found


# The C library's fork, without what Python does around its own: there is one thread, so no lock needs making again, and
# nothing has asked to be called after a fork but ``threading`` (the same) and ``random`` (programs get the same numbers
# every time). It saves a third of the pages that a child touches. PyDLL: the child has to go on holding the GIL.
_fork = ctypes.PyDLL(None).fork


class Zygote:
    """The loop of the fork server."""

    def __init__(self, control: _socket.socket, limits: dict[str, float], walls: sandbox.Sandbox) -> None:
        self.control, self.walls = control, walls
        self.cpu_seconds = SHARED_BY * (int(limits["program_timeout_s"]) + 2)
        self.child_main = sys.modules["pper_jax.execution.child"].run
        os.environ.clear()
        os.environ.update(HOME=walls.box, TMPDIR=walls.box, PATH="/usr/bin:/bin", LC_ALL="C.UTF-8")
        atexit._clear()
        sys.modules["pper_jax.execution.child"].warm_up(1)
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Fork child after child until the control socket closes."""
        status, cpu, most_mb, number = 0, 0.0, 0, 0
        while True:
            number += 1
            self.walls.make_box()
            theirs, ours = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
            theirs.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
            streams = os.memfd_create("stdin"), os.memfd_create("stdout")  # of a script: nobody had them before
            pid = _fork()
            if pid == 0:
                self.become_child(ours.fileno(), *streams)
            ours.close()
            try:
                rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [theirs.fileno(), *streams]))]
                self.control.sendmsg([NEWS.pack(number, status, cpu, most_mb)], rights)
                theirs.close()
                for fd in streams:
                    os.close(fd)
                asked_to_go_on = self.wait(pid, number)
            except OSError:
                asked_to_go_on = False
            status, cpu, most_mb = self.walls.end_child(pid)
            self.walls.empty_box()
            if not asked_to_go_on:
                self.walls.remove_box()
                return

    def wait(self, pid: int, number: int) -> bool:
        """Wait until the child ends or has to end; return whether the trusted side is still there."""
        ended = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            poll.register(self.control, select.POLLIN)
            while True:
                ready = [fd for fd, _ in poll.poll()]
                if self.control.fileno() in ready:
                    data = self.control.recv(END.size)
                    if len(data) != END.size:
                        return False
                    if END.unpack(data)[0] == number:
                        return True
                if ended in ready:
                    return True
        finally:
            os.close(ended)

    def become_child(self, *given: int) -> NoReturn:
        """Turn this fork into the sandboxed child and run it."""
        try:
            os.setsid()
            os.dup2(0, 2)  # the zygote's stdin is /dev/null; what programs say on stderr is nobody's business
            for fd, place in zip(given, (CHANNEL, STDIN, STDOUT), strict=True):
                os.dup2(fd, place)
            os.chdir(self.walls.box)
            resource.setrlimit(resource.RLIMIT_CPU, (self.cpu_seconds, self.cpu_seconds))
            self.walls.drop_rights()
            os.closerange(STDOUT + 1, 1 << 16)
            self.child_main(CHANNEL, STDIN, STDOUT)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        finally:
            os._exit(70)
