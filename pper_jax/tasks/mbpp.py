"""MBPP (Austin et al., 2108.07732), both published files: ``mbpp.jsonl`` and ``sanitized-mbpp.json``."""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pper_jax.tasks.left_out import LeftOut
from pper_jax.tasks.rows import Row, require
from pper_jax.tasks.task import Task

# field -> its type, in the full and in the sanitized file
FULL = {
    "task_id": int,
    "text": str,
    "code": str,
    "test_list": list,
    "test_setup_code": str,
    "challenge_test_list": list,
}
SANITIZED = {"task_id": int, "prompt": str, "code": str, "test_list": list, "test_imports": list}
FORMS = (FULL, SANITIZED)
# The completion is a whole program: classes and helper functions belong to it, tests and scripts do not.
STOPS = ("\nassert", '\n"""', "\nprint", "\nif __name__", "\n```")


def problem(row: Row) -> Task | LeftOut:
    """The task of a row of either file; a problem has the same task_id in both."""
    fields = require(row, FORMS, "MBPP problem")
    if "text" in fields:
        return _task(fields, fields["text"], fields["test_setup_code"], "mbpp")
    return _task(fields, fields["prompt"], "\n".join(fields["test_imports"]), "mbpp_sanitized")


def challenge_problem(row: Row) -> Task | LeftOut:
    """The task of a row of ``mbpp.jsonl`` with its challenge asserts among the tests; the prompt does not show them."""
    fields = require(row, (FULL,), "MBPP problem with challenge tests (the sanitized file has none)")
    return _task(fields, fields["text"], fields["test_setup_code"], "mbpp", fields["challenge_test_list"])


def _task(row: Mapping[str, Any], text: str, setup: str, source: str, challenge: Sequence[str] = ()) -> Task | LeftOut:
    task_id = f"mbpp/{row['task_id']}"
    if not row["test_list"]:
        return LeftOut(task_id, "it has no tests")
    code = unix(row["code"])
    asserts = [unix(line).strip() for line in row["test_list"]]
    return Task(
        task_id=task_id,
        prompt=docstring("\n".join([unix(text).strip(), *asserts])),
        tests={"kind": "asserts", "setup": unix(setup), "asserts": asserts + [unix(c).strip() for c in challenge]},
        entry_point=tested_function(asserts[0], code),
        stop=STOPS,
        reference=code,
        source=source,
        split=split_of(row["task_id"]),
        statement=unix(text).strip(),
    )


def unix(text: str) -> str:
    """``text`` with lines that end as Unix has it; a lone carriage return ends a line of Python, too."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def docstring(text: str) -> str:
    r"""``text`` as the docstring of a module, on lines of its own, whatever quotes and backslashes are in it."""
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""\n{escaped}\n"""\n'


def tested_function(test: str, code: str) -> str | None:
    """Name of the function that an assert calls: one that ``code`` defines, else one that Python does not know."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\w" and the like in the published programs
            defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
            nodes = list(ast.walk(ast.parse(test)))
    except SyntaxError:
        return None
    called = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    ours = [name for name in called if name in defined] or [name for name in called if not hasattr(builtins, name)]
    return ours[0] if ours else None


def split_of(number: int) -> str:
    """The split that the authors gave to a problem: 1-10 prompt, 11-510 test, 511-600 validation, 601-974 train."""
    for split, last in (("prompt", 10), ("test", 510), ("validation", 600)):
        if number <= last:
            return split
    return "train"
