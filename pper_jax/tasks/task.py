"""Tasks: what a program is asked to do and how it is tested; JSON lines in and out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError, shown
from pper_jax.execution.compare import ANSWER_RULES, COMPARE_MODES
from pper_jax.files import dump_row, parse_jsonl, write_atomic
from pper_jax.ranges import check_number
from pper_jax.tasks.harness import HARNESSES, behind

# kind of tests -> the keys that it needs
TEST_KINDS = {
    "check": ("code",),
    "asserts": ("asserts",),
    "stdio": ("cases",),
    "call": ("fn_name", "cases"),
    "answer": ("expected",),
}
CASE_KEYS = {"stdio": ("stdin", "stdout"), "call": ("args", "expected")}
BLOCK = 1 << 20  # bytes that are written at once
LIMITS = {"seconds": (0.0, 86_400.0), "memory_mb": (63, 1 << 30)}  # name -> what it is above, and at most
TEXTS = ("entry_point", "reference", "difficulty", "split", "statement", "starter", "prelude", "harness", "compare")


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
        hidden: tests like ``tests`` that only an evaluation sees; see :func:`evaluation_task`.
        compare: how outputs compare, where the data set has a rule of its own: ``strict``,
            ``tokens`` and ``official`` for what is printed or returned, ``number`` and ``exact`` for answers.
        limits: of the data set's own: ``seconds`` of CPU time a test, ``memory_mb`` MiB a program.
        statement: the problem in words, as published, for prompts of another form.
        starter: code that a program is to begin with, as published.
        prelude: code that stands before every program when it is run.
        harness: how else a program is made ready to be run: one of ``harness.HARNESSES``.
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
    hidden: Mapping[str, Any] | None = field(default=None, hash=False)
    compare: str | None = None
    limits: Mapping[str, float] | None = field(default=None, hash=False)
    statement: str | None = None
    starter: str | None = None
    prelude: str | None = None
    harness: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The task as a row of a tasks file; absent fields are left out."""
        row: dict[str, Any] = {"task_id": self.task_id, "prompt": self.prompt, "tests": dict(self.tests)}
        row |= {"stop": list(self.stop), "source": self.source}
        row |= {name: getattr(self, name) for name in TEXTS if getattr(self, name) is not None}
        row |= {name: dict(value) for name in ("hidden", "limits") if (value := getattr(self, name)) is not None}
        return row

    @classmethod
    def from_json(cls, row: Any, where: str = "the task") -> Task:
        """Read a row; ``where`` begins the sentence of a :class:`UserError` when it is no task."""
        if not isinstance(row, dict):
            raise UserError(f"{where} is not a JSON object")
        for name in ("task_id", "prompt", "tests"):
            if name not in row:
                raise UserError(f"{where} has no {name}")
        text: dict[str, Any] = {name: row.get(name) for name in TEXTS}
        for name, value in {"task_id": row["task_id"], "prompt": row["prompt"], **text}.items():
            if not isinstance(value, str) and not (value is None and name in text):
                raise UserError(f"{where}: {name} must be text, not {value!r}")
        named = f"{where} ({row['task_id']})"
        for key in ("tests", "hidden") if row.get("hidden") is not None else ("tests",):
            check_tests(row[key], named)
            if row[key]["kind"] == "check" and not text["entry_point"]:
                raise UserError(f"{named} has {key} of kind check without an entry_point to check")
        kinds = {row[key]["kind"] for key in ("tests", "hidden") if row.get(key) is not None}
        _check_rules(row.get("compare"), row.get("harness"), row.get("limits"), kinds, named)
        if not isinstance(row.get("source", ""), str):
            raise UserError(f"{where}: source must be text, not {row['source']!r}")
        stop = row.get("stop", [])
        if not isinstance(stop, list) or not all(isinstance(s, str) and s for s in stop):
            raise UserError(f"{where}: stop must be a list of texts that are not empty")
        more: dict[str, Any] = {
            "hidden": row.get("hidden"),
            "limits": row.get("limits"),
            "source": row.get("source", ""),
        }
        return cls(row["task_id"], row["prompt"], row["tests"], stop=tuple(stop), **more, **text)


def evaluation_task(task: Task) -> Task:
    """The task as an evaluation judges it: by its hidden tests where it has some, else by those that are seen."""
    return task if task.hidden is None else replace(task, tests=task.hidden, hidden=None)


def _check_rules(compare: Any, harness: Any, limits: Any, kinds: Collection[str], where: str) -> None:
    rules = ANSWER_RULES if kinds == {"answer"} else () if "answer" in kinds else COMPARE_MODES
    for name, value, known in (("compare", compare, rules), ("harness", harness, tuple(HARNESSES))):
        if value is not None and value not in known:
            raise UserError(f"{where}: {name} is {shown(value)}; its kind of tests has {', '.join(known) or 'none'}")
    if limits is None:
        return
    if not isinstance(limits, dict) or not set(limits) <= set(LIMITS):
        raise UserError(f"{where}: limits must be an object with {' and '.join(LIMITS)}, not {shown(limits)}")
    for name, value in limits.items():
        above, most = LIMITS[name]
        check_number(f"{where}: limits.{name}", value, above=above, most=most, whole=name == "memory_mb")


def check_tests(tests: Any, where: str) -> None:
    """Raise UserError, which begins with ``where``, unless ``tests`` is one of the kinds of ``TEST_KINDS``."""
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
    """Write a tasks file, whole or not at all; returns how many. No more than a few tasks are held at a time.

    Raises:
        UserError: the file cannot be written.
    """
    count = 0

    def parts() -> Iterator[bytes]:
        nonlocal count
        lines: list[bytes] = []
        size = 0
        for task in tasks:
            lines.append(dump_row(task.to_json()).encode())
            count, size = count + 1, size + len(lines[-1])
            if size > BLOCK:
                yield b"".join(lines)
                lines, size = [], 0
        yield b"".join(lines)

    try:
        write_atomic(path, parts())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return count


def program_text(task: Task, completion: str) -> str:
    """The whole program that the tests run; of a task whose tests ask for an answer, the answer."""
    return runnable(task, completion if task.tests["kind"] == "answer" else task.prompt + completion)


def runnable(task: Task, program: str) -> str:
    """A whole program as its task has it run: behind the prelude, by the harness."""
    if task.harness is not None:
        program = HARNESSES[task.harness](program, task.tests["kind"])
    return program if task.prelude is None else behind(task.prelude, program)


def trim_at_stop(completion: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """Cut ``completion`` before the first of ``stops`` in it; returns the kept text and the stop, or None."""
    found = [(completion.find(stop), stop) for stop in stops if stop and stop in completion]
    if not found:
        return completion, None
    at, stop = min(found)
    return completion[:at], stop
