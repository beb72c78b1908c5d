"""How programs are run inside the sandbox: as modules that know their own source, and at the depth of a script."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from contextlib import suppress
from posix import getcwd
from types import FrameType, ModuleType, TracebackType
from typing import Any

DETAIL_LENGTH = 300
SPARE_BYTES = 1 << 20
spare: list[bytes] = []  # memory kept back: to say that there is none takes some
setrecursionlimit, getrecursionlimit = sys.setrecursionlimit, sys.getrecursionlimit


def make_module(name: str, source: str, path: str) -> ModuleType:
    """Return a new module of a program, which can find its own source."""
    module = ModuleType(name)
    module.__dict__.update(__builtins__=builtins, __file__=path, __loader__=Loader(source))
    sys.modules[name] = module
    return module


class Loader:
    """Gives ``inspect``, ``linecache`` and tracebacks the program's text."""

    def __init__(self, source: str) -> None:
        self.source = source

    def get_source(self, name: str) -> str:
        """Return the text."""
        return self.source


def compile_program(source: str, path: str) -> Any:
    """Compile a program as the interpreter compiles a file: with its mark of order and its line on the encoding."""
    odd = source[:1] == "\ufeff" or "coding" in source[:200]
    text = source.encode("utf-8", "surrogatepass") if odd else source
    return compile(text, path, "exec", dont_inherit=True)


def describe(error: BaseException, path: str) -> list[str]:
    """Return ``[nearest builtin class, what happened and where]`` of an exception."""
    kind = type(error)
    base = next(base for base in kind.__mro__ if getattr(builtins, base.__name__, None) is base)
    try:
        text = f"{kind.__name__}: {error}"
    except Exception:
        text = kind.__name__
    line = _last_line(error.__traceback__, path)
    return [base.__name__, text[:DETAIL_LENGTH] + (f" (line {line})" if line else "")]


def _last_line(trace: TracebackType | None, path: str) -> int | None:
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def clear_frames(trace: TracebackType | None) -> None:
    """Let go of what the frames of a traceback hold, and so of the memory that a program took."""
    while trace is not None:
        frame: FrameType = trace.tb_frame
        with suppress(RuntimeError):  # still running: one of ours
            frame.clear()
        trace = trace.tb_next


class Depth:
    """The recursion limit as the program sees it, and how deep it runs in frames that are not its own."""

    limit = getrecursionlimit()
    extra = 0  # what the limit is raised by just now
    per_exec = 0  # what exec takes beside the frame of its code
    per_call = 0


def see_recursion_limit() -> None:
    """Have programs see and set the limit as if none of our frames were there."""

    def get_limit() -> int:
        return Depth.limit

    def set_limit(limit: int, /) -> None:
        setrecursionlimit(limit + Depth.extra if type(limit) is int and limit > 0 else limit)
        Depth.limit = limit

    sys.getrecursionlimit, sys.setrecursionlimit = get_limit, set_limit
    get_limit.__name__, set_limit.__name__ = "getrecursionlimit", "setrecursionlimit"


def _frames_above() -> int:
    """Return how many frames stand above the caller's caller."""
    frame, count = sys._getframe(2), 0
    while frame.f_back is not None:
        frame = frame.f_back
        count += 1
    return count


def _go_under(extra: int) -> None:
    """Raise the limit by the frames above the caller, and so many."""
    extra += _frames_above()
    if extra != Depth.extra:
        Depth.extra = extra
        try:
            setrecursionlimit(Depth.limit + extra)
        except RecursionError:  # a limit so low that even this is too deep
            Depth.extra = 0


def execute(code: Any, names: dict[str, Any]) -> None:
    """Run the code of a module: its frame is the first."""
    _go_under(1 + Depth.per_exec)
    exec(code, names)


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a function as the code of a module would."""
    _go_under(Depth.per_call)
    return function(*arguments, **named)


def deepest(depth: int) -> int:
    """Return how many calls deeper it goes."""
    try:
        return deepest(depth + 1)
    except RecursionError:
        return depth


def _at_top() -> int:
    """Return how far ``deepest`` comes where the code of a script calls it: there is one frame above it then."""
    Depth.extra = 0
    setrecursionlimit(Depth.limit)
    return deepest(0) + 1 + _frames_above()


def measure_depth() -> tuple[int, int]:
    """Return what ``exec`` and a call take of the recursion limit beside the frames that can be counted."""
    for _ in range(20):  # until the interpreter has specialised the calls, which changes what they take
        Depth.per_exec = Depth.per_call = 0
        top = _at_top()
        names: dict[str, Any] = {"deepest": deepest}
        execute(compile("found = deepest(0)", "<depth>", "exec"), names)
        Depth.per_exec, Depth.per_call = top - names["found"], top - call(deepest, 0)
    return Depth.per_exec, Depth.per_call


def program_path(name: str) -> str:
    """Return the path of a program's file, whether there is a file or not."""
    return f"{getcwd()}/{name}.py"
