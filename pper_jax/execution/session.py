"""The trusted side's end of a sandboxed program: load it, call into it, end it."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import resource
import select
import threading
from collections.abc import Mapping, Sequence
from signal import SIGXCPU, Signals
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

from pper_jax.execution import lending, standins, values, wire
from pper_jax.execution.heap import Heap
from pper_jax.execution.library import LIBRARY, Malformed, NotPlain, data_base
from pper_jax.execution.limits import MEBIBYTE, Limits
from pper_jax.execution.server import Child, ChildLost, Deadline, ForkServer

SEND_AHEAD_BYTES = 1 << 15  # well within a socket's buffer: neither side may wait for the other to read
FULL = 0.75  # of its memory limit: a process that dies this full died of it
TESTS = "tests"  # the module that the code of tests believes it is
USED = LIBRARY | {TESTS, "random", "unittest.mock", "_io"}  # modules of classes whose public names may be used
KEPT = (ModuleType, CodeType, FrameType, TracebackType, type(threading.Lock()), type(threading.RLock()))  # never lent
TOLD = ("__name__", "__doc__", "__qualname__", "__module__", "__annotations__")  # of functions and classes
FUNCTION = "types:FunctionType"
LENT = (io.StringIO, io.BytesIO)  # of all kinds of files, these only


class ProgramRaised(Exception):
    """The program raised what has no counterpart here."""


class HarnessFault(BaseException):
    """The trusted side cannot do what a test asks of it; not the program's doing, and nothing that a test may catch."""


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
        self.fault: HarnessFault | None = None
        self.raised: BaseException | None = None
        self.told = ""  # what ``raised`` says and where it was raised
        self.asked: list[int] = []  # numbers of the requests that have no answer yet
        self.ahead: list[str] = []  # those of them that went ahead
        self.programs = 0
        self.wild = False  # whether this process must not be used for another program
        self.odd = False  # whether more than data and functions crossed the border
        self.tested = False  # whether the program knows the tests by now
        self.names: dict[str, Any] = {}
        self.begin()

    def load(self, program: str, ahead: Sequence[str] = (), shared: bool = False) -> bool:
        """Run the program's own code; raise what it raises, or ChildLost.

        ``ahead``: calls that will be made next, as ``packed_call`` writes them. ``shared``: only if the program may
        share this process with others; False is returned, and nothing was run, where it may not.
        """
        self.programs += 1
        self.names = {}
        self.heap = Heap(0, self._lend, lambda number, tag, body: standins.borrow(number, tag, body, self))
        self.begin()
        request = self._pack(f',"load",null,{wire.to_json(program)},"program",{"true" if shared else "false"}]')
        reply = self._exchange(request + (b"" if shared else self.packed_ahead(ahead)))
        self.wild = reply.get("wild") is not None
        if self.wild and self.programs > 1:
            return False
        self._value(reply)
        return True

    def packed_ahead(self, requests: Sequence[str]) -> bytes:
        """Return as many of these calls as may be on their way unanswered."""
        parts: list[bytes] = []
        bytes_left = SEND_AHEAD_BYTES
        for request in requests:
            bytes_left -= len(request)
            if bytes_left < 0:
                break
            parts.append(self._pack(request))
            self.ahead.append(request)
        return b"".join(parts)

    def _pack(self, request: str) -> bytes:
        number = int.from_bytes(os.urandom(6), "little")
        self.asked.append(number)
        return wire.frame(f"[{number}{request}")

    def begin(self, factor: float = 1.0) -> None:
        """Start the clocks of a test, which may take so many times its limits."""
        self.deadline = Deadline(self.child, factor * self.limits.test_cpu_s, factor * self.limits.test_wall_s)
        self.raised = None

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Have the program do something (see ``child``); return the value, or raise the exception that it raised.

        Raises ChildLost where no usable answer comes, and HarnessFault where the arguments cannot enter the sandbox.
        """
        if self.lost is not None:
            raise self.lost
        data = self._written(operation, arguments)
        reply = self._exchange(data)
        while "b" in reply:
            answer = self._answered(reply)
            self.asked.insert(0, reply["n"])
            reply = self._exchange(answer)
        return self._take(reply)

    def _written(self, operation: str, arguments: Sequence[Any]) -> bytes:
        heap = self.heap
        gone = heap.unheld([n for n in heap.objects if n % 2 or n in heap.tags], arguments) if heap.crowded() else []
        heap.forget(gone)
        try:
            given = [heap.encode(argument) for argument in arguments]
        except NotPlain as error:
            raise self._fault(error) from None
        return self._pack(f",{wire.to_json(operation)},{self._shared(gone)}{''.join(map(_item, given))}]")

    def _shared(self, gone: Sequence[int]) -> str:
        try:
            return f"[{wire.to_json(list(gone))},[{','.join(self.heap.entries())}]]"
        except NotPlain as error:
            raise self._fault(error) from None

    def _fault(self, error: NotPlain) -> HarnessFault:
        self.fault, self.odd = HarnessFault(str(error)), True
        return self.fault

    def _take(self, reply: dict[str, Any]) -> Any:
        """Return the value of a reply, once what the program changed has changed here."""
        try:
            self._apply(reply)
            value = self.heap.decode(reply.get("x" if "w" in reply else "v"))
            self.heap.forget(reply.get("g", ()))
        except (Malformed, TypeError, ValueError, KeyError, AttributeError, RecursionError, MemoryError):
            raise self._lose("crash", "the program wrote into its private channel") from None
        if "w" not in reply:
            return value
        self._raise(value if isinstance(value, BaseException) else as_exception(reply["w"]), reply["w"])

    def _apply(self, reply: dict[str, Any]) -> None:
        entries = reply.get("h", ())
        self.heap.apply(entries)
        self.odd = self.odd or any(tag == "class" and body.get("std") != FUNCTION for _, tag, body in entries)

    def _answered(self, reply: dict[str, Any]) -> bytes:
        """Do what the program asks of an object that the test handed over; return the answer to send."""
        value, error = None, None
        self.odd = True
        try:
            self._apply(reply)
            operation, *arguments = reply["b"]
            given = [self.heap.decode(item) for item in arguments]
            self.heap.forget(reply.get("g", ()))
        except (Malformed, TypeError, ValueError, KeyError, AttributeError, RecursionError, MemoryError):
            raise self._lose("crash", "the program wrote into its private channel") from None
        try:
            self._allow(operation, given)
            value = lending.perform(operation, given)
        except Exception as raised:
            error = raised
        if self.lost is not None:
            raise self.lost
        try:
            parts = [self.heap.encode(value), self.heap.encode(error)]
        except NotPlain as fault:
            raise self._fault(fault) from None
        return wire.frame(f'[{reply["n"]},"reply",{self._shared(())}{"".join(map(_item, parts))}]')

    def _allow(self, operation: str, given: list[Any]) -> None:
        """Raise where the program asks for more than to use what the test handed over, by its public names."""
        owner = given[1] if operation == "op" else given[0]
        number = self.heap.numbers.get(id(owner), 1)
        if number % 2 or number in self.heap.tags.keys() - self.heap.subs:  # the program's own, or data
            raise TypeError("no object of the test")
        if operation in ("get", "set", "del"):
            private = not isinstance(given[1], str) or (given[1].startswith("_") and given[1] not in TOLD)
            if type(owner).__module__ not in USED or private:
                raise AttributeError(f"{type(owner).__name__!r} object has no attribute {str(given[1])[:80]!r}")
        elif (operation == "op" and given[0] not in lending.OPERATIONS) or operation not in (
            "op",
            "call",
            "next",
            "signature",
        ):
            raise TypeError(f"no such operation: {operation[:80]}")

    def _lend(self, value: Any, kind: type) -> tuple[str, Any] | None:
        """Return how an object of the test is introduced to the program (see ``heap``)."""
        if isinstance(value, standins.StandIn | standins.StandInType):
            raise NotPlain(f"a test hands over a {kind.__name__} of another program")
        if data_base(kind) is not None and kind.__module__ != TESTS:
            return None
        if isinstance(value, KEPT) or (isinstance(value, io.IOBase) and not isinstance(value, LENT)):
            raise NotPlain(f"a test hands over a {kind.__name__}, which cannot enter the sandbox")
        return lending.lend(value, kind, self.heap)

    # ---- calls whose arguments and values are plain

    def call_plainly(self, request: str, ahead: Sequence[str]) -> Any:
        """Make a call that is written already (``packed_call``), unless it went ahead; send ``ahead`` with it."""
        data = b""
        if self.ahead:
            self.ahead.pop(0)
        else:
            data = self._pack(request) + self.packed_ahead(ahead)
        return self._value(self._exchange(data))

    def why_sly(self, program: str) -> str | None:
        """Return why a program might deceive (see ``tame``), judged before this process runs any."""
        answer = self._value(self._exchange(self._pack(f',"look",null,{wire.to_json(program)}]')))
        return None if answer is None else str(answer)

    def test(self, code: str, entry_point: str | None) -> None:
        """Run code of a test within the program; raise what it raises."""
        self.tested = True
        self._value(self._exchange(self._pack(f',"test",null,"{code}",{wire.to_json(entry_point)}]')))

    def _value(self, reply: dict[str, Any]) -> Any:
        if "w" in reply:
            self._raise(as_exception(reply["w"]), reply["w"])
        try:
            if "h" not in reply:
                return values.decode(reply.get("v"))
            flat = Heap(0, self._lend, lambda number, tag, body: values.Opaque(str(body)))
            flat.apply(reply["h"])
            return flat.decode(reply.get("v"))
        except (Malformed, RecursionError, MemoryError):
            raise self._lose("crash", "the program wrote into its private channel") from None

    def _raise(self, error: BaseException, told: Any) -> Any:
        self.raised = error
        self.told = str(told[1])[:400] if isinstance(told, list) and len(told) == 2 else type(error).__name__
        raise error

    def release(self) -> None:
        """Have the process ended, and everything that it left."""
        if self.lost is None:
            self.lost = ChildLost("crash", "the process was ended")
            self.server.release(self.child)

    @property
    def idle(self) -> bool:
        """Whether this process could take another program: nothing is unanswered, and no thread of it is left."""
        return not (self.asked or self.wild or self.tested) and self.child.threads() == 1

    def _exchange(self, data: bytes) -> dict[str, Any]:
        """Send, and return the next answer."""
        if self.lost is not None:
            raise self.lost
        try:
            if data:
                self._send(data)
            reply = self._receive()
            while isinstance(reply, dict) and reply.get("n") != self.asked[0]:  # noise, or an answer to no question
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
        del self.asked[0]
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
            status, detail = describe_end(ended, self.server.most_mb, self.limits)
        self.lost = ChildLost(status, detail)
        return self.lost


def _item(data: Any) -> str:
    return "," + wire.to_json(data)


def packed_call(target: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> str:
    """Return a call of plain data as ``Session.call_plainly`` sends it; raise NotPlain where the arguments are none."""
    keywords = {name: values.encode(value) for name, value in named.items()}
    return "," + wire.to_json(["plain", None, target, [values.encode(value) for value in arguments], keywords])[1:]


def as_exception(raised: object) -> BaseException:
    """Return the exception that a reply speaks of, by its nearest builtin class."""
    name, text = raised if isinstance(raised, list) and len(raised) == 2 else ("", "")
    kind = getattr(builtins, name, None) if isinstance(name, str) else None
    if isinstance(kind, type) and issubclass(kind, BaseException):
        with contextlib.suppress(TypeError):
            return kind(str(text)[:400])
    return ProgramRaised(str(text)[:400])


def describe_end(status: int, most_mb: int, limits: Limits) -> tuple[str, str]:
    """Return the status and the reason for a process that ended without an answer; ``most_mb``: what it had in use."""
    full = most_mb > FULL * limits.memory_mb
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == SIGXCPU:
            return "timeout", "out of CPU time"
        name = Signals(number).name if number in Signals.__members__.values() else f"signal {number}"
        return ("memory" if full else "crash"), f"the process died of {name}" + f", with {most_mb} MiB in use" * full
    code = os.WEXITSTATUS(status)
    if code == wire.OUT_OF_MEMORY:
        return "memory", "the process had no memory left"
    return "crash", f"the process ended with exit status {code} before it answered"


def limit_own_memory(megabytes: int) -> None:
    """Bound what the trusted side itself may use, softly, so that an odd answer cannot take the machine down."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = megabytes * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
