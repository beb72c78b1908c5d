"""Walls around programs: namespaces, a user of their own, a read-only root, a private folder.

Each wall is raised where the machine allows it, left out where it does not; ``Sandbox.walls`` names those that stand:

- ``pid``: the zygote is process 1 of a PID namespace, so programs see and signal none but themselves, and whatever they
  leave is killed in one call. Without it: a sub-reaper finds daemons, and a program can signal what its user can.
- ``net``, ``ipc``: no network, not even the loopback's listeners; no shared memory of others.
- ``mount``: a root that holds only Python's and the system's libraries, read-only, and an empty ``/tmp`` a program:
  there is nothing to delete, to read or to execute.
- ``uid``: programs run as a user id that nothing else uses (only root can give that).

Always: no capabilities, no new privileges, no debugging of the trusted side, rlimits.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x8000000,
    0x10000000,
    0x20000000,
    1 << 30,
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
KEPT_FLAGS = 0b1111 | 1024 | 2048  # read-only, nosuid, nodev, noexec, noatime, nodiratime: the same bits in statvfs
MNT_DETACH = 2
CAPABILITY_VERSION = 0x20080522
NEW_ROOT = "/sys"  # a folder that is always there and hides nothing we need; covered in our mount namespace alone
BOX = "/tmp"
SYSTEM = ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"]
SYSTEM += ["/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"]
DEVICES = ("null", "zero", "full", "random", "urandom")
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "shm": "/tmp"}
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    _check(_libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]), f"mount {target}")


@dataclass(frozen=True)
class Sandbox:
    """The walls that stand, and what to do behind them."""

    walls: tuple[str, ...]
    uid: int | None = None

    def drop_rights(self) -> None:
        """Give up, in a child, every right that a program needs not have."""
        if self.uid is not None:
            _become(self.uid)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        _drop_capabilities()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def make_box(self, size: int) -> str:
        """Return an empty folder that the program may write to, of so many bytes where that can be bounded."""
        if "mount" in self.walls:
            if not os.path.ismount(BOX):
                _mount("tmpfs", BOX, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={size},nr_inodes=4096")
            return BOX
        box = tempfile.mkdtemp(prefix="pper-")
        if self.uid is not None:
            os.chown(box, self.uid, -1)
        return box

    def remove_box(self, box: str) -> None:
        """Remove that folder, however odd what the program left in it."""
        if "mount" in self.walls:
            os.chmod(box, 0o1777)
            if os.listdir(box):  # a new one is safer than emptying it, but takes a millisecond
                _check(_libc.umount2(os.fsencode(box), MNT_DETACH), "umount")
            return
        try:
            shutil.rmtree(box)
        except (OSError, RecursionError):
            subprocess.run(["/bin/rm", "-rf", "--", box], check=False, stderr=subprocess.DEVNULL)

    def end_descendants(self) -> None:
        """Kill and reap every process below this one; daemons have become children of ours."""
        while True:
            with contextlib.suppress(ProcessLookupError):
                if "pid" in self.walls:
                    os.kill(-1, signal.SIGKILL)
                else:
                    _kill_children()
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


def enter() -> Sandbox:
    """Put this process behind what walls there are. The process that returns may be a fork of the one that called."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # even a stopped process goes when its parent does
    walls = _unshare()
    uid = None
    spare = 7_000_000 + os.getpid()
    if "pid" in walls:
        _become_first_process()
    if "mount" in walls:
        try:
            _build_root()
        except OSError:
            walls.remove("mount")
    if os.geteuid() == 0 and "user" not in walls:
        uid = next((uid for uid in (spare, 65534) if _works_as(uid)), None)
        walls += ["uid"] if uid is not None else []
    _prctl(PR_SET_DUMPABLE, 0)
    return Sandbox(tuple(walls), uid)


def _unshare() -> list[str]:
    """Leave the machine's namespaces, all of them or none; return the names of the walls."""
    names = {"pid": CLONE_NEWPID, "mount": CLONE_NEWNS, "net": CLONE_NEWNET, "ipc": CLONE_NEWIPC}
    flags = sum(names.values())
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and _libc.unshare(flags) == 0:
        return list(names)
    if _libc.unshare(flags | CLONE_NEWUSER) != 0:
        return []
    with contextlib.suppress(OSError):
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    return [*names, "user"]


def _become_first_process() -> None:
    """Go on as process 1 of the new PID namespace; this process only waits for it. Either's death ends both."""
    pid = os.fork()
    if pid == 0:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os.closerange(3, 1 << 16)
    os.waitpid(pid, 0)
    os._exit(0)


def _build_root() -> None:
    """Make a root of our own out of read-only views of what Python needs, and move into it."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
    ours = [f"{prefix}/{name}" for prefix in (sys.base_prefix, sys.prefix) for name in ("lib", "lib64")]
    for path in _outermost([*SYSTEM, *ours, *site.getsitepackages()]):
        _show(path)
    os.mkdir(NEW_ROOT + "/dev")
    for name in DEVICES:
        _show(f"/dev/{name}", read_only=False)
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, f"{NEW_ROOT}/dev/{name}")
    for name in ("proc", "tmp"):
        os.mkdir(f"{NEW_ROOT}/{name}")
    with contextlib.suppress(OSError):  # containers often forbid it; few programs miss it
        _mount("proc", NEW_ROOT + "/proc", "proc", MS_NOSUID | MS_NODEV)
    os.chdir(NEW_ROOT)
    if _libc.pivot_root(b".", b".") == 0:
        _check(_libc.umount2(b".", MNT_DETACH), "umount")
    else:
        os.chroot(".")
    os.chdir("/")
    _mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Return the existing paths that lie in none of the others."""
    kept: list[str] = []
    for path in sorted({path.rstrip("/") for path in paths if path.strip("/") and os.path.lexists(path)}):
        if not any(path.startswith(outer + "/") and not os.path.islink(outer) for outer in kept):
            kept.append(path)
    return kept


def _show(path: str, read_only: bool = True) -> None:
    """Show a file, folder or link of the machine at the same place of the new root."""
    place = NEW_ROOT + path
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), place)
        return
    if os.path.isdir(path):
        os.makedirs(place, exist_ok=True)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY))
    _mount(path, place, None, MS_BIND | MS_REC)
    if read_only:
        kept = os.statvfs(place).f_flag & KEPT_FLAGS
        _mount(None, place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | kept)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _works_as(uid: int) -> bool:
    """Whether a process may become that user and then still read Python's library."""
    pid = os.fork()
    if pid == 0:
        try:
            _become(uid)
            with open(os.__file__, "rb"):
                os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def _kill_children() -> None:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as listing:
            children = [int(pid) for pid in listing.read().split()]
    except OSError:
        return
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
