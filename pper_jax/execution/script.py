"""Scripts inside the sandbox: from their first line to the end that the interpreter gives them."""

from __future__ import annotations

import atexit
import gc
import sys
import threading
from posix import O_CREAT, O_EXCL, O_WRONLY, _exit, close, getcwd, lseek
from posix import open as open_file
from struct import Struct
from typing import Any, NoReturn

from _socket import AF_UNIX, CMSG_SPACE, SOCK_STREAM, socket

from pper_jax.execution import inside
from pper_jax.execution.wire import Frames, pack, write_all

TWO_FILES = Struct("2i")
FIRST_BYTES = 1 << 14
FLUSH_FAILED = 120  # the interpreter's exit status where its last flush fails


def first_message(channel: int, frames: Frames) -> tuple[Any, tuple[int, ...]]:
    """Read the first message from the channel, and the descriptors that came with it."""
    sock = socket(AF_UNIX, SOCK_STREAM, 0, channel)
    streams: tuple[int, ...] = ()
    try:
        while (message := frames.take()) is None:
            part, ancillary, _, _ = sock.recvmsg(FIRST_BYTES, CMSG_SPACE(TWO_FILES.size))
            if not part:
                return None, ()
            for _, _, data in ancillary:
                if len(data) == TWO_FILES.size:
                    streams = TWO_FILES.unpack(data)
            frames.data += part
    finally:
        sock.detach()
    return message, streams


def run_main(fd: int, source: str, name: str) -> NoReturn:
    """Run a program as ``python name.py`` does, to the very end of the interpreter, with its exit status."""
    for stream in (0, 1):
        lseek(stream, 0, 0)
    status, failure = 0, None
    path = inside.program_path(name)
    try:
        _write_file(path, source)
        sys.argv[:], sys.path[:0] = [path], [getcwd()]
        code = inside.compile_program(source, path)
        module = inside.make_module("__main__", source, path)
        inside.execute(code, module.__dict__)
    except SystemExit as error:
        status = exit_status(error.code)
    except BaseException as error:
        if isinstance(error, MemoryError):
            inside.spare.clear()
        status, failure = 1, inside.describe(error, path)
        inside.clear_frames(error.__traceback__)
    try:
        status = end_interpreter() or status
    except MemoryError:
        _exit(inside.OUT_OF_MEMORY)
    except BaseException as error:
        status, failure = 1, failure or inside.describe(error, path)
    if failure is not None:
        write_all(fd, pack({"w": failure}))
    _exit(status)


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


def end_interpreter() -> int:
    """Do what the interpreter does at its end; return 0, or the exit status where the last flush fails.

    Threads are waited for, exit functions run, the standard streams flushed; then the names of the program end, and with
    them its files, generators and objects; then what those printed is flushed.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    failed = _flush()
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, getattr(sys, f"__{name}__", None))
    sys.excepthook = sys.__excepthook__
    main = sys.modules.pop("__main__", None)
    names = vars(main) if main is not None else {}
    main = None
    gc.collect()
    for special in (True, False):
        for name in list(names):
            if (name[:1] == "_" and name[1:2] != "_") is special and name != "__builtins__":
                names[name] = None
    gc.collect()
    return FLUSH_FAILED if _flush() or failed else 0


def _flush() -> bool:
    """Flush the standard streams; return whether that failed for what is printed."""
    failed = False
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except ValueError:  # detached: what it had is in another's hands
            pass
        except Exception:
            failed |= name == "stdout"
    return failed
