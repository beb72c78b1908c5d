"""What runs inside the sandbox: the program, and a loop that calls its functions for the trusted side.

Nothing here is a secret or a judgement: a program shares this process and may forge every word that is sent, but all
it can say is which value a call gave. The requests, each but ``main`` answered by ``{"n": number, ...}``::

    [number, "main", source]                   run a script, with the stdin and stdout that lie ready, and end
    [number, "load", source]                   run a program's own code; it replaces the one before
    [number, "names", [name, ...]]             which of the names are there, as values or kept objects
    [number, "call", target, args, kwargs, m]  call a name or a kept object; with m, say how its arguments changed
    [number, "get" | "set" | "list" | "bool" | "len" | "item", target, ...]   use a kept object

This module and ``wire`` are loaded with a private copy of the builtins (see ``zygote``): programs that rebind builtins
then break themselves only.
"""

from __future__ import annotations

import atexit
import builtins
import random
import sys
import threading
from collections.abc import Callable
from posix import _exit, close, dup2, lseek, write
from types import ModuleType, TracebackType
from typing import Any, NoReturn

from pper_jax.execution.wire import HELLO, Frames, NotPlain, decode, encode, pack, read_message, write_message

REQUEST_LIMIT = 1 << 28
DETAIL_LENGTH = 300
WARM_ROUNDS = 20
WARM_PROGRAM = """
import math
from typing import List
class Node:
    def __init__(self, value=0): self.value = value
def f(xs: List[int]) -> List[int]:
    total = {}
    for i, x in enumerate(xs):
        total[x] = total.get(x, 0) + i * 2 // 1 - 1 % 2
    return sorted([k for k in total if k > 0 and not (k == 3 or k is None)] + [len(str(x)) for x in xs[:2]])
"""
MUTABLE = (list, dict, set, tuple)
RECURSION_LIMIT = sys.getrecursionlimit()
STREAMS = sys.stdin, sys.stdout, sys.stderr


def run(channel: int, stdin: int, stdout: int) -> NoReturn:
    """Say hello on the channel, then do what it asks for; never return."""
    write(channel, HELLO)
    frames = Frames(REQUEST_LIMIT)
    request = read_message(channel, frames)
    if request is not None and request[1] == "main":
        for fd, place in ((stdin, 0), (stdout, 1)):
            lseek(fd, 0, 0)
            dup2(fd, place)
            close(fd)
        run_main(channel, request[2])
    close(stdin)
    close(stdout)
    server = Server(channel)
    while request is not None:
        server.answer(request[0], request[1], request[2:])
        request = read_message(channel, frames)
    _exit(0)


def warm_up(null: int) -> None:
    """Do what every child will do, so that children find it done: code specialised, caches filled, memory at hand.

    ``null``: a descriptor to write to that nobody reads.
    """
    for _ in range(WARM_ROUNDS):
        server = Server(null)
        requests = [[0, "load", WARM_PROGRAM], [1, "call", "f", [[2, 1]], {}, False], [2, "names", ["f"]]]
        frames = Frames(REQUEST_LIMIT)
        frames.data += b"".join(map(pack, requests))
        while (request := frames.take()) is not None:
            server.answer(request[0], request[1], request[2:])
        server.answer(3, "call", ["f", [], {}, False])
    del sys.modules["program"]
    random.seed(0)  # the same numbers for every program, whichever worker runs it


