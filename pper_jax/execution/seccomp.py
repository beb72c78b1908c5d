"""A filter of system calls (seccomp): what a program needs is allowed, everything else is refused.

Two filters stand behind each other. The zygote's knows every call that the zygote or a program makes, whatever its
arguments. A child's own, installed before it reads its program, takes from that what only the zygote needs (new
processes and programs, mounts, users) and looks at arguments: threads but no processes, signals to itself alone, limits
of itself alone. What is refused fails with EPERM, or with ENOSYS where the C library then does it another way. A call
by another architecture's table (32-bit code) ends the process.

The programs are classic BPF, made here: a binary search over call numbers, a few comparisons on arguments. Offsets are
those of ``struct seccomp_data``: number 0, architecture 4, arguments from 16, eight bytes each.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping

# name:number on x86-64:number on aarch64; "-" where an architecture has no such call.
PROGRAM = """
read:0:63 write:1:64 open:2:- openat:257:56 close:3:57 stat:4:- fstat:5:80 lstat:6:- newfstatat:262:79 statx:332:291
poll:7:- ppoll:271:73 select:23:- pselect6:270:72 lseek:8:62 mmap:9:222 mprotect:10:226 munmap:11:215 brk:12:214
mremap:25:216 madvise:28:233 msync:26:227 mincore:27:232 rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139
rt_sigpending:127:136 rt_sigtimedwait:128:137 rt_sigsuspend:130:133 sigaltstack:131:132 pread64:17:67 pwrite64:18:68
readv:19:65 writev:20:66 preadv:295:69 pwritev:296:70 preadv2:327:286 pwritev2:328:287 access:21:- faccessat:269:48
faccessat2:439:439 pipe:22:- pipe2:293:59 sched_yield:24:124 dup:32:23 dup2:33:- dup3:292:24 pause:34:-
nanosleep:35:101 clock_nanosleep:230:115 clock_gettime:228:113 clock_getres:229:114 gettimeofday:96:169 time:201:-
getitimer:36:102 setitimer:38:103 alarm:37:- getpid:39:172 getppid:110:173 gettid:186:178 getuid:102:174
geteuid:107:175 getgid:104:176 getegid:108:177 getgroups:115:158 getresuid:118:148 getresgid:120:150 getpgrp:111:-
getpgid:121:155 getsid:124:156 sendfile:40:71 socketpair:53:199 sendto:44:206 recvfrom:45:207 sendmsg:46:211
recvmsg:47:212 shutdown:48:210 getsockname:51:204 getpeername:52:205 getsockopt:55:209 setsockopt:54:208 exit:60:93
exit_group:231:94 wait4:61:260 waitid:247:95 uname:63:160 fcntl:72:25 flock:73:32 fsync:74:82 fdatasync:75:83
ftruncate:77:46 fallocate:285:47 getdents:78:- getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50 rename:82:-
renameat:264:38 renameat2:316:276 mkdir:83:- mkdirat:258:34 rmdir:84:- unlink:87:- unlinkat:263:35 symlink:88:-
symlinkat:266:36 readlink:89:- readlinkat:267:78 umask:95:166 getrlimit:97:163 setrlimit:160:164 getrusage:98:165
sysinfo:99:179 times:100:153 capget:125:90 sched_getaffinity:204:123 getpriority:140:141 set_tid_address:218:96
set_robust_list:273:99 futex:202:98 rseq:334:293 membarrier:324:283 getrandom:318:278 getcpu:309:168
epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21 epoll_wait:232:- epoll_pwait:281:22 eventfd:284:-
eventfd2:290:19 timerfd_create:283:85 timerfd_settime:286:86 timerfd_gettime:287:87 signalfd:282:- signalfd4:289:74
statfs:137:43 fstatfs:138:44 restart_syscall:219:128 arch_prctl:158:- copy_file_range:326:285 splice:275:76
close_range:436:436 fadvise64:221:223 link:86:- linkat:265:37
"""
FILES = """
chmod:90:- fchmod:91:52 fchmodat:268:53 utime:132:- utimes:235:- utimensat:280:88 futimesat:261:- truncate:76:45
"""
ARGUED = """
clone:56:220 kill:62:129 tgkill:234:131 rt_sigqueueinfo:129:138 rt_tgsigqueueinfo:297:240 prctl:157:167 ioctl:16:29
prlimit64:302:261
"""
ZYGOTE = """
fork:57:- vfork:58:- execve:59:221 setsid:112:157 mount:165:40 umount2:166:39 chown:92:- fchown:93:55 fchownat:260:54
lchown:94:- setuid:105:146 setgid:106:144 setresuid:117:147 setresgid:119:149 setgroups:116:159 capset:126:91
seccomp:317:277 landlock_restrict_self:446:446 pidfd_open:434:434 tkill:200:130
memfd_create:319:279
"""
TABLES = {"program": PROGRAM, "files": FILES, "argued": ARGUED, "zygote": ZYGOTE}
ARCHITECTURES = {"x86_64": (0xC000003E, 1), "aarch64": (0xC00000B7, 2)}  # AUDIT_ARCH_*, and the column of the tables
SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}

LOAD, JUMP, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x05, 0x15, 0x35, 0x54, 0x06
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
DENY = FAIL | errno.EPERM
NOT_HERE = FAIL | errno.ENOSYS
OWN_PID = 0xFFFFFFF1  # stands for the child's process id, which is filled in after the fork
LATER_CALLS = range(424, 600)  # calls so new that the C library must cope without them

THREAD = 0x100 | 0x800 | 0x10000  # CLONE_VM, CLONE_SIGHAND, CLONE_THREAD
NEW_NAMESPACES = 0x7E020000
PRCTL = (3, 15, 16, 0x53564D41)  # get dumpable, set and get the thread's name, name a mapping
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal, its size, bytes to read, flags

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
Range = tuple[int, list[Instruction]]  # its first call number, and what to do
_libc = ctypes.CDLL(None, use_errno=True)


def numbers(group: str, machine: str) -> dict[str, int]:
    """Return the calls of a group by name, with their numbers on a machine (``x86_64`` or ``aarch64``)."""
    column = ARCHITECTURES[machine][1]
    entries = (entry.split(":") for entry in TABLES[group].split())
    return {entry[0]: int(entry[column]) for entry in entries if entry[column] != "-"}


def zygote_filter(machine: str) -> list[Instruction]:
    """Return the filter that the zygote puts on itself, and so on every child."""
    rules = {number: [_return(ALLOW)] for group in TABLES for number in numbers(group, machine).values()}
    return _filter(machine, rules, otherwise=DENY)


def child_filter(machine: str, own_files: bool) -> list[Instruction]:
    """Return a child's own filter; ``own_files``: every file that it could change belongs to it (a root of its own)."""
    refused = numbers("zygote", machine) | ({} if own_files else numbers("files", machine))
    rules = {number: [_return(DENY)] for number in refused.values()}
    calls = numbers("argued", machine)
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        rules[calls[name]] = _if_argument(0, (OWN_PID,), DENY)
    rules[calls["prlimit64"]] = _if_argument(0, (0, OWN_PID), DENY)
    rules[calls["prctl"]] = _if_argument(0, PRCTL, DENY)
    rules[calls["ioctl"]] = _if_argument(1, IOCTL, FAIL | errno.ENOTTY)
    rules[calls["clone"]] = _if_argument(0, (THREAD,), DENY, mask=THREAD | NEW_NAMESPACES)
    return _filter(machine, rules, otherwise=ALLOW)


