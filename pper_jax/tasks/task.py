"""Tasks: what a program is asked to do and how it is tested; JSON lines in and out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.files import dump_jsonl, parse_jsonl, write_atomic

# kind of tests -> the keys that it needs
TEST_KINDS = {
    "check": ("code",),
    "asserts": ("asserts",),
    "stdio": ("cases",),
    "call": ("fn_name", "cases"),
    "answer": ("expected",),
}
CASE_KEYS = {"stdio": ("stdin", "stdout"), "call": ("args", "expected")}


@dataclass(frozen=True)
class Task:
    """One task. ``prompt + completion`` is a whole program, and ``reference`` is a completion known to be right.

    Attributes:
        task_id: unique within its file.
        prompt: what the model reads.
        tests: one of the kinds of ``TEST_KINDS``, as plain JSON data.
        entry_point: the function that the tests call, where there is one.
        stop: texts that end a completion.
        reference: a completion that passes, where known.
        difficulty: a label to group results by.
        source: the data set.
        split: the data set's own split.
    """

    task_id: str
    prompt: str
    tests: Mapping[str, Any] = field(hash=False)
    entry_point: str | None = None
    stop: tuple[str, ...] = ()
    reference: str | None = None
    difficulty: str | None = None
    source: str = ""
    split: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The task as a row of a tasks file; absent fields are left out."""
        row: dict[str, Any] = {"task_id": self.task_id, "prompt": self.prompt, "tests": dict(self.tests)}
        row |= {"stop": list(self.stop), "source": self.source}
        for name in ("entry_point", "reference", "difficulty", "split"):
            if getattr(self, name) is not None:
                row[name] = getattr(self, name)
        return row

    @classmethod
    def from_json(cls, row: Any, where: str = "the task") -> Task:
        """Read a row; ``where`` begins the sentence of a :class:`UserError` when it is no task."""
        if not isinstance(row, dict):
            raise UserError(f"{where} is not a JSON object")
        for name in ("task_id", "prompt", "tests"):
            if name not in row:
                raise UserError(f"{where} has no {name}")
        text = {name: row.get(name) for name in ("entry_point", "reference", "difficulty", "split")}
        for name, value in {"task_id": row["task_id"], "prompt": row["prompt"], **text}.items():
            if not isinstance(value, str) and not (value is None and name in text):
                raise UserError(f"{where}: {name} must be text, not {value!r}")
        _check_tests(row["tests"], f"{where} ({row['task_id']})")
        if row["tests"]["kind"] == "check" and not text["entry_point"]:
            raise UserError(f"{where} ({row['task_id']}) has tests of kind check without an entry_point to check")
        if not isinstance(row.get("source", ""), str):
            raise UserError(f"{where}: source must be text, not {row['source']!r}")
        stop = row.get("stop", [])
        if not isinstance(stop, list) or not all(isinstance(s, str) and s for s in stop):
            raise UserError(f"{where}: stop must be a list of texts that are not empty")
        return cls(row["task_id"], row["prompt"], row["tests"], stop=tuple(stop), source=row.get("source", ""), **text)


def _check_tests(tests: Any, where: str) -> None:
    kind = tests.get("kind") if isinstance(tests, dict) else tests
    if not isinstance(tests, dict) or not isinstance(kind, str) or kind not in TEST_KINDS:
        raise UserError(f"{where} has tests of unknown kind {kind!r}; known kinds: {', '.join(TEST_KINDS)}")
    for key in TEST_KINDS[kind]:
        if key not in tests:
            raise UserError(f"{where} has tests of kind {kind} without {key}")
        if key in ("code", "fn_name") and not isinstance(tests[key], str):
            raise UserError(f"{where}: {key} must be text, not {tests[key]!r}")
        if key in ("asserts", "cases") and not (isinstance(tests[key], list) and tests[key]):
            raise UserError(f"{where} has no tests; give it at least one of {key} or leave it out")
    if kind == "asserts":
        for name, text in (("setup", tests.get("setup", "")), *enumerate(tests["asserts"], start=1)):
            if not isinstance(text, str):
                raise UserError(f"{where}: {name if name == 'setup' else f'assert {name}'} must be text, not {text!r}")
    for number, case in enumerate(tests["cases"] if kind in CASE_KEYS else (), start=1):
        _check_case(case, kind, f"{where}: case {number}")


def _check_case(case: Any, kind: str, where: str) -> None:
    for key in CASE_KEYS[kind]:
        if not isinstance(case, dict) or key not in case:
            raise UserError(f"{where} has no {key}")
    if kind == "call" and not isinstance(case["args"], list):
        raise UserError(f"{where}: args must be a list, not {case['args']!r}")
    for key in ("stdin", "stdout") if kind == "stdio" else ():
        lines = case[key] if isinstance(case[key], list) else [case[key]]
        if not all(isinstance(line, str) for line in lines):
            raise UserError(f"{where}: {key} must be text or a list of lines, not {case[key]!r}")


def read_tasks(path: str | Path) -> list[Task]:
    """Read a tasks file.

    Raises:
        UserError: unreadable, a line that is no task (with its number), a task_id twice, no task at all.
    """
    tasks: dict[str, Task] = {}
    for number, row in parse_jsonl(path):
        task = Task.from_json(row, f"{path}, line {number}")
        if task.task_id in tasks:
            raise UserError(f"{path}, line {number}: task_id {task.task_id} occurs twice")
        tasks[task.task_id] = task
    if not tasks:
        raise UserError(f"{path} holds no tasks")
    return list(tasks.values())


def write_tasks(path: str | Path, tasks: Iterable[Task]) -> int:
    """Write a tasks file, whole or not at all; returns how many.

    Raises:
        UserError: the file cannot be written.
    """
    rows = [task.to_json() for task in tasks]
    try:
        write_atomic(path, dump_jsonl(rows))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return len(rows)


def program_text(task: Task, completion: str) -> str:
    """The whole program that the tests run."""
    return task.prompt + completion


def trim_at_stop(completion: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """Cut ``completion`` before the first of ``stops`` in it; returns the kept text and the stop, or None."""
    found = [(completion.find(stop), stop) for stop in stops if stop and stop in completion]
    if not found:
        return completion, None
    at, stop = min(found)
    return completion[:at], stop
