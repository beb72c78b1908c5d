"""Landlock: what a process may read and write, kept by the kernel; setting it up takes no rights."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same on every architecture
CREATE_VERSION = 1
PATH_BENEATH = 1
# Rights, and the version of the interface that knows them (version 1 where none is named).
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
KNOWN_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
KNOWN_RIGHTS_LATER = (1 << 16) - 1
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
BIND_AND_CONNECT_TCP = 0b11
ABSTRACT_SOCKETS_AND_SIGNALS = 0b11
LEAST_VERSION = 3  # of Linux 6.2; before it, a file that may be read may be cut to nothing
_libc = ctypes.CDLL(None, use_errno=True)


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("fd", ctypes.c_int32))


def version() -> int:
    """Return the version of the kernel's interface, 0 where there is none."""
    return max(0, int(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(CREATE_VERSION))))


class Ruleset:
    """Files that may be read, files that may be read and written, and folders to do anything in but run programs.

    Everything else, TCP ports, others' abstract sockets and signals to others are refused, as far as the kernel's
    version knows how. Raises OSError where the kernel has no landlock, or too old a version.
    """

    def __init__(self, read: Iterable[str], devices: Iterable[str], folders: Iterable[int | str]) -> None:
        kernel = version()
        if kernel < LEAST_VERSION:
            raise OSError(f"landlock of version {kernel}")
        rights = KNOWN_RIGHTS.get(kernel, KNOWN_RIGHTS_LATER)
        attr = _RulesetAttr(rights, BIND_AND_CONNECT_TCP, ABSTRACT_SOCKETS_AND_SIGNALS)
        size = 8 if kernel < 4 else 16 if kernel < 6 else 24
        self.fd = _call(CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), ctypes.c_uint32(0))
        for path in read:
            self._allow(path, READ_FILE | READ_DIR)
        for path in devices:
            self._allow(path, READ_FILE | WRITE_FILE)
        for folder in folders:
            self._allow(folder, rights & ~(EXECUTE | MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV))

    def _allow(self, path: int | str, rights: int) -> None:
        fd = path if isinstance(path, int) else os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(f"/proc/self/fd/{fd}" if isinstance(path, int) else path):
                rights &= FILE_RIGHTS
            attr = _PathAttr(rights, fd)
            _call(ADD_RULE, self.fd, PATH_BENEATH, ctypes.byref(attr), 0)
        finally:
            if fd != path:
                os.close(fd)

    def enforce(self) -> None:
        """Put this process, and all that it starts, behind the rules for good; it needs no_new_privs."""
        _call(RESTRICT_SELF, self.fd, 0)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
