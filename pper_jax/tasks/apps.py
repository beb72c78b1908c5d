"""APPS (Hendrycks et al., 2105.09938): contest problems as scripts, and functions to be called, in three difficulties.

Read are the published folder (``train/0001/question.txt``, ``input_output.json``, ``solutions.json``,
``metadata.json``, ``starter_code.py``) and the hub's rows, in which the files are columns.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError, cut
from pper_jax.files import read_text
from pper_jax.tasks.left_out import LeftOut
from pper_jax.tasks.mbpp import docstring, unix
from pper_jax.tasks.rows import SPLITS, Row, Told, begins_with_rows, read_rows, require
from pper_jax.tasks.task import Task

FILES = {  # of a problem's folder: field -> file
    "question": "question.txt",
    "input_output": "input_output.json",
    "solutions": "solutions.json",
    "starter_code": "starter_code.py",
}
_TEXTS = {"question": str, "solutions": (str, type(None)), "input_output": (str, type(None))}
HUB = {"problem_id": int, **_TEXTS, "difficulty": (str, type(None)), "starter_code": (str, type(None))}
FORMS = (HUB, {"id": int, **{name: kind for name, kind in HUB.items() if name != "problem_id"}})
SECONDS = 4  # a test, as the official checker has it


def rows(src: str, told: Told | None = None) -> Iterator[Row]:
    """The problems of a folder of APPS, of a split or of one problem; of any other file or folder, its rows."""
    path = Path(src)
    if not src or not path.is_dir() or begins_with_rows(path):
        yield from read_rows(src, FORMS, told)
        return
    folders = [path] if (path / FILES["question"]).exists() else sorted(_folders(path))
    if not folders:
        raise UserError(f"the folder {cut(src, 200)} holds no problem of APPS: no folder in it has {FILES['question']}")
    for folder in folders:
        split = SPLITS.get(folder.parent.name)
        value = {"problem_id": folder.name, "folder": True, **_metadata(folder)}
        for name, file in FILES.items():
            value[name] = read_text(folder / file) if (folder / file).exists() else None
            if told is not None and value[name] is not None:
                told((folder / file).stat().st_size)
        yield Row(str(folder), value, split, 0)


def _folders(path: Path) -> Iterator[Path]:
    """Folders of problems in ``path`` and in those of its folders that are named like a split."""
    for child in path.iterdir():
        if (child / FILES["question"]).exists():
            yield child
        elif child.name in SPLITS and child.is_dir():
            yield from _folders(child)


def _metadata(folder: Path) -> dict[str, Any]:
    file = folder / "metadata.json"
    try:
        known = json.loads(read_text(file)) if file.exists() else {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}") from None
    return {"difficulty": known.get("difficulty")} if isinstance(known, dict) else {}


def problem(row: Row) -> Task | LeftOut:
    """The task of a problem.

    Programs are judged as the official checker does: by its comparison, in 4 seconds a test, behind its imports, and a
    script may ``return`` at its end (:mod:`pper_jax.tasks.harness`). The reference is the first published solution
    that is Python 3.
    """
    fields = row.value if isinstance(row.value, dict) and "folder" in row.value else require(row, FORMS, "APPS problem")
    number = fields.get("problem_id", fields.get("id"))
    name = f"{number:04d}" if isinstance(number, int) else str(number)
    task_id = f"apps/{row.split or 'all'}/{name}"
    if not (fields.get("input_output") or "").strip():
        return LeftOut(task_id, "it has no tests")
    try:
        tests = tests_of(json.loads(fields["input_output"]))
        solutions = json.loads(fields.get("solutions") or "[]")
    except (ValueError, RecursionError) as error:
        return LeftOut(task_id, f"its tests or solutions cannot be read: {cut(str(error), 200)}", fault=True)
    if isinstance(tests, str):
        return LeftOut(task_id, tests, fault=tests != "it has no tests")
    statement, starter = unix(fields["question"] or "").strip(), unix(fields.get("starter_code") or "").rstrip()
    return Task(
        task_id=task_id,
        prompt=docstring("\n\n".join(filter(None, (statement, starter)))),
        tests=tests,
        entry_point=tests.get("fn_name"),
        stop=("\n```",),
        reference=first_python(solutions),
        difficulty=fields.get("difficulty"),
        source="apps",
        split=row.split,
        compare="official",
        limits={"seconds": SECONDS},
        statement=statement,
        starter=starter or None,
        harness="apps",
    )


def tests_of(given: Any) -> dict[str, Any] | str:
    """The ``tests`` of an ``input_output`` object, or why it gives none.

    Inputs and outputs of scripts come as a text or a list of lines. In call form an output comes raw or wrapped in a
    list, which the comparison ``official`` takes either way; objects whose keys read as whole numbers have such keys.
    """
    if not isinstance(given, dict) or not all(isinstance(given.get(key), list) for key in ("inputs", "outputs")):
        return "its tests have no lists of inputs and outputs"
    inputs, outputs = given["inputs"], given["outputs"]
    if len(inputs) != len(outputs):
        return f"it has {len(inputs)} inputs and {len(outputs)} outputs"
    if not inputs:
        return "it has no tests"
    pairs = list(zip(inputs, outputs, strict=True))
    function = given.get("fn_name")
    if function is None:
        if not all(_is_text(side) for pair in pairs for side in pair):
            return "an input or output of its tests is no text and no list of lines"
        return {"kind": "stdio", "cases": [{"stdin": a, "stdout": b} for a, b in pairs]}
    if not isinstance(function, str) or not all(isinstance(arguments, list) for arguments in inputs):
        return "its fn_name is no text, or the inputs of a call are no list"
    tests = {"kind": "call", "fn_name": function, "cases": [{"args": a, "expected": b} for a, b in pairs]}
    return {**tests, "whole_keys": True} if any(_has_object(side) for pair in pairs for side in pair) else tests


def first_python(programs: Any) -> str | None:
    """The first of some texts that Python 3 can parse, with Unix lines."""
    for program in programs if isinstance(programs, list) else ():
        if isinstance(program, str) and parses(unix(program)):
            return unix(program)
    return None


def parses(program: str) -> bool:
    """Whether a text is a Python 3 program."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\w" and the like
            ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(line, str) for line in value))


def _has_object(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_object, value))
    return isinstance(value, Mapping)
