"""MBPP (Austin et al., 2108.07732), both published files: ``mbpp.jsonl`` and ``sanitized-mbpp.json``."""

from __future__ import annotations

import ast
import builtins
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.files import parse_jsonl, read_text
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
_KINDS = {int: "a whole number", str: "text", list: "a list of texts"}
# The completion is a whole program: classes and helper functions belong to it, tests and scripts do not.
STOPS = ("\nassert", '\n"""', "\nprint", "\nif __name__", "\n```")


def load_mbpp(path: str | Path, *, challenge: bool = False) -> list[Task]:
    """Tasks of either file of MBPP; a problem has the same task_id in both.

    Args:
        path: ``mbpp.jsonl`` or ``sanitized-mbpp.json``, plain or gzipped.
        challenge: add the asserts of ``challenge_test_list`` (never shown in the prompt) to the tests.

    Raises:
        UserError: the file cannot be read, a row is no MBPP problem, or ``challenge`` is asked of the sanitized file.
    """
    tasks = []
    for where, row in _rows(path):
        sanitized = isinstance(row, dict) and "prompt" in row
        _check(row, SANITIZED if sanitized else FULL, where)
        if not sanitized:
            tasks.append(
                _task(row, row["text"], row["test_setup_code"], row["challenge_test_list"] * challenge, "mbpp")
            )
        elif challenge:
            raise UserError(f"{path} is the sanitized file, which has no challenge tests; give mbpp.jsonl")
        else:
            tasks.append(_task(row, row["prompt"], "\n".join(row["test_imports"]), [], "mbpp_sanitized"))
    return tasks


def _rows(path: str | Path) -> Iterator[tuple[str, Any]]:
    """The rows, each with the words that say where it is."""
    if not read_text(path).lstrip().startswith("["):
        yield from ((f"{path}, line {number}", row) for number, row in parse_jsonl(path))
        return
    try:
        rows = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    yield from ((f"{path}, problem {number}", row) for number, row in enumerate(rows, start=1))


def _check(row: Any, fields: dict[str, type], where: str) -> None:
    for name, kind in fields.items():
        value = row.get(name) if isinstance(row, dict) else None
        texts = value if isinstance(value, list) else []
        if not isinstance(value, kind) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{where} is no MBPP problem: {name} is missing or is not {_KINDS[kind]}")
    if not row["test_list"]:
        raise UserError(f"{where} has no tests")


def _task(row: dict[str, Any], text: str, setup: str, challenge: list[str], source: str) -> Task:
    code = _unix(row["code"])
    asserts = [_unix(line).strip() for line in row["test_list"]]
    return Task(
        task_id=f"mbpp/{row['task_id']}",
        prompt=docstring("\n".join([_unix(text).strip(), *asserts])),
        tests={"kind": "asserts", "setup": _unix(setup), "asserts": asserts + [_unix(c).strip() for c in challenge]},
        entry_point=tested_function(asserts[0], code),
        stop=STOPS,
        reference=code,
        source=source,
        split=split_of(row["task_id"]),
    )


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")  # a lone \r ends a line of Python, too


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
