"""The programs of ``pper bench execution``: small functions of the kind that code models write, all different.

Each has six tests; about one program in five is wrong on some of them. The tests of all kinds are the same six:
``literal`` are asserts that are literal calls, ``asserts`` none that is, ``check`` one function with all of them.
``stdio`` programs read the argument and print.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError

TESTS = 6
TEMPLATES = (
    "def f(xs):\n    total = 0\n    for x in xs:\n        if x % {a} == 0:\n            total += x * {b}\n"
    "    return total\n",
    "def f(xs):\n    seen = {{}}\n    for i, x in enumerate(xs):\n        if {c} - x in seen:\n"
    "            return [seen[{c} - x], i]\n        seen[x] = i\n    return [-1, {a}]\n",
    "def f(xs):\n    best = run = {b}\n    for x in xs:\n        run = max(x, run + x)\n        best = max(best, run)\n"
    "    return best + {a}\n",
    "from collections import Counter\n\ndef f(xs):\n    counts = Counter(x % {c} for x in xs)\n"
    "    return sorted(k for k, n in counts.items() if n >= {a}) + [{b}]\n",
    "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n\ndef f(xs):\n    result = {c}\n"
    "    for x in xs:\n        result = gcd(result, abs(x) + {a})\n    return result * {b}\n",
    "def f(xs):\n    primes = []\n    for n in range(2, {c}):\n        if all(n % p for p in primes):\n"
    "            primes.append(n)\n    return [x + {a} for x in xs if abs(x) in primes] + [{b}]\n",
    "def f(xs):\n    xs = list(xs)\n    for i in range(len(xs)):\n        for j in range(len(xs) - 1 - i):\n"
    "            if xs[j] % {c} > xs[j + 1] % {c}:\n                xs[j], xs[j + 1] = xs[j + 1], xs[j]\n"
    "    return xs[:{a}] + [{b}]\n",
    "import heapq\n\ndef f(xs):\n    heap = [x * {b} for x in xs]\n    heapq.heapify(heap)\n"
    "    return [heapq.heappop(heap) for _ in range(min({a}, len(heap)))] + [{c}]\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n    def push(self, x):\n"
    "        while self.items and self.items[-1] < x - {a}:\n            self.items.pop()\n"
    "        self.items.append(x)\n\n"
    "def f(xs):\n    stack = Stack()\n    for x in xs:\n        stack.push(x * {b})\n    return stack.items + [{c}]\n",
    "from functools import lru_cache\n\n@lru_cache(None)\ndef ways(n):\n"
    "    return 1 if n <= 1 else ways(n - 1) + {a} * ways(n - 2)\n\n"
    "def f(xs):\n    return [ways(abs(x) % {c}) + {b} for x in xs]\n",
)
SCRIPT = "\nimport sys\nprint(f([int(word) for word in sys.stdin.read().split()]))\n"


def make_programs(count: int, kind: str, seed: int = 0) -> list[dict[str, Any]]:
    """Return ``count`` programs, each ``{"program", "tests", "inputs", "expected", "check"}``.

    ``tests`` is the tests object of ``kind`` for our pool; the others say the same tests in
    the forms that other harnesses take: ``inputs`` a list of argument lists, ``check`` the code of a check function.
    """
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        numbers = {"a": 2 + number % 4, "b": 1 + number // 4 % 7, "c": 11 + number // 28}
        template = TEMPLATES[rng.randrange(len(TEMPLATES))]
        right = template.format(**numbers)
        wrong = template.format(**numbers | {"a": numbers["a"] + 1, "b": numbers["b"] + 1})
        inputs = [[[rng.randrange(-50, 50) for _ in range(rng.randrange(3, 12))]] for _ in range(TESTS)]
        expected = [_answer(right, arguments) for arguments in inputs]
        program = f"# {number}\n" + (wrong if number % 5 == 4 else right)
        rows.append(_row(kind, program, inputs, expected))
    return rows


def _answer(program: str, arguments: list[Any]) -> Any:
    names: dict[str, Any] = {}
    exec(program, names)
    return names["f"](*arguments)


def _row(kind: str, program: str, inputs: list[Any], expected: list[Any]) -> dict[str, Any]:
    asserts = [f"assert [f({args[0]!r})] == [{value!r}]" for args, value in zip(inputs, expected, strict=True)]
    texts = [" ".join(map(str, args[0])) + "\n" for args in inputs]
    body = "".join(f"    {text.replace('f(', 'candidate(', 1)}\n" for text in asserts)
    check = f"def check(candidate):\n{body}"
    if kind == "call":
        cases = [{"args": args, "expected": value} for args, value in zip(inputs, expected, strict=True)]
        tests: dict[str, Any] = {"kind": "call", "fn_name": "f", "cases": cases}
    elif kind == "asserts":
        tests = {"kind": "asserts", "asserts": asserts}
    elif kind == "literal":
        pairs = zip(inputs, expected, strict=True)
        tests = {"kind": "asserts", "asserts": [f"assert f({args[0]!r}) == {value!r}" for args, value in pairs]}
    elif kind == "check":
        tests = {"kind": "check", "code": check}
    else:
        pairs = zip(texts, expected, strict=True)
        tests = {"kind": "stdio", "cases": [{"stdin": text, "stdout": f"{value}\n"} for text, value in pairs]}
        program += SCRIPT
    return {
        "program": program,
        "entry_point": "f",
        "tests": tests,
        "inputs": inputs,
        "expected": expected,
        "check": check,
    }


def reference_programs(file: str) -> list[dict[str, Any]]:
    """Return the references of a tasks file with their tests, for our own pool."""
    from pper_jax.tasks import program_text, read_tasks

    rows = [
        {"program": program_text(task, task.reference), "tests": dict(task.tests), "entry_point": task.entry_point}
        for task in read_tasks(Path(file))
        if task.reference is not None
    ]
    if not rows:
        raise UserError(f"{file} holds no task with a reference: there is nothing to race with.")
    return rows