def _filter(machine: str, rules: Mapping[int, list[Instruction]], otherwise: int) -> list[Instruction]:
    code: list[Instruction] = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, ARCHITECTURES[machine][0]),
        _return(KILL),
        (LOAD, 0, 0, 0),
    ]
    refuse = {number: [_return(NOT_HERE)] for number in LATER_CALLS} if otherwise == DENY else {}
    return code + _search(_ranges({**refuse, **rules}, [_return(otherwise)]))


def _ranges(rules: Mapping[int, list[Instruction]], otherwise: list[Instruction]) -> list[Range]:
    """Return the ranges of call numbers, in order, from 0 to the last there can be."""
    ranges: list[Range] = []
    edges = sorted({0, *rules, *(number + 1 for number in rules)})
    for edge in edges:
        action = rules.get(edge, otherwise)
        if not ranges or ranges[-1][1] != action:
            ranges.append((edge, action))
    return ranges


def _search(ranges: list[Range]) -> list[Instruction]:
    """Return a binary search for the range that the loaded number lies in."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    low, high = _search(ranges[:middle]), _search(ranges[middle:])
    if len(low) < 256:
        return [(AT_LEAST, len(low), 0, ranges[middle][0]), *low, *high]
    return [(AT_LEAST, 0, 1, ranges[middle][0]), (JUMP, 0, 0, len(low)), *low, *high]


def _if_argument(place: int, values: tuple[int, ...], otherwise: int, mask: int | None = None) -> list[Instruction]:
    """Return: allow if the argument's lower half is one of these values; the kernel looks at no more of it either."""
    code: list[Instruction] = [(LOAD, 0, 0, 16 + 8 * place)]
    if mask is not None:
        code.append((AND, 0, 0, mask))
    code += [(EQUAL, len(values) - index, 0, value) for index, value in enumerate(values)]
    return [*code, _return(otherwise), _return(ALLOW)]


def _return(value: int) -> Instruction:
    return (RETURN, 0, 0, value)


class Filter:
    """A filter in memory, ready to install: one system call in a child."""

    def __init__(self, program: list[Instruction], machine: str) -> None:
        self.call = SECCOMP_CALL[machine]
        self.code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
        self.pid_words = [
            ctypes.c_uint32.from_buffer(self.code, 8 * index + 4)
            for index, line in enumerate(program)
            if line[0] == EQUAL and line[3] == OWN_PID
        ]
        self.header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(self.code)))

    def install(self) -> None:
        """Put this process behind the filter for good; it needs no_new_privs."""
        pid = os.getpid()
        for word in self.pid_words:
            word.value = pid
        if _libc.syscall(self.call, 1, 0, self.header) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"seccomp: {os.strerror(error)}")


def filters(own_files: bool) -> tuple[Filter, Filter]:
    """Return the zygote's filter and the children's for this machine; raise OSError where its calls are not known."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise OSError(f"no table of system calls for {machine}")
    return Filter(zygote_filter(machine), machine), Filter(child_filter(machine, own_files), machine)
