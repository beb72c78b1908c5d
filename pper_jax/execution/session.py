"""The trusted side's end of a sandboxed program: start it, call into it, end it."""

from __future__ import annotations

import builtins
import contextlib
import os
import resource
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from signal import SIGXCPU, Signals
from typing import Any

from pper_jax.execution import wire
from pper_jax.execution.spawn import spawn

END_SECONDS = 3.0  # for a zygote to end what a program left; it takes milliseconds


class ChildLost(BaseException):
    """The program's process can no longer be used; the test under way gets ``status``.

    No Exception, so that the code of a check cannot catch it by accident.
    """

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail


class ZygoteLost(BaseException):
    """The fork server is gone: a fault of ours, or a program without walls around it killed it."""


class ProgramRaised(Exception):
    """The program raised what has no builtin counterpart that a test may catch (SystemExit, for one)."""


class Deadline:
    """A moment in monotonic time by which the program has to answer."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; raise ChildLost where there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise ChildLost("timeout", f"no answer within {self.seconds:g} s")
        return left


class ForkServer:
    """A handle on a zygote, restarted by its owner when it dies."""

    def __init__(self, limits_json: str, lifeline: int) -> None:
        self.control, theirs = socket.socketpair()
        self.process: subprocess.Popen[bytes] = spawn(
            "zygote", [str(theirs.fileno()), limits_json], [theirs.fileno(), lifeline]
        )
        theirs.close()
        self.isolation: list[str] = wire.unpack(self._read(until_newline=True)[:-1])
        self.running = False

    def start(self, fds: Sequence[int]) -> None:
        """Fork a child over the given descriptors: its channel and, for a script, stdin and stdout."""
        try:
            socket.send_fds(self.control, [b"S"], list(fds))
        except OSError:
            raise ZygoteLost from None
        self.running = True

    def end(self) -> int:
        """Kill the child if it still runs, and return its wait status once nothing of it is left."""
        try:
            self.control.settimeout(END_SECONDS)
            self.control.sendall(b"K")
            status = self._status()
            self.control.settimeout(None)
        except OSError:  # dead, or stopped by a program that no PID namespace holds back
            raise ZygoteLost from None
        self.running = False  # only now: an alarm may have cut an earlier call short, its status still to be read
        return status

    def wait(self, seconds: float) -> int | None:
        """Return the child's wait status, or None if it still runs after so many seconds."""
        self.control.settimeout(seconds)
        try:
            status = self._status()
        except TimeoutError:
            return None
        finally:
            self.control.settimeout(None)
        self.running = False
        return status

    def close(self) -> None:
        """End the zygote and everything under it."""
        self.control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        self.process.kill()
        self.process.wait()

    def _status(self) -> int:
        return int(wire.STATUS.unpack(self._read())[0])

    def _read(self, until_newline: bool = False) -> bytes:
        data = b""
        while not data.endswith(b"\n") if until_newline else len(data) < wire.STATUS.size:
            try:
                part = self.control.recv(1 if until_newline else wire.STATUS.size - len(data))
            except ConnectionError:
                part = b""
            if not part:
                raise ZygoteLost
            data += part
        return data


