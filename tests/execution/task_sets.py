"""Real task sets with their reference programs, as jobs."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pper_jax.execution import Job

SHARED = Path(os.environ.get("PPER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

# What the official checker of APPS puts before every program; numpy, which takes long to load, only where it is used.
APPS_PRELUDE = """\
import sys
import time
import itertools
from itertools import accumulate, product, permutations, combinations
import collections
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
import math
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
import fractions
from typing import List, Tuple
import random
import heapq
from heapq import *
"""


@dataclass(frozen=True)
class Reference:
    """A program that should pass: what stands before the part that solves the task, that part, and what follows it."""

    name: str
    head: str
    body: str
    tests: dict[str, Any]
    entry_point: str | None = None
    tail: str = ""

    def job(self, head: str | None = None, body: str | None = None) -> Job:
        program = (self.head if head is None else head) + (self.body if body is None else body) + self.tail
        return Job(program, self.tests, self.entry_point)


def rows_of(path: str) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    data = (SHARED / path).read_bytes()
    text = gzip.decompress(data) if path.endswith(".gz") else data
    return [json.loads(line) for line in text.decode("utf-8").split("\n") if line.strip()]


def humaneval() -> list[Reference]:
    return [
        Reference(
            row["task_id"],
            "",
            row["prompt"] + row["canonical_solution"],
            {"kind": "check", "code": row["test"]},
            row["entry_point"],
        )
        for row in rows_of("humaneval/HumanEval.jsonl.gz")
    ]


def asserts(name: str, code: str, setup: str, texts: list[str]) -> Reference:
    return Reference(name, "", code, {"kind": "asserts", "setup": setup, "asserts": texts})


def mbpp() -> list[Reference]:
    return [
        asserts(
            f"mbpp/{row['task_id']}", row["code"], row["test_setup_code"], row["test_list"] + row["challenge_test_list"]
        )
        for row in rows_of("mbpp/mbpp.jsonl")
    ]


def sanitized() -> list[Reference]:
    rows = json.loads((SHARED / "mbpp" / "sanitized-mbpp.json").read_text(encoding="utf-8"))
    return [
        asserts(f"sanitized/{row['task_id']}", row["code"], "\n".join(row["test_imports"]), row["test_list"])
        for row in rows
    ]


def leetcode() -> list[Reference]:
    return [
        Reference(
            f"leetcode/{row['task_id']}",
            row["prompt"] + "\n",
            row["completion"],
            {"kind": "check", "code": row["test"]},
            row["entry_point"],
        )
        for part in ("train", "test")
        for row in rows_of(f"leetcode/LeetCodeDataset-v0.2.0-{part}.jsonl.gz")
    ]


def stdio(inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    return {"kind": "stdio", "cases": [{"stdin": a, "stdout": b} for a, b in zip(inputs, outputs, strict=True)]}


def codecontests() -> list[Reference]:
    """Those whose reference gives the very tokens of the expected outputs."""
    return [
        Reference(f"codecontests/{row['id']}", "", row["solution"], stdio(row["inputs"], row["outputs"]))
        for row in rows_of("codecontests/codecontests_200.jsonl.gz")
        if row["ref_pass_token"] == row["n_tests"]
    ]


def apps(solutions: int = 1, skip: frozenset[str] = frozenset()) -> list[Reference]:
    """The first ``solutions`` of every problem, but for those named in ``skip``, as the official checker runs them."""
    found = []
    for folder in sorted((SHARED / "apps").glob("*/*")):
        tests = json.loads((folder / "input_output.json").read_text(encoding="utf-8"))
        programs = json.loads((folder / "solutions.json").read_text(encoding="utf-8"))
        named = [(f"apps/{folder.parent.name}/{folder.name}/{index}", code) for index, code in enumerate(programs)]
        for name, code in [pair for pair in named if pair[0] not in skip][:solutions]:
            prelude = APPS_PRELUDE + ("import numpy as np\n" if "np." in code else "")
            if (function := tests.get("fn_name")) is not None:
                cases = [{"args": a, "expected": b} for a, b in zip(tests["inputs"], tests["outputs"], strict=True)]
                found.append(Reference(name, prelude, code, {"kind": "call", "fn_name": function, "cases": cases}))
            else:
                found.append(
                    Reference(name, prelude, wrapped(code), stdio(tests["inputs"], tests["outputs"]), None, CALL)
                )
    return found


CALL = "\ncode()\n"


def wrapped(code: str) -> str:
    """A script as the body of a function, so that it may hold ``return``; its first imports stay outside."""
    lines: list[str] = []
    started = False
    for line in code.split("\n"):
        imports = line.startswith(("from ", "import "))
        if not imports and not started:
            lines += ["stdin = sys.stdin", "stdout = sys.stdout", "def code():"]
            started = True
        lines.append("\t" + line if started else line)
    return "\n".join(lines)


SETS: dict[str, tuple[Callable[[], list[Reference]], str]] = {  # with the rule that outputs are compared by
    "humaneval": (humaneval, "strict"),
    "mbpp": (mbpp, "strict"),
    "sanitized": (sanitized, "strict"),
    "leetcode": (leetcode, "strict"),
    "codecontests": (codecontests, "tokens"),
    "apps": (apps, "official"),
}
