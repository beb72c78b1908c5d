"""HumanEval+ and MBPP+ (Liu et al., 2305.01210): the same problems with many more tests.

Read are the hub's rows, whose ``test`` is Python, and of HumanEval+ the release's too, which has inputs alone: there
the published solution says what is right.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pper_jax.tasks import humaneval
from pper_jax.tasks.left_out import LeftOut
from pper_jax.tasks.mbpp import STOPS, docstring, tested_function, unix
from pper_jax.tasks.mbpp import split_of as mbpp_split
from pper_jax.tasks.rows import Row, require
from pper_jax.tasks.task import Task

_TEXTS = dict.fromkeys(("task_id", "prompt", "canonical_solution", "entry_point"), str)
HUB = humaneval.FORMS[0]
MBPP_HUB = {"task_id": (int, str), "code": str, "prompt": str, "test_imports": list, "test_list": list, "test": str}
FORMS = (HUB, _TEXTS, MBPP_HUB)  # a parquet file has the columns of one of them

# What is right of the release: the published solution's value, floats within the problem's tolerance (1e-6 where it has
# none), and for roots any zero of the polynomial.
ORACLE = """\
import copy
import json

SOLUTION, NAME, ATOL = {solution!r}, {name!r}, {atol!r}
INPUTS = json.loads({inputs!r})


def is_float(value):
    return isinstance(value, float) or (isinstance(value, (list, tuple)) and value and all(map(is_float, value)))


def close(a, b, atol):
    if isinstance(b, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(close(x, y, atol) for x, y in zip(a, b))
    return a == b or abs(a - b) <= atol + 1e-7 * abs(b)


def check(candidate):
    names = {{}}
    exec(SOLUTION, names)
    for args in INPUTS:
        expected, found = names[NAME](*copy.deepcopy(args)), candidate(*copy.deepcopy(args))
        if NAME == "find_zero":
            assert abs(sum(c * found**i for i, c in enumerate(args[0]))) <= ATOL
        elif not found == expected:
            assert ATOL or is_float(expected)
            assert close(found, expected, ATOL or 1e-6)
"""


def humaneval_problem(row: Row) -> Task | LeftOut:
    """The task of a row of HumanEval+; of the release, the tests of HumanEval itself are seen and all are hidden."""
    value = row.value
    if not isinstance(value, dict) or not isinstance(value.get("plus_input"), list):
        task = humaneval.problem(row)
        hidden = None
    else:
        fields = require(row, (_TEXTS,), "HumanEval+ problem")
        base = value.get("base_input") or []
        if not base:
            return LeftOut(fields["task_id"], "it has no tests")
        seen = {"kind": "check", "code": _oracle(fields, value.get("atol") or 0, base)}
        hidden = {"kind": "check", "code": _oracle(fields, value.get("atol") or 0, [*base, *value["plus_input"]])}
        task = humaneval.problem(Row(row.where, {**fields, "test": seen["code"]}, row.split, row.number))
    if isinstance(task, LeftOut):
        return task
    return Task(**{**vars(task), "source": "humanevalplus", "hidden": hidden})


def _oracle(fields: Mapping[str, Any], atol: float, inputs: Sequence[Any]) -> str:
    return ORACLE.format(
        solution=fields["prompt"] + fields["canonical_solution"],
        name=fields["entry_point"],
        atol=atol,
        inputs=json.dumps(inputs),
    )


def mbpp_problem(row: Row) -> Task | LeftOut:
    """The task of a row of MBPP+: MBPP's own asserts are seen, the many tests are hidden."""
    fields = require(row, (MBPP_HUB,), "MBPP+ problem")
    number = int(str(fields["task_id"]).rpartition("/")[2])
    task_id = f"mbpp/{number}"
    asserts = [unix(text).strip() for text in fields["test_list"]]
    if not asserts:
        return LeftOut(task_id, "it has no tests")
    code, setup, statement = unix(fields["code"]), unix("\n".join(fields["test_imports"])), unix(fields["prompt"])
    name = tested_function(asserts[0], code)
    try:
        hidden = {"kind": "check", "code": as_check(unix(fields["test"]))}
    except SyntaxError as error:
        return LeftOut(task_id, f"its test is no Python: {error}", fault=True)
    if name is None:
        return LeftOut(task_id, "its first assert calls no function", fault=True)
    return Task(
        task_id=task_id,
        prompt=docstring("\n".join([statement.strip(), *asserts])),
        tests={"kind": "asserts", "setup": setup, "asserts": asserts},
        entry_point=name,
        stop=STOPS,
        reference=code,
        source="mbppplus",
        split=mbpp_split(number),
        hidden=hidden,
        statement=statement.strip(),
    )


def as_check(script: str) -> str:
    """A script of tests with its statements, from the first that does more than define or import, in ``check``.

    Raises:
        SyntaxError: it is no Python.
    """
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    body = ast.parse(script).body
    if any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in body):
        return script
    first = next((node.lineno for node in body if not isinstance(node, kinds)), None)
    lines = script.split("\n")
    head, tail = (lines, ["pass"]) if first is None else (lines[: first - 1], lines[first - 1 :])
    return "\n".join([*head, "", "def check(candidate):", *(f"    {line}" for line in tail)]) + "\n"