class Session:
    """One sandboxed process of one program that serves calls."""

    def __init__(self, server: ForkServer, program: str, limits: Mapping[str, float]) -> None:
        self.server, self.program, self.limits = server, program, limits
        self.deadline = Deadline(limits["timeout_s"])
        self.lost: ChildLost | None = None
        self.raised: Exception | None = None
        self.number = 0
        self.names: dict[str, Any] = {}
        self.sock, theirs = socket.socketpair()
        with theirs:
            server.start([theirs.fileno()])

    def load(self) -> None:
        """Run the program's own code; raise what it raises, or ChildLost."""
        self._value(self._exchange({"mode": "serve", "program": self.program}))

    def begin(self, seconds: float) -> None:
        """Start the clock of a test."""
        self.deadline = Deadline(seconds)
        self.raised = None

    def request(self, operation: str, *arguments: Any) -> Any:
        """Ask the program for something; return the value, or raise the exception that it raised.

        Raises ChildLost where no usable answer comes, and NotPlain where the arguments cannot enter the sandbox.
        """
        return self._value(self._exchange([self.number, operation, *arguments]))

    def call(
        self, target: str | int, arguments: Sequence[Any], named: Mapping[str, Any] | None = None, changes: bool = False
    ) -> Any:
        """Call a function of the program; with ``changes`` the arguments are updated as the call left them."""
        keywords = {name: self.encode(value) for name, value in (named or {}).items()}
        request = [self.number, "call", target, [self.encode(value) for value in arguments], keywords, changes]
        reply = self._exchange(request)
        self._apply_changes(arguments, reply.get("m", ()))
        return self._value(reply)

    def _apply_changes(self, arguments: Sequence[Any], changed: Any) -> None:
        try:
            for place, data in changed:
                update_in_place(arguments[place], self.decode(data))
        except (TypeError, ValueError, IndexError):
            raise self._lose("crash", "the program wrote into its private channel") from None

    def encode(self, value: Any) -> Any:
        """Return an argument in the form that crosses the border."""
        return wire.encode(value, self._number_of)

    def decode(self, data: Any) -> Any:
        """Return the value of an answer; what is no data becomes a Remote."""
        try:
            return wire.decode(data, lambda number, name: Remote(self, number, name))
        except (wire.Malformed, RecursionError, MemoryError):
            raise self._lose("crash", "the program wrote into its private channel") from None

    def end(self) -> int:
        """End the process and everything that it left; return its wait status."""
        self.sock.close()
        return self.server.end() if self.server.running else 0

    def _number_of(self, value: Any) -> list[Any]:
        if type(value) is Remote and value._session is self:
            return [value._number, ""]
        raise wire.NotPlain(f"a test passes a {type(value).__name__}, which cannot enter the sandbox")

    def _value(self, reply: dict[str, Any]) -> Any:
        if "x" not in reply:
            return self.decode(reply.get("v"))
        self.raised = as_exception(reply["x"])
        raise self.raised

    def _exchange(self, request: Any) -> dict[str, Any]:
        if self.lost is not None:
            raise self.lost
        data = wire.pack(request)
        try:
            self.sock.settimeout(self.deadline.left())
            self.sock.sendall(data)
            reply = self._receive()
            while isinstance(reply, dict) and reply.get("n") != self.number:
                reply = self._receive()
        except ChildLost as lost:
            raise self._lose(lost.status, lost.detail) from None
        except TimeoutError:
            raise self._lose("timeout", f"no answer within {self.deadline.seconds:g} s") from None
        except wire.TooLarge as error:
            raise self._lose("output_limit", f"the answer is {error}") from None
        except wire.Malformed:
            raise self._lose("crash", "the program wrote into its private channel") from None
        except OSError:
            raise self._lose(None, "") from None
        if not isinstance(reply, dict):
            raise self._lose("crash", "the program wrote into its private channel")
        self.number += 1
        return reply

    def _receive(self) -> Any:
        (size,) = wire.HEADER.unpack(self._read(wire.HEADER.size))
        if size > self.limits["output_bytes"]:
            raise wire.TooLarge(f"{size} bytes")
        return wire.unpack(self._read(size))

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            self.sock.settimeout(self.deadline.left())
            part = self.sock.recv_into(view[filled:])
            if not part:
                raise ConnectionResetError
            filled += part
        return data

    def _lose(self, status: str | None, detail: str) -> ChildLost:
        ended = self.end()
        if status is None:
            status, detail = describe_end(ended)
        self.lost = ChildLost(status, detail)
        return self.lost


