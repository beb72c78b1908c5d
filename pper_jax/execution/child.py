"""What runs inside the sandbox: the program, and a loop that calls its functions for the trusted side.

Nothing here is a secret or a judgement: a program shares this process and may forge every word that is sent, but all
it can say is which value a call gave. A request is ``[number, operation, heap, argument, ...]``, answered by ``{"n":
number, ...}``; the number is one that nobody could foresee, so that no answer is taken for one to a later question.
``heap`` is None, and the values are plain, or ``[[number to forget, ...], [entry, ...]]`` (see ``heap``)::

    main  source path                    run a script, and end
    load  source name shared             run a program's own code
    plain target arguments named         call a function, values in and out
    name  target                         what a name stands for
    look  source                         why the program might deceive, judged before it runs; null if it cannot
    test  code entry_point               run code of a test in the program's own names
    call get set del op next copy signature   use an object (see ``lending.perform``)
    reply value | error                  the answer to what this side asked about an object of the other

This module and those that it imports are loaded with a private copy of the builtins (see ``zygote``): programs that
rebind builtins then break themselves only.
"""

from __future__ import annotations

import builtins
import random
import sys
from binascii import a2b_base64
from marshal import loads
from posix import _exit, close, dup2, lseek, write
from typing import Any, NoReturn

from pper_jax.execution import heap as heaps
from pper_jax.execution import inside, lending, script, standins, tame, values
from pper_jax.execution.library import Malformed
from pper_jax.execution.values import TooDeep
from pper_jax.execution.wire import HELLO, OUT_OF_MEMORY, Frames, frame, pack, read_message, to_json, write_all

REQUEST_LIMIT = 1 << 28
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
RECURSION_LIMIT = sys.getrecursionlimit()
BUILTINS: dict[str, Any] = {}  # as programs find them
SEED = random.seed  # programs may set another
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
        script.run_main(channel, request[2], request[3])
    close(stdin)
    close(stdout)
    server = Server(channel, frames)
    while request is not None:
        server.answer(request)
        request = read_message(channel, frames)
    _exit(0)


def warm_up(null: int) -> None:
    """Do what every child will do, so that children find it done: code specialised, caches filled, memory at hand.

    ``null``: a descriptor to write to that nobody reads.
    """
    BUILTINS.update(vars(builtins))
    inside.spare.append(bytes(inside.SPARE_BYTES))
    entry = [0, "l", [2, 1]]
    for _ in range(WARM_ROUNDS):
        frames = Frames(REQUEST_LIMIT)
        server = Server(null, frames)
        requests: list[Any] = [
            [0, "load", None, WARM_PROGRAM, "program", False],
            [1, "plain", None, "f", [[2, 1]], {}],
        ]
        requests += [[2, "name", [[], []], "f"], [3, "call", [[], [entry]], {"@": 1}, {"t": [{"@": 0}]}, {"t": []}]]
        frames.data += b"".join(map(pack, requests))
        while (request := frames.take()) is not None:
            server.answer(request)
        server.answer([4, "plain", None, "f", [], {}])
    del sys.modules["program"]
    random.seed(0)  # the same numbers for every program, whichever worker runs it


class Plain:
    """The end of the border where nothing is shared: an object that is no data leaves its type's name."""

    shares = False

    def refer(self, value: Any, kind: type) -> Any:
        """Return what is said of such an object."""
        return {"r": kind.__name__}

    def referred(self, number: Any) -> Any:
        """Nothing is referred to."""
        raise Malformed("no object")


PLAIN = Plain()


