"""Programs that lie, kill, flood and hide: each costs its own verdict and nothing else."""

# ruff: noqa: E501  (programs as text)
from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_programs import PROGRAMS, Hostile
from hostile_rows import SHARED, hostile_job, hostile_rows
from public_python import AS_NOBODY, public_python

from pper_jax.execution import Job, Limits, TestPool, Verdict

OWN_LIMITS = Limits(timeout_s=1.0, wall_s=2.0, trusted_s=0.5, memory_mb=512, output_bytes=1 << 20)
Statuses = Callable[..., list[str]]
Traces = Callable[[], dict[str, set[str]]]
NOT_PASS = {"fail", "error", "crash", "timeout", "memory", "output_limit"}
FORK = "import os, signal, sys, time\n"

FORGERIES = {
    "exit": "import sys\ndef f(x): sys.exit(0)",
    "exit_at_import": "raise SystemExit(0)",
    "os_exit": FORK + "def f(x): os._exit(0)",
    "os_exit_at_import": FORK + "os._exit(0)",
    "prints": "def f(x):\n    print('pass', 'ok', '{\"status\": \"pass\"}')",
    "equal": "class A:\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n    __hash__ = None\ndef f(x): return A()",
    "equal_int": "class A(int):\n    __eq__ = lambda s, o: True\n    __hash__ = None\ndef f(x): return A(5)",
    "builtins": "import builtins\nfor n in ('abs', 'all', 'len', 'isinstance', 'type', 'repr', 'print', 'AssertionError'):\n"
    "    setattr(builtins, n, lambda *a, **k: True)\ndef f(x): return 99",
    "trace": "import sys\nsys.settrace(lambda *a: sys.settrace)\nsys.setprofile(lambda *a: None)\ndef f(x): return 99",
    "frames": "import sys\ndef f(x):\n    fr = sys._getframe()\n    while fr:\n        for v in list(fr.f_locals.values()):\n"
    "            if isinstance(v, dict): v['v'] = 2; v.pop('x', 0)\n        fr = fr.f_back\n    return 99",
    "globals_named_like_tests": "def f(x): return 99\nabs = all = isinstance = len = lambda *a: 0",
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): return 99",
    "every_fd": FORK
    + "def f(x):\n    for fd in range(64):\n        for b in (b'pass\\n', b'\\0\\0\\0\\x11{\"n\":1,\"v\":true}', b'\\0' * 99):\n"
    "            try: os.write(fd, b)\n            except OSError: pass\n    return 99",
    "kill_parent": FORK + "def f(x):\n    os.kill(os.getppid(), signal.SIGKILL)\n    return 99",
    "kill_all": FORK + "def f(x):\n    os.kill(-1, signal.SIGKILL)\n    return 99",
    "stop_parent": FORK + "def f(x):\n    os.kill(os.getppid(), signal.SIGSTOP)\n    return 99",
    "repr_loops": "class A:\n    def __repr__(s):\n        while True: pass\n    __eq__ = __bool__ = __hash__ = __repr__\ndef f(x): return A()",
    "str_of_error": FORK + "class E(Exception):\n    def __str__(s): os._exit(0)\ndef f(x): raise E",
    "assertion": "def f(x): raise AssertionError",
    "generator": "def f(x): yield 2",
    "recursion": "import sys\nsys.setrecursionlimit(10**8)\ndef f(x): return f(x)",
    "self_reference": "def f(x):\n    a = [1]\n    a.append(a)\n    return a",
    "huge": "def f(x): return list(range(10**6))",
    "hog": "def f(x): return [0] * 10**9",
    "nul": "def f(x): return 2\n\0",
    "surrogate": "def f(x): return '\ud800'",
    "big_int": "def f(x): return 10 ** 5000",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_forgery_passes(statuses: Statuses, name: str) -> None:
    texts = ["assert f(1) == 2", "assert abs(f(1) - 2) < 1e-6", "assert all(f(i) == i + 1 for i in [1])"]
    found = statuses(FORGERIES[name], *texts)
    assert len(found) == 3
    assert set(found) <= NOT_PASS