class Remote:
    """Stands on the trusted side for an object that stays in the sandbox.

    Calls, attributes, items, iteration, length and truth are asked of the object. Equality is not: a Remote equals
    itself alone, so that no ``__eq__`` of a program has a say in a test. Order and arithmetic raise TypeError.
    """

    __slots__ = ("_name", "_number", "_session")
    _session: Session
    _number: int
    _name: str

    def __init__(self, session: Session, number: int, name: str) -> None:
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_name", name)

    def __eq__(self, other: object) -> bool:
        return type(other) is Remote and self._session is other._session and self._number == other._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __repr__(self) -> str:
        return f"<{self._name} in the sandbox>"

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the object; arguments are left as the call left them."""
        return self._session.call(self._number, arguments, named, changes=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._session.request("get", self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._session.request("set", self._number, name, self._session.encode(value))

    def __getitem__(self, key: Any) -> Any:
        return self._session.request("item", self._number, self._session.encode(key))

    def __iter__(self) -> Any:
        return iter(self._session.request("list", self._number))

    def __len__(self) -> int:
        return int(self._session.request("len", self._number))

    def __bool__(self) -> bool:
        return bool(self._session.request("bool", self._number))


def as_exception(raised: object) -> Exception:
    """Return the exception that a reply speaks of: its nearest builtin class, where a test may catch that."""
    name, text = raised if isinstance(raised, list) and len(raised) == 2 else ("", "")
    text = str(text)[:400]
    kind = getattr(builtins, name, None) if isinstance(name, str) else None
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):
            return kind(text)
    return ProgramRaised(text)


def update_in_place(old: Any, new: Any) -> None:
    """Give a list, dict or set (or those within a tuple) the contents of ``new``, keeping its identity."""
    if type(old) is not type(new):
        return
    if type(old) in (list, tuple):
        kept = [_merged(a, b) for a, b in zip(old, new, strict=False)]
        if type(old) is list:
            old[:] = kept + list(new[len(kept) :])
    elif type(old) is dict:
        kept_items = {key: _merged(old[key], value) if key in old else value for key, value in new.items()}
        old.clear()
        old.update(kept_items)
    elif type(old) is set:
        old.clear()
        old.update(new)


def _merged(old: Any, new: Any) -> Any:
    if type(old) is type(new) and type(old) in (list, dict, set, tuple):
        update_in_place(old, new)
        return new if type(old) is tuple else old
    return new


def describe_end(status: int) -> tuple[str, str]:
    """Return the status and the reason for a process that ended without an answer."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == SIGXCPU:
            return "timeout", "out of CPU time"
        name = Signals(number).name if number in Signals.__members__.values() else f"signal {number}"
        return "crash", f"the process died of {name}"
    return "crash", f"the process ended with exit status {os.WEXITSTATUS(status)} before it answered"


def run_script(
    server: ForkServer, program: str, stdin: str, limits: Mapping[str, float]
) -> tuple[str | None, str, str | None]:
    """Run a program as ``__main__`` in a child of its own.

    Returns ``(status, stdout, detail)``, where status is None if the program ended well: only then is its output worth
    comparing. Output goes to a file in memory that cannot grow beyond the limit.
    """
    mine, theirs = socket.socketpair()
    with (
        mine,
        theirs,
        _memory_file("stdin", stdin.encode("utf-8", "surrogatepass")) as given,
        _memory_file("out") as out,
    ):
        server.start([theirs.fileno(), given.fileno(), out.fileno()])
        theirs.close()
        deadline = Deadline(limits["timeout_s"])
        mine.settimeout(limits["timeout_s"])
        with contextlib.suppress(OSError):
            mine.sendall(wire.pack({"mode": "main", "program": program}))
        ended = server.wait(max(deadline.end - time.monotonic(), 0.001))
        if ended is None:
            server.end()
            return "timeout", "", f"not finished within {limits['timeout_s']:g} s"
        cap = int(limits["output_bytes"])
        printed = os.pread(out.fileno(), cap + 1, 0)
        if len(printed) > cap:
            return "output_limit", "", f"more than {cap} bytes of output"
        status, detail = _script_failure(mine, ended)
        return status, printed.decode("utf-8", "replace"), detail


def _script_failure(mine: socket.socket, ended: int) -> tuple[str | None, str | None]:
    if ended == 0:
        return None, None
    if os.WIFSIGNALED(ended):
        return describe_end(ended)
    mine.settimeout(0.05)
    with contextlib.suppress(OSError, wire.Malformed, TypeError, KeyError, AttributeError):
        error = as_exception(wire.unpack(mine.recv(4096)[wire.HEADER.size :])["x"])
        return ("memory" if isinstance(error, MemoryError) else "error"), str(error)
    return "error", f"exit status {os.WEXITSTATUS(ended)}"


def _memory_file(name: str, content: bytes = b"") -> Any:
    file = open(os.memfd_create(name), "r+b", buffering=0)  # noqa: SIM115  (closed by the caller's with)
    file.write(content)
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return file


def limit_own_memory(megabytes: int) -> None:
    """Bound what the trusted side itself may use, softly, so that an odd answer cannot take the machine down."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = megabytes << 20
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