class Server:
    """Answers requests about one program at a time."""

    def __init__(self, fd: int, frames: Frames) -> None:
        self.fd, self.frames = fd, frames
        self.programs = 0
        self.globals: dict[str, Any] = {}
        self.methods: dict[str, Any] = {}
        self.path = ""
        self.number = 0
        self.new: list[int] = []  # numbers of objects that came with the request under way
        self.heap = self.new_heap()

    def new_heap(self) -> heaps.Heap:
        """Return a table in which nothing is shared yet."""
        return heaps.Heap(
            1,
            lambda value, kind: lending.lend(value, kind, self.heap),
            lambda number, tag, body: standins.borrow(number, tag, body, self),
        )

    def answer(self, request: list[Any]) -> None:
        """Do one request and send its reply, an exception of the program included."""
        number, operation, shared, *arguments = request
        before, self.number = self.number, number
        try:
            if shared is None:
                text = to_json(self.do_plainly(operation, arguments))
            else:
                text = self.do_shared(operation, shared, arguments)
        except BaseException as error:
            text = self.complain(error, shared is not None)
        self.number = before
        try:
            write_all(self.fd, frame(f'{{"n":{number},{text[1:]}'))
        except OSError:
            _exit(1)

    def complain(self, error: BaseException, shared: bool) -> str:
        """Return the reply that says what a program raised."""
        if isinstance(error, MemoryError):
            inside.spare.clear()  # what was kept back for this moment
        try:
            told = inside.describe(error, self.path)
            trace = error.__traceback__
            BaseException.with_traceback(error, None)
            inside.clear_frames(trace)
            value = self.heap.encode(error) if shared else None
            return self.finish({"w": told, "x": value}, error) if shared else to_json({"w": told})
        except BaseException as failure:
            if isinstance(failure, MemoryError) or isinstance(error, MemoryError):
                _exit(OUT_OF_MEMORY)
            return to_json({"w": [type(error).__name__, "an exception that cannot be told"]})

    # ---- without sharing

    def do_plainly(self, operation: str, arguments: list[Any]) -> Any:
        """Do a request whose values are plain."""
        if operation == "load":
            return self.load(*arguments)
        if operation == "test":
            return self.run_test(*arguments)
        if operation == "look":
            return {"v": tame.why_sly(inside.compile_program(arguments[0], "<program>"), BUILTINS)}
        target, positional, named = arguments
        function = self.find(target)
        keywords = {name: values.decode(item) for name, item in named.items()}
        result = inside.call(function, *map(values.decode, positional), **keywords)
        try:
            return {"v": values.encode(result, PLAIN)}
        except (TooDeep, RecursionError):
            return self.flat(result)

    def flat(self, result: Any) -> Any:
        """Return the reply for data nested deeply, or within itself."""
        limit = inside.getrecursionlimit()
        inside.setrecursionlimit(max(limit, 5000))
        try:
            flat = heaps.Heap(1, lambda value, kind: ("opaque", kind.__name__), self.heap.borrow)
            value = flat.encode(result)
            return {"v": value, "h": [values.parse(text) for text in flat.entries()]}
        finally:
            inside.setrecursionlimit(limit)

    def find(self, target: str) -> Any:
        """Return what a name (``f``, ``Solution.f``, ``Solution().f``) stands for."""
        if target in self.globals:
            return self.globals[target]
        if target not in self.methods:
            self.methods[target] = self.resolve(target)
        return self.methods[target]

    def resolve(self, target: str) -> Any:
        """Look a dotted name up; a bare method name is looked for in ``class Solution``, as APPS and LeetCode do."""
        if "." not in target and "Solution" in self.globals:
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

    def load(self, source: str, name: str, shared: bool) -> Any:
        """Run the program's own code; ``shared``: only if it may share this process with those before and after it."""
        path = inside.program_path(name)
        code = inside.compile_program(source, path)
        if shared:
            wild = tame.why_wild(code)
            if wild is not None and self.programs:
                return {"v": None, "wild": wild}
        if self.programs:
            self.tidy()
        self.programs += 1
        self.path = path
        module = inside.make_module(name, source, path)
        self.globals = module.__dict__
        inside.execute(code, self.globals)
        return {"v": None, "wild": wild} if shared else {"v": None}

    def run_test(self, code: str, entry_point: str | None) -> Any:
        """Run code of a test in the program's names, as if both stood in one file."""
        if entry_point is not None:
            self.globals["candidate"] = self.find(entry_point)
        SEED(0)
        inside.execute(loads(a2b_base64(code)), self.globals)
        return {"v": None}

    def tidy(self) -> None:
        """Forget the program before, and undo what tame programs do to what they share."""
        self.globals.clear()
        self.methods.clear()
        self.heap = self.new_heap()
        vars(builtins).clear()
        vars(builtins).update(BUILTINS)
        inside.setrecursionlimit(RECURSION_LIMIT)
        sys.set_int_max_str_digits(0)
        sys.stdin, sys.stdout, sys.stderr = STREAMS
        SEED(0)

    # ---- with objects that both sides know

    def do_shared(self, operation: str, shared: list[Any], arguments: list[Any]) -> str:
        """Do a request that refers to shared objects; return the reply."""
        heap = self.heap
        heap.forget(shared[0])
        self.new = heap.apply(shared[1])
        if operation == "name":
            result = self.find(arguments[0])
        else:
            given = [heap.decode(item) for item in arguments]
            result = inside.call(lending.perform, operation, given)
            given.clear()
        return self.finish({"v": heap.encode(result)}, result)

    def finish(self, reply: dict[str, Any], *extra: Any) -> str:
        """Return a reply as JSON, with what the other side does not know yet, and what only it can still mean."""
        heap, new = self.heap, self.new
        self.new = []
        before = heap.next
        fresh = list(heap.fresh)
        entries = heap.entries()
        fresh += range(before, heap.next, 2)
        gone = heap.unheld(
            {number for number in [*new, *fresh] if number in heap.tags and number not in heap.subs}, extra, 2
        )  # here, and in the caller
        heap.forget(gone)
        text = to_json(reply)
        if entries:
            text = f'{text[:-1]},"h":[{",".join(entries)}]}}'
        return f'{text[:-1]},"g":{to_json(gone)}}}' if gone else text

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Ask the trusted side about an object of its own, which a test handed over; answer it meanwhile."""
        number, heap = self.number, self.heap
        text = self.finish({"b": [operation, *map(heap.encode, arguments)]}, *arguments)
        write_all(self.fd, frame(f'{{"n":{number},{text[1:]}'))
        while (request := read_message(self.fd, self.frames)) is not None:
            if request[1] != "reply":
                self.answer(request)
                continue
            heap.forget(request[2][0])
            heap.apply(request[2][1])
            value, error = (heap.decode(item) for item in request[3:5])
            if error is not None:
                raise error
            return value
        _exit(0)
