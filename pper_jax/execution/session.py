"""The trusted side's end of a sandboxed program: load it, call into it, end it."""

from __future__ import annotations

import builtins
import contextlib
import os
import resource
import select
import socket
from collections.abc import Mapping, Sequence
from signal import SIGXCPU, Signals
from typing import Any

from pper_jax.execution import wire
from pper_jax.execution.limits import Limits
from pper_jax.execution.server import Child, ChildLost, Deadline, ForkServer, printed, refill

Script = tuple[str | None, str, str | None, float]
SEND_AHEAD_BYTES = 1 << 15  # well within a socket's buffer: neither side may wait for the other to read


class ProgramRaised(Exception):
    """The program raised what has no builtin counterpart that a test may catch (SystemExit, for one)."""


class Session:
    """A sandboxed process that serves calls into one program after another."""

    def __init__(self, server: ForkServer, limits: Limits) -> None:
        self.server, self.limits = server, limits
        self.child: Child = server.take()
        self.child.greet()
        self.child.sock.setblocking(False)
        self.poll = select.poll()
        self.poll.register(self.child.fd, select.POLLIN)
        self.frames = wire.Frames(limits.output_bytes)
        self.lost: ChildLost | None = None
        self.raised: Exception | None = None
        self.number = 0  # of the next answer
        self.sent = 0  # requests sent; more than ``number`` where some went ahead
        self.programs = 0
        self.names: dict[str, Any] = {}
        self.begin()

    def load(self, program: str, ahead: Sequence[str]) -> None:
        """Run the program's own code; raise what it raises, or ChildLost.

        ``ahead``: calls that will be made next, as ``send_ahead`` takes them.
        """
        self.programs += 1
        self.names = {}
        self.begin()
        request = self._pack(f',"load",{wire.to_json(program)}]')
        self._value(self._exchange(request + self.packed_ahead(ahead)))

    def packed_ahead(self, requests: Sequence[str]) -> bytes:
        """Return as many of these calls as may be on their way unanswered."""
        parts: list[bytes] = []
        room = SEND_AHEAD_BYTES
        for request in requests:
            room -= len(request)
            if room < 0:
                break
            parts.append(self._pack(request))
        return b"".join(parts)

    def _pack(self, request: str) -> bytes:
        self.sent += 1
        return wire.frame(f"[{self.sent - 1}{request}")

    def begin(self) -> None:
        """Start the clocks of a test."""
        self.deadline = Deadline(self.child, self.limits.test_cpu_s, self.limits.test_wall_s)
        self.raised = None

    def request(self, operation: str, *arguments: Any) -> Any:
        """Ask the program for something; return the value, or raise the exception that it raised.

        Raises ChildLost where no usable answer comes, and NotPlain where the arguments cannot enter the sandbox.
        """
        return self._value(self._exchange(self._pack("," + wire.to_json([operation, *arguments])[1:])))

    def call(
        self, target: str | int, arguments: Sequence[Any], named: Mapping[str, Any] | None = None, changes: bool = False
    ) -> Any:
        """Call a function of the program; with ``changes`` the arguments are updated as the call left them."""
        keywords = {name: self.encode(value) for name, value in (named or {}).items()}
        request = wire.to_json(["call", target, [self.encode(value) for value in arguments], keywords, changes])
        reply = self._exchange(self._pack("," + request[1:]))
        self._apply_changes(arguments, reply.get("m", ()))
        return self._value(reply)

    def ask(self, request: str, ahead: Sequence[str]) -> Any:
        """Make a call that is written already (``packed_call``), unless it went ahead; send ``ahead`` with it."""
        data = b""
        if self.sent == self.number:
            data = self._pack(request) + self.packed_ahead(ahead)
        return self._value(self._exchange(data))

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

    def release(self) -> None:
        """Have the process ended, and everything that it left."""
        if self.lost is None:
            self.lost = ChildLost("crash", "the process was ended")
            self.server.release(self.child)

    def _number_of(self, value: Any) -> list[Any]:
        if type(value) is Remote and value._session is self:
            return [value._number, ""]
        raise wire.NotPlain(f"a test passes a {type(value).__name__}, which cannot enter the sandbox")

    def _value(self, reply: dict[str, Any]) -> Any:
        if "x" not in reply:
            return self.decode(reply.get("v"))
        self.raised = as_exception(reply["x"])
        raise self.raised

    def _exchange(self, data: bytes) -> dict[str, Any]:
        """Send, and return the next answer."""
        if self.lost is not None:
            raise self.lost
        try:
            if data:
                self._send(data)
            reply = self._receive()
            while isinstance(reply, dict) and reply.get("n") != self.number:
                reply = self._receive()
        except ChildLost as lost:
            raise self._lose(lost.status, lost.detail) from None
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

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self.child.sock.send(view) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self.child.fd, select.POLLOUT)
                self.deadline.wait(poll)

    def _receive(self) -> Any:
        while (message := self.frames.take()) is None:
            self.deadline.wait(self.poll)
            with contextlib.suppress(BlockingIOError):
                part = self.child.sock.recv(1 << 16)
                if not part:
                    raise ConnectionResetError
                self.frames.data += part
        return message

    def _lose(self, status: str | None, detail: str) -> ChildLost:
        ended, _ = self.server.end(self.child)
        if status is None:
            status, detail = describe_end(ended)
        self.lost = ChildLost(status, detail)
        return self.lost


