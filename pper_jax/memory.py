"""What the C library does with the memory of this process, where it is glibc: huge pages, and giving freed memory back.

XLA on a CPU takes its temporaries anew in every call, and the C library hands large blocks back to the kernel as soon
as they are freed: the kernel then clears their pages, 4 KiB at a time, before it gives them out again. In huge pages it
clears 2 MiB at a time. glibc reads the setting when a process begins, so that the process has to begin again.

Blocks below 32 MiB it keeps, between those that are still in use: after decoding and training in turns, half of what a
process held was such memory, which blocks of other sizes could not use.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE, SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
FIRST_GLIBC = (2, 35)  # that knows the setting

__all__ = ["begin_again_in_huge_pages", "give_back_freed_memory", "would_gain"]


def would_gain(environment: Mapping[str, str], library: str, switch: str) -> bool:
    """Whether the setting would change anything, and is not the user's to make.

    Args:
        environment: variables; one that tunes malloc is the user's word.
        library: the C library's name and version, as ``glibc 2.36``.
        switch: the kernel's choice, as ``always [madvise] never``: huge pages where they are asked for.
    """
    if VARIABLE in environment or any(name.startswith("MALLOC_") for name in environment):
        return False
    name, _, version = library.partition(" ")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    return name == "glibc" and numbers >= FIRST_GLIBC and "[madvise]" in switch


def begin_again_in_huge_pages() -> None:
    """Begin this process again with the same arguments and the setting, where it would gain; it returns where not."""
    with contextlib.suppress(OSError):  # another kernel, or one without huge pages
        if would_gain(os.environ, " ".join(platform.libc_ver()), SWITCH.read_text(encoding="ascii")):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: SETTING})


def give_back_freed_memory() -> None:
    """Give the kernel back what is freed, between blocks in use too; nothing where the C library is another one."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
