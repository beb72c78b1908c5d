"""The layers of isolation: what each refuses, and that the pool says which of them stand."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from pper_jax.execution import Job, Limits, TestPool, landlock, seccomp
from pper_jax.execution.isolation import LAYERS, is_strong, missing_layers

LIMITS = Limits(timeout_s=1.0, wall_s=3.0, memory_mb=512)
ALLOW, DENY, NOT_HERE, KILL = seccomp.ALLOW, seccomp.DENY, seccomp.NOT_HERE, seccomp.KILL
MACHINES = sorted(seccomp.ARCHITECTURES)
PID = 4242


def run_filter(program: list[seccomp.Instruction], machine: str, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel would answer: classic BPF, as far as the filters use it."""
    words = {0: number, 4: seccomp.ARCHITECTURES[machine][0]}
    for place in range(6):
        words[16 + 8 * place] = (arguments[place] if place < len(arguments) else 0) & 0xFFFFFFFF
    loaded, at = 0, 0
    while True:
        code, yes, no, operand = program[at]
        operand = PID if operand == seccomp.OWN_PID else operand
        at += 1
        if code == seccomp.LOAD:
            loaded = words[operand]
        elif code == seccomp.AND:
            loaded &= operand
        elif code == seccomp.JUMP:
            at += operand
        elif code == seccomp.RETURN:
            return operand
        else:
            at += yes if (loaded == operand if code == seccomp.EQUAL else loaded >= operand) else no


def child_says(machine: str, name: str, *arguments: int, own_files: bool = True) -> int:
    """What the two filters say together, as the kernel takes them: the stricter wins."""
    number = next(
        seccomp.numbers(group, machine)[name] for group in seccomp.TABLES if name in seccomp.numbers(group, machine)
    )
    answers = [
        run_filter(program, machine, number, arguments)
        for program in (seccomp.zygote_filter(machine), seccomp.child_filter(machine, own_files))
    ]
    return next((answer for answer in answers if answer != ALLOW), ALLOW)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_program_may_compute_and_use_its_folder(machine: str) -> None:
    for name in seccomp.numbers("program", machine):
        assert child_says(machine, name) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_what_the_zygote_does_a_program_may_not(machine: str) -> None:
    for name, number in seccomp.numbers("zygote", machine).items():
        assert run_filter(seccomp.zygote_filter(machine), machine, number) == ALLOW
        assert child_says(machine, name) == DENY


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("kill", (PID, 9), ALLOW),
        ("kill", (1, 9), DENY),
        ("kill", (0, 9), DENY),
        ("kill", (-1, 9), DENY),
        ("kill", (-PID, 9), DENY),
        ("tgkill", (PID, 77, 6), ALLOW),
        ("tgkill", (77, 77, 6), DENY),
        ("rt_sigqueueinfo", (77, 9), DENY),
        ("clone", (0x3D0F00,), ALLOW),  # a thread, as the C library starts one
        ("clone", (17,), DENY),  # a fork
        ("clone", (0x4111,), DENY),  # a vfork
        ("clone", (0x3D0F00 | 0x10000000,), DENY),  # a thread in a new user namespace
        ("prctl", (15,), ALLOW),
        ("prctl", (22, 2), DENY),
        ("prctl", (1, 0), DENY),
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (77, 7), DENY),
        ("ioctl", (1, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), seccomp.FAIL | errno.ENOTTY),
    ],
)
def test_calls_that_depend_on_their_arguments(machine: str, name: str, arguments: tuple[int, ...], answer: int) -> None:
    assert child_says(machine, name, *arguments) == answer


@pytest.mark.parametrize("machine", MACHINES)
def test_files_that_are_not_the_programs_own_keep_their_modes_and_times(machine: str) -> None:
    for name in seccomp.numbers("files", machine):
        assert child_says(machine, name, own_files=True) == ALLOW
        assert child_says(machine, name, own_files=False) == DENY


@pytest.mark.parametrize("machine", MACHINES)
def test_every_other_call_is_refused(machine: str) -> None:
    program = seccomp.zygote_filter(machine)
    known = {number for group in seccomp.TABLES for number in seccomp.numbers(group, machine).values()}
    for number in [*range(700), 0x40000000, 0x40000001, 0xFFFFFFFF]:
        if number not in known:
            assert run_filter(program, machine, number) == (NOT_HERE if 424 <= number < 600 else DENY)
    assert known.isdisjoint({101, 321, 323} if machine == "x86_64" else {117, 280, 282})  # ptrace, bpf, userfaultfd