@pytest.mark.parametrize(
    "program",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\ndef f(x): return x + 1",
        "import builtins, math, sys\nbuiltins.len = lambda x: 0\nsys.setrecursionlimit(80)\ndef f(x): return x + 1",
        "import sys\nsys.stdout = sys.stderr = None\nprint('x')\ndef f(x): return x + 1",
        "print('x' * 10**7)\ndef f(x): return x + 1",
        FORK + "def f(x):\n    try:\n        if os.fork() == 0:\n            os.setsid()\n            time.sleep(60)\n"
        "    except OSError:\n        pass\n    return x + 1",
        FORK + "os.rmdir if os.chdir('/') else 0\nopen('/tmp/x', 'w').write('a')\ndef f(x): return x + 1",
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "def f(x): return x + 1",
    ],
)
def test_odd_but_right(statuses: Statuses, program: str) -> None:
    assert statuses(program, "assert f(1) == 2", "assert f(5) == 6") == ["pass", "pass"]


def test_a_fork_bomb_is_capped_and_swept_up(statuses: Statuses) -> None:
    bomb = FORK + "def f(x):\n    while True:\n        try: os.fork()\n        except OSError: pass"
    assert set(statuses(bomb, "assert f(1) == 2")) <= {"timeout", "crash", "output_limit"}
    assert statuses("def f(x): return x + 1", "assert f(1) == 2") == ["pass"]


def test_expected_values_enter_the_sandbox_only_once_a_test_is_judged(statuses: Statuses) -> None:
    program = """
import ctypes, re
first = None
def f(x):
    global first
    if x != 1:
        return search()
    if first is None:
        first = search()
    return first
def search():
    found = set()
    for line in open('/proc/self/maps'):
        where, rights = line.split()[:2]
        if rights.startswith('rw'):
            low, high = (int(n, 16) for n in where.split('-'))
            found.update(re.findall(rb'SECRET-([0-9]+)-OF', ctypes.string_at(low, high - low)))
    return sorted(int(n) for n in found)
"""
    expected, argument = (f"SECRET-{number * 7}-OF-THE-TEST" for number in (111, 222))
    code = f"assert f(1) in [[], {expected!r}]"  # confirmed within the program, but not before all are judged
    control = f"assert f({argument!r}) == [1554]"  # the argument is found, so the search works; nothing else is
    assert statuses(program, code, f"assert f(1) == {expected!r}", control) == ["pass", "fail", "pass"]


def test_good_programs_keep_their_verdicts_among_hostile_ones() -> None:
    good = Job("def f(x): return x + 1", {"kind": "asserts", "asserts": ["assert f(1) == 2", "assert f(1) == 3"]})
    names = ("os_exit", "kill_parent", "kill_all", "every_fd", "recursion", "hog")
    bad = [Job(FORGERIES[name], {"kind": "asserts", "asserts": ["assert f(1) == 2"]}, "f") for name in names]
    jobs = [job for hostile in bad for job in (hostile, good)]
    with TestPool(workers=2, limits=Limits(timeout_s=1.0, memory_mb=256)) as pool:
        verdicts = pool.run(jobs)
    assert [[test.status for test in verdict.tests] for verdict in verdicts[1::2]] == [["pass", "fail"]] * len(bad)
    assert all(verdict.status in NOT_PASS for verdict in verdicts[::2])


def _wrong(programs: dict[str, Hostile], verdicts: list[Verdict]) -> dict[str, list[object]]:
    """The programs whose verdict is not among the accepted ones."""
    return {
        name: [(test.status, test.detail) for test in verdict.tests]
        for (name, hostile), verdict in zip(programs.items(), verdicts, strict=True)
        if not all(test.status in hostile.accepted for test in verdict.tests)
    }


def test_our_own_hostile_programs_are_judged_right_and_leave_nothing(traces: Traces) -> None:
    assert len(PROGRAMS) >= 40
    before = traces()
    with TestPool(workers=2, limits=OWN_LIMITS) as pool:
        verdicts = pool.run([Job(hostile.program, hostile.tests, "f") for hostile in PROGRAMS.values()])
    assert _wrong(PROGRAMS, verdicts) == {}
    assert traces() == before


