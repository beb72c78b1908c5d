"""What is done to a program before it is run, where a data set's own checker does more than run it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator

# What the checker of APPS imports for every program (hendrycks/apps, testing_util.py), but for numpy, which takes long
# to load and is imported where a program names it.
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
FUTURE = re.compile(r"^from __future__ import [^\n]*\n", re.MULTILINE)


def apps(program: str, kind: str) -> str:
    """A program as APPS runs it: behind its imports, and a script may ``return`` to end itself.

    The checker of APPS makes every script a function for that; here only a ``return`` outside functions is written as
    the end of the script, so that all else (names, texts of many lines) is the program's own, and a ``return`` within a
    bare ``except`` is the one thing that ends otherwise.
    """
    numpy = "import numpy as np\nimport numpy\n" if "np." in program or "numpy" in program else ""
    return behind(APPS_PRELUDE + numpy, end_at_returns(program) if kind == "stdio" else program)


def behind(prelude: str, program: str) -> str:
    """``program`` behind ``prelude``; its imports from ``__future__``, which must come first, stand before both."""
    future = "".join(FUTURE.findall(program)) if "__future__" in program else ""
    return f"{future}{prelude}\n{FUTURE.sub(chr(10), program) if future else program}"


def end_at_returns(program: str) -> str:
    """``program`` with each ``return`` outside functions written as the end of the script, its value computed."""
    if "return" not in program:
        return program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(_returns(ast.parse(program)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program  # its verdict is CPython's
    lines = program.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    data = b"".join(lines)
    for node in reversed(found):
        begin, end = (starts[line - 1] + at for line, at in _ends(node))
        value = data[begin + len(b"return") : end].strip()
        data = data[:begin] + b"raise SystemExit((" + (value or b"None") + b", None)[-1])" + data[end:]
    return data.decode()


def _ends(node: ast.Return) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0)


def _returns(tree: ast.AST) -> Iterator[ast.Return]:
    """The ``return`` statements outside functions and classes, in order."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Return):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _returns(node)


HARNESSES: dict[str, Callable[[str, str], str]] = {"apps": apps}
