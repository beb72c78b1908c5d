"""Locks that die with the process that holds them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pper_jax.errors import UserError
from pper_jax.files.run_folder import LOCK

BUSY = (errno.EAGAIN, errno.EACCES)


def try_lock(fd: int) -> bool:
    """Lock an open file for this process; False where another holds it. A disk without locks counts as locked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in BUSY
    return True


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Hold ``path`` for this process: one run a folder.

    Raises:
        UserError: another process holds it (named, where it is known).
        OSError: the folder cannot be written.
    """
    path.mkdir(parents=True, exist_ok=True)
    fd = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if not try_lock(fd):
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise UserError(f"{path} is in use by {who}; wait for it or end it, or name another folder")
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the number
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def wait_for_folder(path: Path, seconds: float) -> None:
    """Wait until no process holds ``path``, or so long: one that was told to end may still be saving."""
    if not (path / LOCK).exists():
        return
    until = time.monotonic() + seconds
    with open(path / LOCK, "rb+") as file:
        while not try_lock(file.fileno()) and time.monotonic() < until:
            time.sleep(0.2)
