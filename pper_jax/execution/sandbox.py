"""Walls around programs: namespaces, a user of their own, a read-only root, a private folder, filters of the kernel.

Each wall is raised where the machine allows it, left out where it does not; ``Sandbox.walls`` names those that stand
(see ``isolation`` for what each is good for):

- ``pid``: the zygote is process 1 of a PID namespace, so programs see and signal none but themselves, and whatever they
  leave is killed in one call. Without it: a sub-reaper finds daemons.
- ``net``, ``ipc``: no network, not even the loopback's listeners; no shared memory of others.
- ``mount``: a root that holds only Python's and the system's libraries, read-only, and an empty ``/tmp`` a program:
  there is nothing to delete, to read or to execute.
- ``uid``: programs run as a user id that nothing else uses (only root can give that).
- ``seccomp``, ``landlock``: see the modules of that name.

Always: no capabilities, no new privileges, no debugging of the trusted side, rlimits.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
from collections.abc import Callable, Iterable, Mapping

from pper_jax.execution import landlock, seccomp
from pper_jax.execution.kernel_calls import (
    MNT_DETACH,
    MS_NODEV,
    MS_NOSUID,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    check,
    libc,
    mount,
    prctl,
)
from pper_jax.execution.root import BOX, DEVICES, build_root, shown

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x8000000,
    0x10000000,
    0x20000000,
    1 << 30,
)
CAPABILITY_VERSION = 0x20080522
BOX_PREFIX = "pper-box-"
SCRIPT = "main.py"
_setrlimit, _NPROC = resource.setrlimit, resource.RLIMIT_NPROC


class Sandbox:
    """The walls that stand, and what to do behind them.

    walls: their names. box: the folder that programs may write to, empty for each; box_bytes: its size, where that can
    be bounded. processes: for RLIMIT_NPROC. uid: the user that programs run as, None for the zygote's own.
    """

    def __init__(self, walls: list[str], box: str, box_bytes: int, processes: int, uid: int | None) -> None:
        self.walls, self.box, self.box_bytes, self.processes, self.uid = walls, box, box_bytes, processes, uid
        self.rules: landlock.Ruleset | None = None
        self.filter: seccomp.Filter | None = None

    def drop_rights(self) -> None:
        """Give up, in a child, every right that a program needs not have."""
        _setrlimit(_NPROC, (self.processes, self.processes))
        if self.uid is not None:
            os.setresuid(self.uid, self.uid, self.uid)  # from root: the capabilities go with it
        else:
            _drop_capabilities()
        if "pid" not in self.walls:  # with it, the end of the zygote is the end of all
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if self.rules is not None:
            self.rules.enforce()
        if self.filter is not None:
            self.filter.install()

    def make_box(self) -> None:
        """See that the program's folder is there, and of bounded size where that can be."""
        if "mount" in self.walls:
            if not os.path.ismount(self.box):
                options = f"mode=1777,size={self.box_bytes},nr_inodes=4096"
                mount("tmpfs", self.box, "tmpfs", MS_NOSUID | MS_NODEV, options)
        elif not os.path.isdir(self.box):
            os.mkdir(self.box, 0o700)
            if self.uid is not None:
                os.chown(self.box, self.uid, -1)

    def empty_box(self) -> None:
        """Remove what a program left, however odd."""
        if "mount" in self.walls:
            os.chmod(self.box, 0o1777)
            if not _holds_script_alone(self.box):  # a new one is safer than emptying it, but takes a millisecond
                check(libc.umount2(os.fsencode(self.box), MNT_DETACH), "umount")
            return
        outer = os.path.dirname(self.box)
        if os.listdir(outer) != [os.path.basename(self.box)]:
            for name in os.listdir(outer):
                _remove(os.path.join(outer, name))
        elif not _holds_script_alone(self.box):
            _remove(self.box)

    def remove_box(self) -> None:
        """Remove the folder itself; only for the end of the zygote."""
        if "mount" not in self.walls:
            _remove(os.path.dirname(self.box))

    def end_child(self, child: int) -> tuple[int, float, int]:
        """Kill and reap a child and all below it; return its wait status, CPU seconds and most memory in MiB."""
        status, cpu, most_mb = 0, 0.0, 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        while True:
            with contextlib.suppress(ProcessLookupError):
                if "pid" in self.walls:
                    os.kill(-1, signal.SIGKILL)
            try:
                pid, ended, usage = os.wait4(-1, 0)
            except ChildProcessError:
                return status, cpu, most_mb
            if pid == child:
                status, cpu, most_mb = ended, usage.ru_utime + usage.ru_stime, usage.ru_maxrss >> 10
            if "pid" not in self.walls:
                _kill_children()  # daemons have become children of ours


def enter(limits: Mapping[str, float], without: Iterable[str] = ()) -> Sandbox:
    """Put this process behind what walls there are, but those in ``without``.

    The process that returns may be a fork of the one that called.
    """
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # even a stopped process goes when its parent does
    walls = _unshare() if "namespaces" not in without else []
    spare = 7_000_000 + os.getpid()
    if "pid" in walls:
        _become_first_process()
    if "mount" in walls:
        try:
            build_root()
        except OSError:
            walls.remove("mount")
    uid = None
    if os.geteuid() == 0 and "user" not in walls and "uid" not in without:
        uid = next((uid for uid in (spare, 65534) if _works_as(uid)), None)
        walls += ["uid"] if uid is not None else []
    box = BOX if "mount" in walls else os.path.join(_outer_folder(), "box")
    processes = int(limits["processes"])
    if uid is None and "user" not in walls:  # the kernel counts what else this user runs
        processes += _count_own_threads()
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
    sandbox = Sandbox(walls, box, 4 * int(limits["file_bytes"]), processes, uid)
    _limit_resources(limits)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 0)
    if "landlock" not in without:
        _add_landlock(sandbox)
    if "seccomp" not in without:
        _add_seccomp(sandbox)
    return sandbox