def packed_call(target: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> str:
    """Return a call of plain data as ``Session.ask`` sends it; raise NotPlain where the arguments are none."""
    keywords = {name: wire.encode(value) for name, value in named.items()}
    return "," + wire.to_json(["call", target, [wire.encode(value) for value in arguments], keywords, False])[1:]


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


def run_script(server: ForkServer, program: str, stdin: str, limits: Limits) -> Script:
    """Run a program as ``__main__`` in a child of its own.

    Returns ``(status, stdout, detail, CPU seconds)``, where status is None if the program ended well: only then is its
    output worth comparing. Output goes to a file in memory that cannot grow beyond the limit.
    """
    refill(server.stdin, stdin.encode("utf-8", "surrogatepass"))
    refill(server.stdout, b"")
    child = server.take()
    child.greet()
    deadline = Deadline(child, limits.test_cpu_s, limits.test_wall_s)
    with contextlib.suppress(OSError):
        child.sock.sendall(wire.pack([0, "main", program]))
    poll = select.poll()
    poll.register(server.control, select.POLLIN)  # the zygote has news once the child is gone
    try:
        deadline.wait(poll)
    except ChildLost as lost:
        _, used = server.end(child)
        return lost.status, "", lost.detail, used
    ended, used = server.hear()
    with child.sock:
        status, detail = _script_failure(child.sock, ended)
    cap = limits.output_bytes
    output = printed(server.stdout, cap)
    if len(output) > cap:
        return "output_limit", "", f"more than {cap} bytes of output", used
    return status, output.decode("utf-8", "replace"), detail, used


def _script_failure(sock: socket.socket, ended: int) -> tuple[str | None, str | None]:
    if ended == 0:
        return None, None
    if os.WIFSIGNALED(ended):
        return describe_end(ended)
    sock.setblocking(False)
    with contextlib.suppress(OSError, wire.Malformed, TypeError, KeyError, AttributeError):
        error = as_exception(wire.unpack(sock.recv(4096)[wire.HEADER.size :])["x"])
        return ("memory" if isinstance(error, MemoryError) else "error"), str(error)
    return "error", f"exit status {os.WEXITSTATUS(ended)}"


def limit_own_memory(megabytes: int) -> None:
    """Bound what the trusted side itself may use, softly, so that an odd answer cannot take the machine down."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = megabytes << 20
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
