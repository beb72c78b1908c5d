"""Hostile programs of kinds that the shared collection lacks, each with the statuses that a sound pool may give.

The shared collection (``hostile.jsonl``) has: exits, lying equality, pickles, frames, gc, patched builtins and clocks,
writes to descriptors, threads, signals to the parent, forks and daemons, endless loops and hogs of memory, odd returns,
odd sources, stdin and stdout idioms, comparison, deletes, reads of home and environment, the loopback, rlimits, shm.

Here: the kernel's other doors (system calls by number, other architectures' calls, namespaces, keys, shared memory that
outlives its process), ways out of the folder, what a folder can be left like, forged answers on the private channel,
values and exceptions that lie about themselves, the interpreter's hooks, time that is not CPU time.
"""

# ruff: noqa: E501  (programs as text)
from __future__ import annotations

from typing import Any, NamedTuple


class Hostile(NamedTuple):
    """A program, its tests, and the statuses that each test may have."""

    program: str
    tests: dict[str, Any]
    accepted: frozenset[str]


REFUSED = frozenset({"pass", "error", "crash"})  # the program returns "blocked", or its attempt was its end
WRONG = frozenset({"fail", "error", "crash", "timeout", "memory", "output_limit"})  # anything but a pass
RIGHT = frozenset({"pass"})
PROGRAMS: dict[str, Hostile] = {}

KERNEL = """
import ctypes, os, errno
libc = ctypes.CDLL(None, use_errno=True)
ARM = os.uname().machine == 'aarch64'
def call(x86, arm, *args):
    return libc.syscall(ctypes.c_long(arm if ARM else x86), *args)
def verdict(result):
    return 'blocked' if result < 0 else 'done'
"""


