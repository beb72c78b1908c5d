"""Scripts inside the sandbox: from their first line to the end that the interpreter gives them."""

from __future__ import annotations

import atexit
import gc
import sys
import threading
from _thread import _count
from _weakref import ref
from posix import O_CREAT, O_EXCL, O_WRONLY, _exit, close
from posix import open as open_file
from typing import Any, NoReturn

from pper_jax.execution import inside
from pper_jax.execution.wire import OUT_OF_MEMORY, pack, write_all

# What a program must name to look at its own file, or to notice how its names end. All else would be work for nothing.
READS_ITSELF: tuple[str, ...] = ("__file__", "argv", "main.py", "inspect", "linecache", "traceback", "listdir", "walk")
READS_ITSELF += ("scandir", "glob", "pathlib", "runpy", "importlib", "exec(", "eval(")
SEES_ITS_END: tuple[str, ...] = ("__del__", "yield", "async ", "open", "io.", "import io", "from io", "codecs", "csv")
SEES_ITS_END += (
    "weakref",
    "contextlib",
    "logging",
    "tempfile",
    "sqlite3",
    "zipfile",
    "gzip",
    "import gc",
    "__import__",
)
SEES_ITS_END += ("importlib", "exec(", "eval(")
FLUSH_FAILED = 120  # the interpreter's exit status where its last flush fails


def run_main(fd: int, source: str, name: str) -> NoReturn:
    """Run a program as ``python name.py`` does, to the very end of the interpreter, with its exit status."""
    status, failure = 0, None
    path = inside.program_path(name)
    try:
        if _names(source, READS_ITSELF):
            _write_file(path, source)
        sys.argv[0] = path
        sys.path.insert(0, path.rpartition("/")[0])
        code = inside.compile_program(source, path)
        names = vars(inside.make_module("__main__", source, path))
        main = "".join(("__main", "__"))  # a text of its own, as the interpreter's is: no constant of a program is it
        names.update(__name__=main, __cached__=None, __annotations__={})
        inside.execute(code, names)
    except SystemExit as error:
        status = exit_status(error.code)
    except BaseException as error:
        if isinstance(error, MemoryError):
            inside.spare.clear()
        status, failure = 1, inside.describe(error, path)
        inside.clear_frames(error.__traceback__)
    names = {}
    try:
        status = end_interpreter(_names(source, SEES_ITS_END)) or status
    except MemoryError:
        _exit(OUT_OF_MEMORY)
    except BaseException as error:
        status, failure = 1, failure or inside.describe(error, path)
    if failure is not None:
        write_all(fd, pack({"w": failure}))
    _exit(status)


def _names(source: str, words: tuple[str, ...]) -> bool:
    return any(word in source for word in words)


def _write_file(path: str, source: str) -> None:
    fd = open_file(path, O_CREAT | O_EXCL | O_WRONLY, 0o644)
    write_all(fd, source.encode("utf-8", "surrogatepass"))
    close(fd)


def exit_status(code: object) -> int:
    """Return the status that SystemExit with this code ends a script with."""
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    return code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF


def end_interpreter(names_end: bool) -> int:
    """Do what the interpreter does at its end; return 0, or the exit status where the last flush fails.

    Threads are waited for, exit functions run, the standard streams flushed; then, where ``names_end``, the names of
    the program end, and with them its files, generators and objects; then what those printed is flushed.
    """
    if _count() or threading._threading_atexits:  # type: ignore[attr-defined]
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    failed = _flush()
    if names_end or sys.stdout is not sys.__stdout__:
        for name in ("stdin", "stdout", "stderr"):
            setattr(sys, name, getattr(sys, f"__{name}__", None))
        if names_end:
            _end_names()
        _flush()  # nobody is told any more where this fails
    return FLUSH_FAILED if failed else 0


def _end_names() -> None:
    gc.collect()  # of cycles first, as the interpreter does: it decides in which order files and those above them end
    main = ref(sys.modules.pop("__main__"))
    gc.collect()
    module = main()
    if module is not None:  # something holds it: its names end one by one, those with an underscore first
        names = vars(module)
        for special in (True, False):
            for name in list(names):
                if (name[:1] == "_" and name[1:2] != "_") is special and name != "__builtins__":
                    names[name] = None
        gc.collect()


def _is_closed(stream: Any) -> bool:
    try:
        return bool(stream.closed)
    except Exception:  # detached, or no file at all
        return False


def _flush() -> bool:
    """Flush the standard streams; return whether that failed for what is printed."""
    failed = False
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None and not _is_closed(stream):
                stream.flush()
        except Exception:
            failed |= name == "stdout"
    return failed
