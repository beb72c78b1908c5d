"""LeetCodeDataset (Xia et al., 2504.14655): ``class Solution``, judged by asserts on a method of it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from pper_jax.tasks.left_out import LeftOut
from pper_jax.tasks.mbpp import docstring, unix
from pper_jax.tasks.rows import Row, require
from pper_jax.tasks.task import Task

FORMS = (dict.fromkeys(("task_id", "prompt", "completion", "entry_point", "test", "query"), str),)
COMPARERS = ("is_same_list", "is_same_tree")  # of the helpers: they judge, so they are the tests' and not the program's
LEVELS = {"meidum": "Medium"}  # so it is spelt in 21 rows


def problem(row: Row) -> Task | LeftOut:
    """The task of a row.

    The row's ``prompt`` (imports, and helpers that make lists and trees) stands before every program. Each assert of
    its check is a test of its own; helpers that compare are part of the tests, for a program could define them anew.
    """
    fields = require(row, FORMS, "LeetCode problem")
    task_id = f"leetcode/{fields['task_id']}"
    try:
        asserts = _asserts(fields["test"])
        setup = _comparers(fields["prompt"], fields["test"])
    except (SyntaxError, ValueError, RecursionError) as error:
        return LeftOut(task_id, f"its tests are no Python: {error}", fault=True)
    if asserts == []:
        return LeftOut(task_id, "it has no tests")
    tests = {"kind": "asserts", "setup": setup, "asserts": asserts}
    about = _about(fields)
    statement = unix(str(about("problem_description", "question_title") or fields["query"])).strip()
    starter = unix(str(about("starter_code", "lang_code") or "")).rstrip()
    level = about("difficulty", "difficulty")
    return Task(
        task_id=task_id,
        prompt=docstring("\n\n".join(filter(None, (statement, starter)))),
        tests=tests if asserts else {"kind": "check", "code": unix(fields["test"])},
        entry_point=fields["entry_point"],
        stop=("\n```",),
        reference=unix(fields["completion"]),
        difficulty=LEVELS.get(str(level).lower(), str(level)) if level else None,
        source="leetcode",
        split=row.split,
        statement=statement,
        starter=starter or None,
        prelude=unix(fields["prompt"]),
    )


def _asserts(test: str) -> list[str] | None:
    """The asserts of ``def check(candidate)``; None where there is more in it."""
    (*_, check) = ast.parse(test).body or [ast.Pass()]
    if not isinstance(check, ast.FunctionDef) or not all(isinstance(one, ast.Assert) for one in check.body):
        return None
    return [ast.get_source_segment(test, one) or ast.unparse(one) for one in check.body]


def _comparers(prompt: str, test: str) -> str:
    """Source of the functions of ``prompt`` that compare, where ``test`` names them."""
    found = [
        ast.get_source_segment(prompt, node) or ""
        for node in ast.parse(prompt).body
        if isinstance(node, ast.FunctionDef) and node.name in COMPARERS and node.name in test
    ]
    return "\n\n".join(found)


def _about(fields: Mapping[str, Any]) -> Any:
    """A look-up of what newer versions have as columns and older ones in ``meta``, by its two names."""
    meta = fields.get("meta")
    try:
        meta = json.loads(meta) if isinstance(meta, str) else meta
    except ValueError:
        meta = None
    older = meta if isinstance(meta, dict) else {}
    return lambda name, old_name: fields.get(name) or older.get(old_name)
