"""A root that holds only Python's and the system's libraries, read-only."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable

from pper_jax.execution.kernel_calls import (
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    check,
    libc,
    mount,
)

KEPT_FLAGS = 0b1111 | 1024 | 2048  # read-only, nosuid, nodev, noexec, noatime, nodiratime: the same bits in statvfs
NEW_ROOT = "/sys"  # a folder that is always there and hides nothing we need; covered in our mount namespace alone
BOX = "/box/tmp"  # /tmp leads there; landlock looks at the folders above a mount, not at its own
SYSTEM = ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"]
SYSTEM += ["/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"]
PACKAGES = ("site-packages", "dist-packages")
DEVICES = ("null", "zero", "full", "random", "urandom")
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "shm": "/tmp"}


def build_root() -> None:
    """Make a root of our own out of read-only views of what Python needs, and move into it."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
    for path in shown():
        _show(path, _place(path))
    os.mkdir(NEW_ROOT + "/dev")
    for name in DEVICES:
        _show(f"/dev/{name}", f"/dev/{name}", read_only=False)
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, f"{NEW_ROOT}/dev/{name}")
    os.mkdir(NEW_ROOT + "/proc")
    os.makedirs(NEW_ROOT + BOX)
    os.symlink(BOX, NEW_ROOT + "/tmp")
    with contextlib.suppress(OSError):  # containers often forbid it; few programs miss it
        mount("proc", NEW_ROOT + "/proc", "proc", MS_NOSUID | MS_NODEV)
    os.chdir(NEW_ROOT)
    if libc.pivot_root(b".", b".") == 0:
        check(libc.umount2(b".", MNT_DETACH), "umount")
    else:
        os.chroot(".")
    os.chdir("/")
    mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    sys.path[:] = [_place(path) for path in sys.path]


def shown() -> list[str]:
    """Return what of the machine a program may read: the libraries of Python and of the system."""
    ours = [f"{prefix}/{name}" for prefix in (sys.base_prefix, sys.prefix) for name in ("lib", "lib64")]
    return _outermost([*SYSTEM, *ours, *(path for path in sys.path if os.path.basename(path) in PACKAGES)])


def _outermost(paths: Iterable[str]) -> list[str]:
    """Return the existing paths that lie in none of the others."""
    kept: list[str] = []
    for path in sorted({path.rstrip("/") for path in paths if path.strip("/") and os.path.lexists(path)}):
        if not any(path.startswith(outer + "/") and not os.path.islink(outer) for outer in kept):
            kept.append(path)
    return kept


def _place(path: str) -> str:
    """Return where a path of the machine is shown: the same, but for what lies in a folder that programs have anew."""
    return "/outer" + path if path.startswith(("/tmp/", "/box/", "/dev/", "/proc/")) else path


def _show(path: str, place: str, read_only: bool = True) -> None:
    """Show a file, folder or link of the machine at a place of the new root."""
    place = NEW_ROOT + place
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), place)
        return
    if os.path.isdir(path):
        os.makedirs(place, exist_ok=True)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY))
    mount(path, place, None, MS_BIND | MS_REC)
    if read_only:
        kept = os.statvfs(place).f_flag & KEPT_FLAGS
        mount(None, place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | kept)
