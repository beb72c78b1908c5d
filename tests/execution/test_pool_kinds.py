from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pper_jax.errors import UserError
from pper_jax.execution import Job, Limits, TestPool, Verdict

Statuses = Callable[..., list[str]]


def call(*cases: tuple[list[Any], Any], fn_name: str = "f") -> dict[str, Any]:
    return {"kind": "call", "fn_name": fn_name, "cases": [{"args": a, "expected": e} for a, e in cases]}


def stdio(*cases: tuple[str, str]) -> dict[str, Any]:
    return {"kind": "stdio", "cases": [{"stdin": a, "stdout": b} for a, b in cases]}


def test_calls(statuses: Statuses) -> None:
    assert statuses("def f(a, b): return a // b", call(([4, 2], 2), ([1, 1], 2), ([1, 0], 0))) == [
        "pass",
        "fail",
        "error",
    ]


def test_calls_of_a_solution_class(statuses: Statuses) -> None:
    program = "class Solution:\n    def f(self, x):\n        return x + 1"
    assert statuses(program, call(([1], 2)), entry_point=None) == ["pass"]
    assert statuses(program, call(([1], 2)), entry_point="Solution().f") == ["pass"]
    assert statuses(program, call(([1], 2), fn_name="missing"), entry_point=None) == ["error"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("assert f(1) == 2", "pass"),
        ("assert f(1) == 3", "fail"),
        ("assert f(x=1) == 2", "pass"),
        ("assert f('a') == 2", "error"),
        ("assert f(1) == 2.0 and f(2) == 3", "pass"),
        ("assert abs(f(0.1) - 1.1) < 1e-9, 'far'", "pass"),
        ("import math\nassert math.isclose(f(0.1), 1.1)", "pass"),
        ("assert math.isclose(f(0.1), 1.1)", "error"),  # neither test nor program imports math
        ("assert set([f(1), f(2)]) == {2, 3}", "pass"),
        ("assert not f(-1)", "pass"),
        ("assert g() == 1", "error"),
        ("xs = [3, 1]\nsort(xs)\nassert xs == [1, 3]", "pass"),
        ("xs = ([3, 1],)\nsort(xs[0])\nassert xs == ([1, 3],)", "pass"),
        ("assert [p.x for p in points(2)] == [0, 1]", "pass"),
        ("p = Point(4)\np.x = 5\nassert p.x == 5 and p.twice() == 10 and total([p, Point(1)]) == 6", "pass"),
        ("assert list(count(3)) == [0, 1, 2]", "pass"),
        ("assert count(3) == [0, 1, 2]", "fail"),
        ("assert counts('aab') == {'a': 2, 'b': 1}", "pass"),
        ("assert f(f(1)) == 3", "pass"),
        ("try:\n    f('a')\nexcept TypeError:\n    pass\nelse:\n    assert False", "pass"),
        ("assert apply(lambda x: x + 1, 2) == 3", "pass"),
        ("import threading\nassert apply(threading.Lock(), 0) == 1", "error"),
        ("import threading\nassert keep(threading.Lock()) == 1", "infrastructure"),
        ("assert f(1 ==", "infrastructure"),
        ("while f(1): pass", "timeout"),
    ],
)
def test_asserts(statuses: Statuses, text: str, status: str) -> None:
    program = """
from collections import Counter
class Point:
    def __init__(self, x): self.x = x
    def twice(self): return 2 * self.x
def f(x): return x + 1
def apply(g, x): return g(x)
def keep(x): return 1
if __name__ == "never": import os  # a program that might deceive
def sort(xs): xs.sort()
def points(n): return [Point(i) for i in range(n)]
def total(ps): return sum(p.x for p in ps)
def count(n): yield from range(n)
def counts(s): return Counter(s)
"""
    assert statuses(program, text, entry_point=None) == [status]


def test_a_function_named_like_a_builtin(statuses: Statuses) -> None:
    assert statuses("def sum(a, b): return 7", "assert sum(1, 2) == 7", entry_point=None) == ["pass"]
    assert statuses("def len(x): return 7\ndef f(x): return []", "assert len(f(1)) == 7") == ["fail"]


def test_setup_builds_objects_of_the_program(judge: Callable[..., Verdict]) -> None:
    program = (
        "class Node:\n    def __init__(self, v): self.v, self.left = v, None\n"
        "def f(n): return 0 if n is None else 1 + f(n.left)"
    )
    tests = {
        "kind": "asserts",
        "setup": "root = Node(1)\r\nroot.left = Node(2)",
        "asserts": ["assert f(root) == 2"] * 2,
    }
    assert judge(program, tests).status == "pass"