def follow_parent(parent: int) -> None:
    """End this process when its parent does."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def set_thread_stack(memory_mb: int) -> None:
    """Have threads take 8 MiB of address space each, as usual, or less where the limit would not hold 128 of them."""
    size = min(8, max(1, memory_mb // 128)) << 20
    attributes = ctypes.create_string_buffer(256)
    with contextlib.suppress(AttributeError):  # not every C library has it
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(size))
        libc.pthread_setattr_default_np(attributes)


def hide() -> None:
    """Forbid others of the same user to look into this process, which holds what programs must not see."""
    prctl(PR_SET_DUMPABLE, 0)


def _limit_resources(limits: Mapping[str, float]) -> None:
    """Set the kernel's limits that this process may share with its children, hard and soft alike."""
    for what, value in (
        (resource.RLIMIT_AS, int(limits["memory_mb"]) << 20),
        (resource.RLIMIT_FSIZE, int(max(limits["file_bytes"], limits["output_bytes"] + 1))),
        (resource.RLIMIT_NOFILE, int(limits["open_files"])),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (ceiling, ceiling))


def _add_landlock(sandbox: Sandbox) -> None:
    """Make the rules for children, and keep them if a child behind them can do what it must and nothing else."""
    try:
        devices = [f"/dev/{name}" for name in DEVICES if os.path.exists(f"/dev/{name}")]
        read = ["/"] if "mount" in sandbox.walls else [path for path in shown() if os.path.exists(path)]
        rules = landlock.Ruleset(read, devices, [os.path.dirname(sandbox.box)])
    except OSError:
        return

    def probe() -> bool:
        rules.enforce()
        with open(os.__file__, "rb"):
            pass
        try:
            os.close(os.open("/proc/self/root", os.O_RDONLY) if "mount" not in sandbox.walls else os.open("/x", 65))
        except OSError:
            return True
        return False

    if _try_in_child(probe):
        sandbox.rules = rules
        sandbox.walls.append("landlock")


def _add_seccomp(sandbox: Sandbox) -> None:
    """Put this process behind the filter, and children behind theirs if that works as it should."""
    try:
        own, childs = seccomp.filters(own_files="mount" in sandbox.walls)
    except OSError:
        return

    def probe() -> bool:
        own.install()
        childs.install()
        os.kill(os.getpid(), 0)
        try:
            os.fork()
        except PermissionError:
            return True
        return False

    if _try_in_child(probe):
        own.install()
        sandbox.filter = childs
        sandbox.walls.append("seccomp")


def _try_in_child(step: Callable[[], bool]) -> bool:
    """Whether a step works, tried in a fork that ends with it."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if step() else 1)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _outer_folder() -> str:
    """Return a new folder for a program's folder, held by a lock, once those are gone that nobody holds any more."""
    import tempfile  # not before it is needed: what the zygote imports makes every fork slower

    place = tempfile.gettempdir()
    for name in os.listdir(place):
        path = os.path.join(place, name)
        if name.startswith(BOX_PREFIX) and (lock := _lock(path)) is not None:
            _remove(path)
            os.close(lock)
    path = tempfile.mkdtemp(prefix=BOX_PREFIX)
    os.chmod(path, 0o711)
    _lock(path)  # until this process ends
    return path


def _lock(path: str) -> int | None:
    """Return a descriptor that holds the lock of a folder, or None where another process has it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _holds_script_alone(folder: str) -> bool:
    """Whether a folder is empty, but for a script's own file, which is removed then."""
    try:
        left = os.listdir(folder)
        if left == [SCRIPT]:
            os.unlink(os.path.join(folder, SCRIPT))
            left = []
    except OSError:
        return False
    return not left


def _remove(path: str) -> None:
    """Remove a file or a tree, also one nested deeper than names can be long, or one that forbids to be read."""
    import shutil

    with contextlib.suppress(OSError, RecursionError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    if os.path.lexists(path):
        for folder, names, _ in os.walk(path):
            for name in [".", *names]:
                with contextlib.suppress(OSError):
                    os.chmod(os.path.join(folder, name), 0o700, follow_symlinks=name == ".")
        with contextlib.suppress(OSError):
            pid = os.posix_spawn("/bin/rm", ["rm", "-rf", "--", path], {}, file_actions=[(os.POSIX_SPAWN_DUP2, 0, 2)])
            os.waitpid(pid, 0)


def _unshare() -> list[str]:
    """Leave the machine's namespaces, all of them or none; return the names of the walls."""
    names = {"pid": CLONE_NEWPID, "mount": CLONE_NEWNS, "net": CLONE_NEWNET, "ipc": CLONE_NEWIPC}
    flags = sum(names.values())
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and libc.unshare(flags) == 0:
        return list(names)
    if libc.unshare(flags | CLONE_NEWUSER) != 0:
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
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os.closerange(3, 1 << 16)
    os.waitpid(pid, 0)
    os._exit(0)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _works_as(uid: int) -> bool:
    """Whether a process may become that user and then still read Python's library."""

    def step() -> bool:
        _become(uid)
        with open(os.__file__, "rb"):
            return True

    return _try_in_child(step)


_CAPABILITIES = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()


def _count_own_threads() -> int:
    """Return how many threads this process's user has on the machine."""
    count, uid = 0, os.getuid()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}").st_uid == uid:
                    count += len(os.listdir(f"/proc/{entry}/task"))
    return count


def _drop_capabilities() -> None:
    check(libc.capset(*_CAPABILITIES), "capset")


def _kill_children() -> None:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as listing:
            children = [int(pid) for pid in listing.read().split()]
    except OSError:
        return
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