def test_calls_by_another_architectures_table_end_the_process() -> None:
    for machine, other in zip(MACHINES, reversed(MACHINES), strict=True):
        for program in (seccomp.zygote_filter(machine), seccomp.child_filter(machine, True)):
            assert run_filter(program, other, 0) == KILL


def in_a_process(code: str) -> str:
    """Run Python code in a process of its own, which may put itself behind walls for good; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=os.path.dirname(__file__) + "/../..",
    )
    return done.stdout.strip()


@pytest.mark.skipif(landlock.version() < landlock.LEAST_VERSION, reason="this kernel has no landlock")
def test_landlock_leaves_one_folder_to_write(tmp_path: os.PathLike[str]) -> None:
    code = f"""
import ctypes, os
from pper_jax.execution.landlock import Ruleset
inside, outside, shown = (os.path.join({str(tmp_path)!r}, name) for name in ("in", "out", "shown"))
for folder in (inside, outside, shown):
    os.mkdir(folder)
    open(folder + "/there", "w").write("text")
rules = Ruleset([shown], ["/dev/null"], [inside])
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
rules.enforce()
def can(step):
    try:
        step()
        return "yes"
    except PermissionError:
        return "no"
print(can(lambda: open(inside + "/new", "w").close()), can(lambda: open(shown + "/there").read()),
      can(lambda: open("/dev/null", "w").close()), can(lambda: os.rename(inside + "/new", inside + "/newer")),
      can(lambda: open(shown + "/there", "w")), can(lambda: open(outside + "/there").read()),
      can(lambda: os.unlink(outside + "/there")), can(lambda: os.listdir("/proc/self")),
      can(lambda: os.rename(outside + "/there", inside + "/there2")), can(lambda: os.execv("/bin/true", ["true"])))
"""
    assert in_a_process(code) == "yes yes yes yes no no no no no no"


def test_the_pool_says_which_layers_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("def f(x): return x + 1", {"kind": "asserts", "asserts": ["assert f(1) == 2"]})

    def walls(without: str) -> set[str]:
        monkeypatch.setenv("PPER_EXECUTION_WITHOUT", without)
        with TestPool(workers=1, limits=LIMITS) as pool:
            assert pool.run([job])[0].status == "pass"
            return set(pool.walls or ())

    everything = walls("")
    assert walls("seccomp") == everything - {"seccomp"}
    assert walls("landlock,namespaces") <= everything - {"landlock", "pid", "mount", "net", "ipc", "user"}
    assert walls("landlock,seccomp,namespaces,uid") == set()


def test_what_is_missing_and_what_is_enough() -> None:
    assert missing_layers(LAYERS) == []
    assert missing_layers(["landlock", "seccomp"]) == ["pid", "mount", "net", "ipc", "uid"]
    assert missing_layers(["pid", "mount", "net", "ipc", "user", "landlock"]) == ["seccomp"]
    assert is_strong(LAYERS)
    assert is_strong(["landlock", "seccomp"])
    assert is_strong(["seccomp", "pid", "mount"])
    assert not is_strong(["pid", "mount", "net", "ipc", "uid", "landlock"])
    assert not is_strong(["seccomp", "uid"])


@pytest.mark.parametrize("without", ["", "namespaces"])
def test_a_zygote_that_is_killed_leaves_its_folder_to_the_next(
    monkeypatch: pytest.MonkeyPatch, descendants: Callable[[int], set[int]], without: str
) -> None:
    monkeypatch.setenv("PPER_EXECUTION_WITHOUT", without)
    before = {name for name in os.listdir("/tmp") if name.startswith("pper-box-")}
    job = Job("open('left', 'w').close()\ndef f(x): return x + 1", {"kind": "asserts", "asserts": ["assert f(1) == 2"]})
    with TestPool(workers=1, limits=LIMITS, cache=False) as pool:
        pool.run([job])
        for pid in descendants(pool._workers[0].process.pid):
            with contextlib.suppress(ProcessLookupError):  # one takes the others with it
                os.kill(pid, 9)
        assert pool.run([job])[0].status == "pass"
    assert {name for name in os.listdir("/tmp") if name.startswith("pper-box-")} <= before