@pytest.mark.slow
def test_they_are_judged_right_without_namespaces_too(traces: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPER_EXECUTION_WITHOUT", "namespaces")
    before = traces()
    with TestPool(workers=2, limits=OWN_LIMITS) as pool:
        verdicts = pool.run([Job(hostile.program, hostile.tests, "f") for hostile in PROGRAMS.values()])
    assert pool.walls is None or "pid" not in pool.walls
    assert _wrong(PROGRAMS, verdicts) == {}
    assert traces() == before


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can become another user")
@pytest.mark.parametrize("without", ["", "namespaces"])
def test_everything_hostile_as_an_ordinary_user(open_folder: Path, without: str) -> None:
    python = public_python()
    if python is None:
        pytest.skip("no Python here that another user may run")
    root = open_folder / "project"  # the checkout itself may lie in a closed folder
    for name in ("pper_jax/execution", "tests/execution"):
        shutil.copytree(Path(__file__).parents[2] / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pper_jax/__init__.py", "pper_jax/errors.py"):
        shutil.copy(Path(__file__).parents[2] / name, root / name)
    rows = root / "hostile"
    rows.mkdir()
    if (SHARED / "hostile").is_dir():
        shutil.copy(SHARED / "hostile" / "hostile.jsonl", rows)
    script = Path(__file__).with_name("ordinary_user.py")
    command = [*AS_NOBODY, python, "-B", "-P"]
    done = subprocess.run(
        [*command, str(root / "tests" / "execution" / script.name)],
        env={"PPER_EXECUTION_WITHOUT": without, "PPER_SHARED_DATA": str(root)},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["uid"] == 65534
    assert report["wrong"] == {}
    assert report["judged"] >= len(PROGRAMS)
    assert report["before"] == report["after"]


def _mixed(good: int, seed: int) -> tuple[list[Job], list[Hostile | None]]:
    """Good programs, and all hostile ones, in random order; each job with its hostile program or None."""
    hostile: list[tuple[Job, Hostile | None]] = [
        (Job(program.program, program.tests, "f"), program) for program in PROGRAMS.values()
    ]
    texts = ["assert f(1) == 2", "assert f(1) == 3", "assert f(0.5) == 1.5"]
    mixed = hostile + [
        (Job(f"def f(x): return x + 1  # {number}", {"kind": "asserts", "asserts": texts}, "f"), None)
        for number in range(good)
    ]
    random.Random(seed).shuffle(mixed)
    return [job for job, _ in mixed], [program for _, program in mixed]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_two_thousand_good_programs_keep_their_verdicts_among_all_hostile_ones(seed: int, traces: Traces) -> None:
    jobs, hostile = _mixed(2000, seed)
    before = traces()
    with TestPool(workers=2, limits=OWN_LIMITS) as pool:
        verdicts = pool.run(jobs)
    good = [
        [test.status for test in verdict.tests]
        for verdict, program in zip(verdicts, hostile, strict=True)
        if program is None
    ]
    assert good == [["pass", "fail", "pass"]] * 2000
    assert all(
        test.status in program.accepted
        for verdict, program in zip(verdicts, hostile, strict=True)
        if program is not None
        for test in verdict.tests
    )
    assert traces() == before


@pytest.mark.skipif(not (SHARED / "hostile").is_dir(), reason="the shared data folder is not here")
@pytest.mark.parametrize("compare", ["strict", "official"])
def test_the_hostile_collection(tmp_path: Path, compare: str) -> None:
    rows = hostile_rows(compare)
    (tmp_path / "keep").touch()
    limits = Limits(timeout_s=2.0, memory_mb=512)
    with socket.create_server(("127.0.0.1", 0)) as server, TestPool(2, limits, compare) as pool:
        verdicts = pool.run([hostile_job(row, tmp_path, server.getsockname()[1]) for row in rows])
    wrong = {
        row["name"]: [test.status for test in verdict.tests]
        for row, verdict in zip(rows, verdicts, strict=True)
        if not all(test.status in right for test, right in zip(verdict.tests, row["expected"], strict=True))
    }
    assert wrong == {}
    assert os.listdir(tmp_path) == ["keep"]
