"""Freed memory stays with the process, where the C library is glibc.

XLA on a CPU takes its temporaries anew in every call. glibc hands large blocks back to the kernel as soon as they are
freed, and the kernel clears their pages before it gives them out again: a training step can spend more time on that
than on its arithmetic (`BUILD_NOTES.md`, "Memory that is given back costs").
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["keep_freed_memory"]

# From malloc.h: never trim the heap's top, take no block by mmap, serve all threads from one heap.
OPTIONS = ((-1, -1), (-4, 0), (-8, 1))


def keep_freed_memory() -> bool:
    """Tell malloc of this process to keep what is freed; whether it does.

    It does not where the C library is another one, or where the environment tunes malloc itself. Processes that this
    one starts are as they were.
    """
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return False
    except (AttributeError, ValueError, OSError):  # Windows; macOS and musl
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return [mallopt(option, value) for option, value in OPTIONS] == [1] * len(OPTIONS)