def attempt(name: str, body: str, prelude: str = KERNEL, accepted: frozenset[str] = REFUSED) -> None:
    """An attempt that has to fail: ``body`` returns "blocked" then."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    tests = {"kind": "call", "fn_name": "f", "cases": [{"args": [1], "expected": "blocked"}]}
    PROGRAMS[name] = Hostile(f"{prelude}\ndef f(x):\n{lines}", tests, accepted)


def lie(name: str, program: str, accepted: frozenset[str] = WRONG) -> None:
    """A program whose ``f`` is wrong, but wants to pass: two literal asserts and one with code."""
    texts = ["assert f(1) == 2", "assert f(5) == 6", "assert abs(f(3) - 4) < 1e-9 and sorted([f(2)]) == [3]"]
    PROGRAMS[name] = Hostile(program, {"kind": "asserts", "asserts": texts}, accepted)


def stall(name: str, program: str, accepted: frozenset[str] = WRONG) -> None:
    """A program that never answers in time; one test, for each takes its time."""
    PROGRAMS[name] = Hostile(program, {"kind": "asserts", "asserts": ["assert f(1) == 2"]}, accepted)


def odd(name: str, program: str) -> None:
    """A program that behaves oddly but gives right answers."""
    PROGRAMS[name] = Hostile(program, {"kind": "asserts", "asserts": ["assert f(1) == 2", "assert f(5) == 6"]}, RIGHT)


def script(name: str, program: str, stdin: str, stdout: str, accepted: frozenset[str]) -> None:
    """A script with one test."""
    PROGRAMS[name] = Hostile(program, {"kind": "stdio", "cases": [{"stdin": stdin, "stdout": stdout}]}, accepted)


# The kernel's other doors
attempt("ptrace_parent", "return verdict(call(101, 117, 16, os.getppid(), 0, 0))")
attempt("ptrace_traceme", "return verdict(call(101, 117, 0, 0, 0, 0))")
attempt(
    "read_memory_of_parent",
    "buffer = ctypes.create_string_buffer(64)\n"
    "iov = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)\n"
    "return verdict(call(310, 270, os.getppid(), iov, 1, iov, 1, 0))",
)
attempt(
    "read_proc_mem_of_parent",
    "try:\n    open('/proc/%d/mem' % os.getppid(), 'rb').read(1)\nexcept OSError:\n    return 'blocked'\nreturn 'done'",
)
attempt("bpf", "return verdict(call(321, 280, 0, ctypes.create_string_buffer(128), 128))")
attempt("perf_event_open", "return verdict(call(298, 241, ctypes.create_string_buffer(128), 0, -1, -1, 0))")
attempt("userfaultfd", "return verdict(call(323, 282, 1))")
attempt("io_uring", "return verdict(call(425, 425, 8, ctypes.create_string_buffer(256)))")
attempt("add_key", "return verdict(call(248, 217, b'user', b'pper', b'x', 1, -2))")
attempt("keyctl_session", "return verdict(call(250, 219, 1, None))")
attempt("unshare_user", "return verdict(libc.unshare(0x10000000))")
attempt("unshare_network", "return verdict(libc.unshare(0x40000000))")
attempt("setns", "return verdict(libc.setns(3, 0))")
attempt("mount_tmpfs", "return verdict(libc.mount(b'none', b'/tmp', b'tmpfs', ctypes.c_ulong(0), None))")
attempt("umount_box", "return verdict(libc.umount2(os.getcwd().encode(), 2))")
attempt("chroot", "return verdict(libc.chroot(b'.'))")
attempt("pivot_root", "return verdict(libc.pivot_root(b'.', b'.'))")
attempt("become_root", "return verdict(libc.setresuid(0, 0, 0) if os.getuid() else -1)")
attempt(
    "regain_capabilities",
    "return verdict(libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[1 << 21] * 6)))",
)
attempt("second_filter", "return verdict(libc.prctl(22, 1, 0, 0, 0))")
attempt("survive_parent", "return verdict(libc.prctl(1, 0, 0, 0, 0))")
attempt("become_dumpable", "return verdict(libc.prctl(4, 1, 0, 0, 0))")
attempt("reboot", "return verdict(call(169, 142, 0xFEE1DEAD, 672274793, 0x89ABCDEF, 0))")
attempt("clone_process", "pid = call(56, 220, 17, 0, 0, 0, 0)\nif pid == 0:\n    os._exit(0)\nreturn verdict(pid)")
attempt(
    "clone3_process",
    "pid = call(435, 435, (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17, 0, 0, 0), 64)\nif pid == 0:\n    os._exit(0)\nreturn verdict(pid)",
)
attempt("vfork", "pid = libc.vfork() if not ARM else -1\nif pid == 0:\n    os._exit(0)\nreturn verdict(pid)")
attempt(
    "posix_spawn",
    "try:\n    os.posix_spawn('/bin/true', ['true'], {})\nexcept OSError:\n    return 'blocked'\nreturn 'done'",
)
attempt(
    "execve_self",
    "try:\n    os.execve('/proc/self/exe', ['python', '-c', 'print(1)'], {})\nexcept OSError:\n    return 'blocked'",
)
attempt(
    "exec_memory_file",
    "fd = call(319, 279, b'x', 0)\nreturn verdict(fd if fd < 0 else call(322, 281, fd, b'', None, None, 0x1000))",
)
attempt(
    "kill_process_group",
    "return verdict(libc.kill(0, 0)) if os.getpgrp() != os.getpid() else verdict(libc.kill(-1, 0))",
)
attempt("signal_by_descriptor", "return verdict(call(434, 434, os.getppid() or 1, 0))")
attempt("limits_of_parent", "return verdict(call(302, 261, os.getppid() or 1, 7, (ctypes.c_uint64 * 2)(0, 0), None))")
attempt("priority_of_others", "return verdict(libc.setpriority(2, 0, -5))")
attempt(
    "calls_of_x32",
    "return verdict(libc.syscall(ctypes.c_long(0x40000000 + 39)) if not ARM else -1)",
)
attempt(
    "calls_of_32_bits",
    "import mmap\n"
    "if ARM: return 'blocked'\n"
    "page = mmap.mmap(-1, 4096, prot=7)\n"
    "page.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"  # mov eax, 20 (getpid); int 0x80; ret
    "address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
    "return verdict(ctypes.CFUNCTYPE(ctypes.c_int)(address)())",
)
attempt(
    "type_into_terminal",
    "import fcntl\ntry:\n    fcntl.ioctl(0, 0x5412, b'x')\nexcept OSError:\n    return 'blocked'\nreturn 'done'",
)
SOCKET = "import os, socket\ndef can(*kind):\n    try:\n        socket.socket(*kind)\n    except OSError:\n        return 'blocked'\n    return 'done'"
attempt("netlink_socket", "return can(socket.AF_NETLINK, socket.SOCK_RAW, 0)", SOCKET)
attempt("packet_socket", "return can(socket.AF_PACKET, socket.SOCK_RAW, 0)", SOCKET)
attempt("udp_socket", "return can(socket.AF_INET, socket.SOCK_DGRAM)", SOCKET)
attempt("unix_socket", "return can(socket.AF_UNIX)", SOCKET)
attempt("sysv_shared_memory", "return verdict(call(29, 194, 0x70706572, 4096, 0o1666))")
attempt("sysv_semaphores", "return verdict(call(64, 190, 0x70706572, 1, 0o1666))")
attempt("message_queue", "return verdict(call(240, 180, b'pper', 0o102, 0o600, None))")

# Ways out of the folder
WRITE = "import os\ndef write(path):\n    try:\n        open(path, 'w').close()\n    except OSError:\n        return 'blocked'\n    return 'done'"
attempt("write_into_library", "return write(os.path.join(os.path.dirname(os.__file__), 'pper_probe.py'))", WRITE)
attempt(
    "cut_library_by_reading",
    "import json\ntry:\n    os.close(os.open(json.__file__, os.O_RDONLY | os.O_TRUNC))\nexcept OSError:\n    return 'blocked'\nreturn 'done'",
    WRITE,
)
attempt(
    "poison_pycache",
    "import json\nreturn write(os.path.join(os.path.dirname(json.__file__), '__pycache__', 'pper_probe.pyc'))",
    WRITE,
)
attempt(
    "chmod_library",
    "try:\n    os.chmod(os.__file__, 0o644)\nexcept OSError:\n    return 'blocked'\nreturn 'done'",
    WRITE,
)
attempt(
    "touch_library",
    "try:\n    os.utime(os.__file__, (0, 0))\nexcept OSError:\n    return 'blocked'\nreturn 'done'",
    WRITE,
)
attempt("symbolic_link_out", "os.symlink('/etc', 'out')\nreturn write('out/pper_probe')", WRITE)
attempt("dots_out", "return write('../' * 12 + 'var/tmp/pper_probe')", WRITE)
attempt(
    "hard_link_to_library",
    "try:\n    os.link(os.__file__, 'mine')\nexcept OSError:\n    return 'blocked'\nreturn write('mine')",
    WRITE,
)
attempt(
    "make_device",
    "try:\n    os.mknod('disk', 0o60666, os.makedev(259, 0))\nexcept OSError:\n    return 'blocked'\nreturn 'done'",
    WRITE,
)
attempt(
    "directory_descriptor",
    "try:\n    fd = os.open('/', os.O_RDONLY)\n    os.mkdir('pper_probe', dir_fd=fd)\nexcept OSError:\n    return 'blocked'\nreturn 'done'",
    WRITE,
)
attempt("read_passwords", "try:\n    return open('/etc/shadow').read()\nexcept OSError:\n    return 'blocked'", WRITE)

# What a folder can be left like
odd(
    "deep_folders",
    "import os\nfor _ in range(1500):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\ndef f(x): return x + 1",
)
odd(
    "odd_names",
    "import os\nfor name in (b'\\xff\\xfe', b'-rf', b'a\\nb', b' ', b'*'):\n    open(name, 'w').close()\ndef f(x): return x + 1",
)
odd(
    "forbidden_folder",
    "import os\nos.mkdir('a'); os.mkdir('a/b'); open('a/b/c', 'w').close()\nos.umask(0o777)\nos.mkdir('closed', 0)\ndef f(x): return x + 1",
)
odd("fifo_left", "import os\ntry: os.mkfifo('pipe')\nexcept OSError: pass\ndef f(x): return x + 1")
odd(
    "many_files",
    "try:\n    for i in range(2000): open(str(i), 'w').close()\nexcept OSError: pass\ndef f(x): return x + 1",
)
lie(
    "file_beyond_limit",
    "def f(x):\n    with open('big', 'wb') as file:\n        for _ in range(80): file.write(bytes(1 << 20))\n    return x + 1",
)
lie(
    "sparse_file_beyond_limit",
    "import os\ndef f(x):\n    os.truncate(os.open('big', os.O_CREAT | os.O_RDWR), 1 << 40)\n    return x + 1",
)
odd("folder_gone", "import os, shutil\nshutil.rmtree(os.getcwd(), ignore_errors=True)\ndef f(x): return x + 1")

# Forged answers on the private channel
FRAME = "import os, json, struct\ndef say(*words):\n    for word in words:\n        data = json.dumps(word).encode()\n        try: os.write(3, struct.pack('!I', len(data)) + data)\n        except OSError: pass\n"
lie("answers_ahead", FRAME + "say(*[{'n': n, 'v': True} for n in range(50)])\ndef f(x): return 99")
lie("answers_instead", FRAME + "def f(x):\n    say(*[{'n': n, 'v': None} for n in range(50)])\n    os._exit(0)")
lie(
    "answer_of_changes",
    FRAME + "def f(x):\n    say(*[{'n': n, 'v': 99, 'm': [[0, 99], [7, {'d': 1}]]} for n in range(9)])\n    return 99",
)
lie(
    "answer_of_objects",
    FRAME + "def f(x):\n    say(*[{'n': n, 'v': {'r': [-1, 'int']}} for n in range(9)])\n    return 99",
)
lie(
    "answer_of_unknown_kind",
    FRAME + "def f(x):\n    say(*[{'n': n, 'v': {'py/object': 'os.system'}} for n in range(9)])\n    return 99",
)
lie("answer_too_long", "import os\ndef f(x):\n    os.write(3, b'\\xff\\xff\\xff\\xff')\n    return x + 1", WRONG)
stall("answer_half", "import os, time\ndef f(x):\n    os.write(3, b'\\0\\0\\1\\0{')\n    time.sleep(60)")
lie("answer_nothing", "import os\ndef f(x):\n    os.write(3, b'\\0\\0\\0\\4null' * 1000)\n    return 99")
lie(
    "answer_deep",
    "import os, struct\ndef f(x):\n    data = b'{\"n\":1,\"v\":' + b'[' * 90000 + b']' * 90000 + b'}'\n    os.write(3, struct.pack('!I', len(data)) + data)\n    return 99",
)
lie(
    "another_reader",
    "import os, threading\nthreading.Thread(target=lambda: [os.read(3, 1) for _ in iter(int, 1)], daemon=True).start()\ndef f(x): return 99",
)
stall(
    "patch_the_wire",
    "import sys\nfor name in list(sys.modules):\n    if name.startswith('pper_jax'):\n        for key in ('encode', 'decode', 'pack', 'write_message', 'describe', 'Server'):\n            setattr(sys.modules[name], key, lambda *a, **k: {'n': 1, 'v': True})\ndef f(x): return 99",
)

# Values and exceptions that lie about themselves
lie(
    "class_property",
    "class A:\n    @property\n    def __class__(self): return int\n    __index__ = __int__ = lambda s: 2\n    __float__ = lambda s: 2.0\ndef f(x): return A()",
)
lie(
    "meta_equality",
    "class M(type):\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 0\n    __instancecheck__ = lambda s, o: True\nclass A(metaclass=M): pass\ndef f(x): return A",
)
lie(
    "reflected_arithmetic",
    "class A(float):\n    __eq__ = __lt__ = __le__ = lambda s, o: True\n    __sub__ = __rsub__ = __abs__ = lambda s, *o: 0.0\n    __hash__ = float.__hash__\ndef f(x): return A(99)",
)
lie("infinity", "def f(x): return float('inf') if x < 5 else float('nan')")
lie(
    "exception_of_a_test",
    "def f(x):\n    raise type('AssertionError', (AssertionError,), {'__bool__': lambda s: False})",
)
lie("keyboard_interrupt", "def f(x): raise KeyboardInterrupt")
lie("generator_exit", "def f(x): raise GeneratorExit")
lie(
    "exception_that_exits",
    "import os\nclass E(Exception):\n    __class__ = property(lambda s: os._exit(0))\n    __traceback__ = property(lambda s: os._exit(0))\ndef f(x): raise E",
)
lie("warning_as_value", "import warnings\nwarnings.showwarning = lambda *a, **k: None\ndef f(x): return NotImplemented")
lie("ellipsis", "def f(x): return ...")
lie("rewrite_integers", "import ctypes\ndef f(x):\n    ctypes.memmove(id(99) + 24, id(2) + 24, 4)\n    return None")

# The interpreter's hooks
lie(
    "import_hook",
    "import sys\nclass H:\n    def find_spec(self, *a): raise SystemExit(0)\nsys.meta_path.insert(0, H())\nsys.path_hooks.clear()\nsys.modules.clear()\ndef f(x): return 99",
)
lie("audit_hook", "import os, sys\nsys.addaudithook(lambda *a: os._exit(0))\ndef f(x): return 99")
lie(
    "excepthook",
    "import os, sys\nsys.excepthook = sys.unraisablehook = lambda *a: os._exit(0)\ndef f(x): raise ValueError",
)
lie(
    "finalizer",
    "import os\nclass A:\n    def __del__(self): os._exit(0)\na = A()\ndef f(x):\n    global a\n    a = None\n    return 99",
)
lie(
    "faulthandler_exit",
    "import faulthandler\nfaulthandler.dump_traceback_later(0.05, exit=True)\nimport time\ndef f(x):\n    time.sleep(0.2)\n    return 99",
)
lie(
    "gc_callback",
    "import gc, os\ngc.callbacks.append(lambda *a: os._exit(0))\ndef f(x):\n    gc.collect()\n    return 99",
)

# Time that is not CPU time, and CPU time that no Python code spends
stall("sleeps", "import time\ndef f(x):\n    time.sleep(60)\n    return x + 1", frozenset({"timeout"}))
stall(
    "stops_itself",
    "import os, signal\ndef f(x):\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return x + 1",
    frozenset({"timeout"}),
)
stall(
    "regular_expression",
    "import re\ndef f(x):\n    re.match('(a*)*b', 'a' * 40)\n    return x + 1",
    frozenset({"timeout"}),
)
stall(
    "slow_to_compile",
    "def f(x): return x + 1\n"
    + "".join(" " * depth + "try:\n" + " " * depth + " pass\n" + " " * depth + "finally:\n" for depth in range(19))
    + " " * 19
    + "pass\n",
    frozenset({"timeout", "error", "memory", "pass"}),
)
stall(
    "threads_without_end",
    "import threading, time\ndef f(x):\n    while True:\n        try: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n        except RuntimeError: pass",
)
stall(
    "decompression",
    "import zlib\ndef f(x):\n    data = zlib.compress(bytes(1 << 26))\n    return [zlib.decompress(data) for _ in range(99)]",
)

# Scripts
script(
    "reads_other_descriptors",
    "import os\nfor fd in range(64):\n    try:\n        data = os.pread(fd, 9999, 0)\n        if b'4711' in data: print('4711')\n    except OSError: pass\nprint('none')",
    "1\n",
    "4711\n",
    WRONG,
)
script(
    "rewrites_its_input",
    "import os\nos.ftruncate(0, 0)\nos.write(0, b'4711')\nprint(open(0).read())",
    "1\n",
    "4711\n",
    WRONG,
)
script("prints_far_away", "import os\nos.lseek(1, 1 << 40, 0)\nos.write(1, b'2')", "1\n", "2\n", WRONG)
script("prints_no_text", "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe2\\n')", "1\n", "2\n", WRONG)
script("prints_nul", "print('2\\0')", "1\n", "2\n", WRONG)
script(
    "output_of_a_dying_thread",
    "import os, threading\ndef g():\n    print(2, flush=True)\n    os._exit(7)\nthreading.Thread(target=g).start()",
    "1\n",
    "2\n",
    WRONG,
)
script(
    "answers_on_the_channel", "import os\nos.write(3, b'\\0\\0\\0\\x0b{\"x\":[1,2]}')\nos._exit(3)", "1\n", "", WRONG
)
script(
    "closes_everything_first",
    "import os\nos.write(1, b'2\\n')\nos.closerange(0, 99)",
    "1\n",
    "2\n",
    frozenset({"pass", "error", "crash"}),
)
