"""Which programs may share a process, and which cannot deceive: by their code alone."""

from __future__ import annotations

import builtins

import pytest

from pper_jax.execution import Job, TestPool
from pper_jax.execution.tame import why_sly, why_wild

TAME = [
    "def f(x): return x + 1",
    "import sys\nsys.setrecursionlimit(10**6)\ndef f(x): return sys.maxsize",
    "from collections import Counter, deque\nimport math, heapq\ndef f(x): return math.gcd(*x), Counter(x), deque(x)",
    "import random\nrandom.seed(3)\ndef f(x): return random.randint(1, x)",
    "class Node:\n    def __init__(self, v): self.v, self.next = v, None\ndef f(n): n.next.v = 3; return n",
    "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 0\ndef f(): return P(1)",
    "from typing import *\ndef f(xs: List[int]) -> int: return sum(xs)",
    "def f(n):\n    memo = {}\n    def g(k): return memo.setdefault(k, k)\n    return g(n)",
]
WILD = [
    "import os\ndef f(x): return x",
    "import string\nstring.ascii_lowercase = 'z'",
    "import string as s\ns.digits = 'z'",
    "import heapq\nh = heapq\nh.heappush = None",
    "import random\nrandom.randint = lambda a, b: a",
    "import sys\nsys.modules['math'] = None",
    "import sys\ns = sys\ns.setswitchinterval(5)",
    "from sys import settrace",
    "from collections import Counter\nCounter.most_common = None",
    "import numbers\nnumbers.Number.register(str)",
    "import re\nre.enum.sys.modules",
    "import decimal\ndecimal.getcontext().prec = 3",
    "import time\ntime.tzset()",
    "globals()['f'] = 1",
    "setattr(int, 'x', 1)",
    "__builtins__['len'] = 1",
    "def f(x): return f.__globals__",
    "def f(): yield\nf().gi_frame.f_back",
    "exec('import os')",
]
SLY = [
    "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "class A: pass\nA.__eq__ = lambda s, o: True",
    "A = type('A', (), {'__eq__': lambda s, o: True})",
    "def len(x): return 3",
    "abs = all = lambda *a: 0",
    "def f(x): return expected",
    "from operator import attrgetter\nget = attrgetter('a')",
    "name = '__eq__'",
    "import numpy",
    "import os",
    "from math import *",
    "class A:\n    def __lt__(self, other): return True",
]


@pytest.mark.parametrize("source", TAME)
def test_tame_and_guileless(source: str) -> None:
    code = compile(source, "<program>", "exec")
    assert why_wild(code) is None
    if "*" not in source.split("def")[0] or "**" in source:
        assert why_sly(code, dir(builtins)) is None


@pytest.mark.parametrize("source", WILD)
def test_wild(source: str) -> None:
    code = compile(source, "<program>", "exec")
    assert why_wild(code) is not None
    if "decimal" not in source:
        assert why_sly(code, dir(builtins)) is not None


@pytest.mark.parametrize("source", SLY)
def test_sly(source: str) -> None:
    assert why_sly(compile(source, "<program>", "exec"), dir(builtins)) is not None


def test_a_pass_within_the_programs_process_counts_for_the_guileless_alone() -> None:
    tests = {
        "kind": "asserts",
        "asserts": ["x = (1, 2)\nassert f(x) is x"],
    }  # what crosses the border is no more itself
    programs = ["def f(x): return x", "import os\ndef f(x): return x", "def f(x): return (1, 2)"]
    with TestPool(workers=1) as pool:
        found = [verdict.status for verdict in pool.run([Job(program, tests, "f") for program in programs])]
    assert found == ["pass", "fail", "fail"]