def test_state_lives_across_tests_and_a_lost_process_is_replaced(statuses: Statuses) -> None:
    program = "n = 0\ndef f(x):\n    global n\n    n += 1\n    if x: 1 // 0 if x == 1 else exit_now()\n    return n\n"
    program += "def exit_now(): __import__('os')._exit(0)"
    texts = ["assert f(0) == 1", "assert f(0) == 2", "f(2)", "assert f(0) == 1", "assert f(1) == 2"]
    assert statuses(program, *texts) == ["pass", "pass", "crash", "pass", "error"]


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("def f(x): return x + 1", "pass"),
        ("def f(x): return x", "fail"),
        ("def f(x): raise ValueError('no')", "error"),
        ("def f(x):\n    while True: pass", "timeout"),
        ("def f(x): return 'a' * (1 << 21)", "output_limit"),
        ("def f(x): return bytearray(1 << 30)", "memory"),
        ("def g(x): return x", "error"),
        ("def f(x): return x + 1\nif __name__ == '__main__': 1 // 0", "pass"),
    ],
)
def test_checks(statuses: Statuses, program: str, status: str) -> None:
    tests = {
        "kind": "check",
        "code": "def check(candidate):\n    for i in range(3):\n        assert candidate(i) == i + 1",
    }
    assert statuses(program, tests) == [status]


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("print(int(input()) + 1)", "pass"),
        ("print(int(input()) - 1)", "fail"),
        ("print(2)\nexit()", "pass"),
        ("print(2)\nexit(3)", "error"),
        ("print(2)\n1 // 0", "error"),
        ("print(2, flush=True)\nimport os\nos.kill(os.getpid(), 11)", "crash"),
        ("print(2)\nwhile True: pass", "timeout"),
        ("print(2)\nx = bytearray(1 << 30)", "memory"),
        ("while True: print('x' * 1000)", "output_limit"),
        ("if __name__ == '__main__': print(2)", "pass"),
        ("import sys\nfor i in range(3000): print('e' * 999, file=sys.stderr)\nprint(2)", "pass"),
        ("import threading\nthreading.Thread(target=lambda: print(2)).start()", "pass"),
        ("import atexit\natexit.register(print, 2)", "pass"),
        ("import os\nif os.fork() == 0:\n    os.setsid()\n    __import__('time').sleep(60)\nprint(2)", "error"),
        ("print(open('/dev/stdin').read().strip().replace('1', '2'))", "pass"),
        ("print(2", "error"),
    ],
)
def test_scripts(statuses: Statuses, program: str, status: str) -> None:
    assert statuses(program, stdio(("1\n", "2\n"))) == [status]


def test_each_script_case_has_a_process_of_its_own(statuses: Statuses) -> None:
    program = "import os\nprint(os.path.exists('mark'), input())\nopen('mark', 'w').close()"
    assert statuses(program, stdio(("a", "False a"), ("b", "False b"))) == ["pass", "pass"]


def test_answers(statuses: Statuses) -> None:
    assert statuses("so #### 42", {"kind": "answer", "expected": "42"}) == ["pass"]


def test_official_comparison_and_time_of_the_whole_program() -> None:
    limits = Limits(timeout_s=0.3, program_timeout_s=0.5)
    with TestPool(workers=1, limits=limits, compare="official") as pool:
        lists, slow = pool.run(
            [
                Job("def f(x): return (x, x)", call(([1], [1, 1]))),
                Job("def f(x):\n    while True: pass", call(*[([1], 1)] * 4)),
            ]
        )
    assert lists.status == "pass"
    assert [test.status for test in slow.tests] == ["timeout", "timeout", "not_run", "not_run"]
    assert (slow.status, slow.passed, slow.total, slow.pass_rate) == ("timeout", 0, 4, 0.0)


def test_verdict_as_json(judge: Callable[..., Verdict]) -> None:
    row = judge("def f(x): return x", "assert f(1) == 1", "assert f(1) == 2").to_json()
    assert {key: row[key] for key in ("passed", "total", "pass_rate", "status")} == {
        "passed": 1,
        "total": 2,
        "pass_rate": 0.5,
        "status": "fail",
    }
    assert [sorted(test) for test in row["tests"]] == [["seconds", "status"], ["detail", "seconds", "status"]]


def test_a_test_that_cannot_be_put_makes_no_failing_program(judge: Callable[..., Verdict]) -> None:
    verdict = judge("import os\ndef f(x): return x", "assert f(1) == 2", "import threading\nassert f(threading.Lock())")
    assert [test.status for test in verdict.tests] == ["fail", "infrastructure"]
    assert verdict.status == "infrastructure"


def test_no_tests_is_wrong_use(judge: Callable[..., Verdict]) -> None:
    with pytest.raises(UserError, match="job 0: the list of its tests is empty"):
        judge("", {"kind": "asserts", "asserts": []})


LONG_CHAIN = """
class Node: pass
def f(x):
    node = None
    while True:
        new = Node()
        new.next = node
        node = new
"""
SMALL_OBJECTS = "xs = []\nwhile True: xs.append([len(xs)])"


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        (SMALL_OBJECTS, stdio(("", ""))),
        (f"def f(x):\n    {SMALL_OBJECTS.replace(chr(10), chr(10) + '    ')}", call(([1], 1))),
        (SMALL_OBJECTS, call(([1], 1))),
        (LONG_CHAIN, {"kind": "check", "code": "def check(c): assert c(1)"}),
        ("d = {}\nwhile True: d[len(d)] = str(len(d))", stdio(("", ""))),
    ],
)  # fmt: skip
def test_memory_exhausted_by_small_objects_is_memory(program: str, tests: dict[str, Any]) -> None:
    with TestPool(workers=1, limits=Limits(timeout_s=10.0, memory_mb=256)) as pool:
        (verdict,) = pool.run([Job(program, tests, "f")])
    assert verdict.status == "memory", verdict


def test_packages_of_this_environment_are_there_on_both_sides(statuses: Statuses) -> None:
    assert statuses("import importlib.util as u\ndef f(): return u.find_spec('optax') is not None", "assert f()") == [
        "pass"
    ]
    test = "import importlib.util as u\nassert u.find_spec('optax') is not None and [f()] == [True]"
    assert statuses("def f(): return True", test) == ["pass"]
