"""Standard streams: they take any text, and one that is closed or full costs a sentence and not the work."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
from typing import TextIO

LONGEST = 1000  # characters of a sentence


def open_streams() -> None:
    """Give closed standard streams a file, so that no other takes their place, and let all write any text.

    A closed standard output cannot be written, so that :func:`flushed` says so; a closed standard error is silent.
    """
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, flags)
            os.set_inheritable(fd, True)
            setattr(sys, name, open(fd, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def one_line(text: str) -> str:
    """``text`` as one line of at most LONGEST characters, control characters escaped."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found.group())[1:-1], text.strip())


def complain(error: object, code: int) -> int:
    """Say ``error`` on standard error and return ``code``."""
    with contextlib.suppress(OSError, ValueError):
        print(f"pper: {one_line(str(error))}", file=sys.stderr, flush=True)
    return code


def reader_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return False


def flushed(code: int) -> int:
    """Write out what is left; returns ``code``, or 1 in the place of 0 where standard output takes no more."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        _mute(sys.stdout)
        if code == 0 and not isinstance(error, BrokenPipeError):
            code = complain(f"cannot write to standard output: {getattr(error, 'strerror', None) or error}", 1)
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _mute(sys.stderr)
    return code


def _mute(stream: TextIO) -> None:
    """Send what ``stream`` still holds nowhere: Python writes it out again at its end."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