def run_main(fd: int, source: str) -> NoReturn:
    """Run a program as a script does: threads joined, exit functions run, output flushed, an exit status at the end."""
    status, failure = 0, None
    try:
        _execute(source, "__main__")
    except SystemExit as error:
        status = _exit_status(error.code)
    except BaseException as error:
        status, failure = 1, describe(error)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.__stdout__):
            if stream is not None:
                stream.flush()
    except BaseException as error:
        status, failure = 1, failure or describe(error)
    if failure is not None:
        write_message(fd, {"x": failure})
    _exit(status)


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def _execute(source: str, name: str) -> dict[str, Any]:
    module = ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    exec(compile(source, "<program>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def describe(error: BaseException) -> list[str]:
    """Return ``[nearest builtin class, what happened and where]`` of an exception."""
    kind = type(error)
    base = next(base for base in kind.__mro__ if getattr(builtins, base.__name__, None) is base)
    try:
        text = f"{kind.__name__}: {error}"
    except Exception:
        text = kind.__name__
    line = _last_line(error.__traceback__)
    return [base.__name__, text[:DETAIL_LENGTH] + (f" (line {line})" if line else "")]


def _last_line(trace: TracebackType | None) -> int | None:
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<program>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


class Server:
    """Answers requests about one program at a time."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.shared = False
        self.builtins = dict(vars(builtins))
        self.globals: dict[str, Any] = {}
        self.kept: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.targets: dict[str, Callable[..., Any]] = {}

    def answer(self, number: int, operation: str, arguments: list[Any]) -> None:
        """Do one request and send its reply, an exception of the program included."""
        try:
            reply = getattr(self, "do_" + operation)(*arguments)
        except BaseException as error:
            reply = {"x": describe(error)}
        reply["n"] = number
        try:
            write_message(self.fd, reply)
        except OSError:
            _exit(1)

    def keep(self, value: Any) -> list[Any]:
        """Return the number and type name of an object that stays here; the same object keeps its number."""
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return [number, type(value).__name__]

    def find(self, target: str | int) -> Any:
        """Return a kept object by its number, or what a name (``f``, ``Solution.f``, ``Solution().f``) stands for."""
        if isinstance(target, int):
            return self.kept[target]
        if target not in self.targets:
            self.targets[target] = self.resolve(target)
        return self.targets[target]

    def resolve(self, target: str) -> Any:
        """Look a dotted name up; a bare method name is looked for in ``class Solution``, as APPS and LeetCode do."""
        if "." not in target and target not in self.globals and "Solution" in self.globals:
            return getattr(self.globals["Solution"](), target)
        first, *rest = target.split(".")
        name = first.removesuffix("()")
        if name not in self.globals:
            raise NameError(f"name {name!r} is not defined by the program")
        value = self.globals[name]
        if name != first:
            value = value()
        for part in rest:
            value = getattr(value, part)
        return value

    def value(self, data: Any) -> Any:
        """Decode an argument; numbers of kept objects become the objects."""
        return decode(data, lambda number, _: self.kept[number])

    def do_load(self, source: str) -> dict[str, Any]:
        """Run a program's own code."""
        if self.shared:
            self.tidy()
        self.shared = True
        self.globals = _execute(source, "program")
        return {}

    def tidy(self) -> None:
        """Forget the program before, and undo what programs most often do to what they share."""
        for store in (self.globals, self.kept, self.numbers, self.targets):
            store.clear()
        vars(builtins).clear()
        vars(builtins).update(self.builtins)
        sys.setrecursionlimit(RECURSION_LIMIT)
        sys.stdin, sys.stdout, sys.stderr = STREAMS
        random.seed(0)

    def do_names(self, names: list[str]) -> dict[str, Any]:
        """Say which names exist, functions and classes as kept objects."""
        found = [(name, self.globals[name]) for name in names if name in self.globals]
        return {"v": {"d": [[name, {"r": self.keep(v)} if callable(v) else self.plain(v)] for name, v in found]}}

    def do_call(self, target: str | int, arguments: list[Any], named: dict[str, Any], changes: bool) -> dict[str, Any]:
        """Call, and give back the result; with ``changes`` also the arguments that the call changed in place."""
        values = [self.value(item) for item in arguments]
        keywords = {name: self.value(item) for name, item in named.items()}
        reply = {"v": self.plain(self.find(target)(*values, **keywords))}
        if changes:
            after = [(place, self.plain(item)) for place, item in enumerate(values) if isinstance(item, MUTABLE)]
            reply["m"] = [[place, data] for place, data in after if data != arguments[place]]
        return reply

    def plain(self, value: Any) -> Any:
        """Encode a value; what is no data is kept here and travels as a number."""
        try:
            return encode(value, self.keep)
        except RecursionError:
            raise NotPlain("data nested too deeply") from None

    def do_get(self, target: int, name: str) -> dict[str, Any]:
        """Read an attribute."""
        return {"v": self.plain(getattr(self.kept[target], name))}

    def do_set(self, target: int, name: str, data: Any) -> dict[str, Any]:
        """Set an attribute."""
        setattr(self.kept[target], name, self.value(data))
        return {"v": None}

    def do_list(self, target: int) -> dict[str, Any]:
        """Iterate to the end."""
        return {"v": self.plain(list(self.kept[target]))}

    def do_bool(self, target: int) -> dict[str, Any]:
        """Truth."""
        return {"v": bool(self.kept[target])}

    def do_len(self, target: int) -> dict[str, Any]:
        """Length."""
        return {"v": len(self.kept[target])}

    def do_item(self, target: int, data: Any) -> dict[str, Any]:
        """Read an item."""
        return {"v": self.plain(self.kept[target][self.value(data)])}
