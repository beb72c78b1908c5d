"""Programs that lie, kill, flood and hide: each costs its own verdict and nothing else."""

# ruff: noqa: E501  (programs as text)
from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pper_jax.execution import Job, Limits, TestPool

SHARED = Path(os.environ.get("PPER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
Statuses = Callable[..., list[str]]
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


def test_expected_values_never_enter_the_sandbox(statuses: Statuses) -> None:
    program = """
import ctypes, re
def f(x):
    found = set()
    for line in open('/proc/self/maps'):
        where, rights = line.split()[:2]
        if rights.startswith('rw'):
            low, high = (int(n, 16) for n in where.split('-'))
            found.update(re.findall(rb'SECRET-([0-9]+)-OF', ctypes.string_at(low, high - low)))
    return sorted(int(n) for n in found)
"""
    expected, argument = (f"SECRET-{number * 7}-OF-THE-TEST" for number in (111, 222))
    control = f"assert f({argument!r}) == [1554]"  # the argument is found, so the search works; nothing else is
    assert statuses(program, f"assert f(1) == {expected!r}", control, f"assert f(1) in [[], {expected!r}, [1554]]") == [
        "fail",
        "pass",
        "pass",
    ]


def test_good_programs_keep_their_verdicts_among_hostile_ones() -> None:
    good = Job("def f(x): return x + 1", {"kind": "asserts", "asserts": ["assert f(1) == 2", "assert f(1) == 3"]})
    names = ("os_exit", "kill_parent", "kill_all", "every_fd", "recursion", "hog")
    bad = [Job(FORGERIES[name], {"kind": "asserts", "asserts": ["assert f(1) == 2"]}, "f") for name in names]
    jobs = [job for hostile in bad for job in (hostile, good)]
    with TestPool(workers=2, limits=Limits(timeout_s=1.0, memory_mb=256)) as pool:
        verdicts = pool.run(jobs)
    assert [[test.status for test in verdict.tests] for verdict in verdicts[1::2]] == [["pass", "fail"]] * len(bad)
    assert all(verdict.status in NOT_PASS for verdict in verdicts[::2])


def _hostile_rows() -> list[dict[str, Any]]:
    path = SHARED / "hostile" / "hostile.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _hostile_job(row: dict[str, Any], canary: Path, port: int) -> Job:
    program = row["program"].replace("@CANARY@", str(canary)).replace("@PORT@", str(port))
    if row["kind"] == "stdin":
        texts = [
            (t["stdin_repeat"][0] * t["stdin_repeat"][1] if "stdin_repeat" in t else t["stdin"]) for t in row["tests"]
        ]
        cases = [{"stdin": text, "stdout": test["stdout"]} for text, test in zip(texts, row["tests"], strict=True)]
        return Job(program, {"kind": "stdio", "cases": cases})
    if row["kind"] == "call":
        return Job(program, {"kind": "call", "fn_name": row["fn"], "cases": row["tests"]})
    asserts = [
        t.get("assert") or f"assert {row['fn']}({', '.join(map(repr, t['args']))}) == {t['expected']!r}"
        for t in row["tests"]
    ]
    return Job(program, {"kind": "asserts", "asserts": asserts}, row["fn"])


@pytest.mark.skipif(not (SHARED / "hostile").is_dir(), reason="the shared data folder is not here")
@pytest.mark.parametrize("compare", ["strict", "official"])
def test_the_hostile_collection(tmp_path: Path, compare: str) -> None:
    rows = [
        row for row in _hostile_rows() if bool(row.get("compare", {}).get("tuple_is_list")) == (compare == "official")
    ]
    (tmp_path / "keep").touch()
    limits = Limits(timeout_s=2.0, memory_mb=512)
    with socket.create_server(("127.0.0.1", 0)) as server, TestPool(2, limits, compare) as pool:
        verdicts = pool.run([_hostile_job(row, tmp_path, server.getsockname()[1]) for row in rows])
    wrong = {
        row["name"]: [test.status for test in verdict.tests]
        for row, verdict in zip(rows, verdicts, strict=True)
        if not all(test.status in right for test, right in zip(verdict.tests, row["expected"], strict=True))
    }
    assert wrong == {}
    assert os.listdir(tmp_path) == ["keep"]
