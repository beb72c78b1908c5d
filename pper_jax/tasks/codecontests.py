"""CodeContests (Li et al., 2203.07814): contest problems as scripts that read and print.

Read are DeepMind's fields, in which public tests stand apart from private and generated ones, and flat rows (``id``,
``question``, ``inputs``, ``outputs``, ``solution``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pper_jax.tasks.apps import first_python
from pper_jax.tasks.left_out import LeftOut
from pper_jax.tasks.mbpp import docstring, unix
from pper_jax.tasks.rows import Row, require
from pper_jax.tasks.task import Task

SETS = ("public_tests", "private_tests", "generated_tests")
_OBJECT = (dict, list, type(None))
DEEPMIND = {"name": str, "description": str, **dict.fromkeys((*SETS, "solutions"), _OBJECT)}
FLAT = {"id": str, "question": str, "inputs": list, "outputs": list, "solution": (str, type(None))}
FORMS = (DEEPMIND, FLAT)
# Of contest_problem.proto: numbers in the hub's rows, names in others.
PYTHON3 = (3, "PYTHON3")
LEVELS = ("UNKNOWN_DIFFICULTY", "EASY", "MEDIUM", "HARD", "HARDER", "HARDEST", "EXTERNAL", *map(chr, range(65, 87)))
LEAST_MB = 256  # the address space that the interpreter needs with room for a program
NANO = 10**-9


def problem(row: Row) -> Task | LeftOut:
    """The task of a problem.

    Public tests are those that learning sees, private and generated ones are hidden; where only one of the two is
    published, it is the tests. Texts compare by their tokens: judges differ in lines and in a last newline. The time
    limit is the problem's; a memory limit counts the interpreter's own, and is 256 MiB at least. The reference is the
    first correct solution in Python 3.
    """
    fields = require(row, FORMS, "CodeContests problem")
    if "description" not in fields:
        return _flat(row, fields)
    task_id = f"codecontests/{fields['name']}"
    try:
        public, *others = ([*_cases(fields[name])] for name in SETS)
    except ValueError as error:
        return LeftOut(task_id, str(error), fault=True)
    hidden = [case for cases in others for case in cases]
    if not public and not hidden:
        return LeftOut(task_id, "it has no tests")
    return _task(
        row,
        task_id,
        fields["description"],
        public or hidden,
        reference=first_python(_python3(fields["solutions"])),
        difficulty=_level(fields.get("difficulty")),
        hidden={"kind": "stdio", "cases": hidden} if public and hidden else None,
        limits=_limits(fields) or None,
    )


def _flat(row: Row, fields: Mapping[str, Any]) -> Task | LeftOut:
    task_id = f"codecontests/{fields['id']}"
    if len(fields["inputs"]) != len(fields["outputs"]):
        return LeftOut(task_id, f"it has {len(fields['inputs'])} inputs and {len(fields['outputs'])} outputs", True)
    if not fields["inputs"]:
        return LeftOut(task_id, "it has no tests")
    passes = fields.get("ref_pass_token") == fields.get("n_tests")  # else the row itself says that it is wrong
    cases = [{"stdin": a, "stdout": b} for a, b in zip(fields["inputs"], fields["outputs"], strict=True)]
    reference = first_python([fields["solution"]]) if passes else None
    return _task(row, task_id, fields["question"], cases, reference, _level(fields.get("difficulty")))


def _task(
    row: Row,
    task_id: str,
    statement: str,
    cases: Sequence[Mapping[str, str]],
    reference: str | None,
    difficulty: str | None,
    **more: Any,
) -> Task:
    statement = unix(statement).strip()
    return Task(
        task_id=task_id,
        prompt=docstring(statement),
        tests={"kind": "stdio", "cases": list(cases)},
        stop=("\n```",),
        reference=reference,
        difficulty=difficulty,
        source="codecontests",
        split=row.split,
        compare="tokens",
        statement=statement,
        **more,
    )


def _cases(tests: Any) -> Iterator[dict[str, str]]:
    """Cases of ``{"input": [...], "output": [...]}``, or of a list of ``{"input", "output"}``; raises ValueError."""
    if isinstance(tests, list):
        tests = {key: [one.get(key) if isinstance(one, dict) else None for one in tests] for key in ("input", "output")}
    inputs, outputs = ((tests or {}).get(key) or [] for key in ("input", "output"))
    if len(inputs) != len(outputs):
        raise ValueError(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    for stdin, stdout in zip(inputs, outputs, strict=True):
        if not isinstance(stdin, str) or not isinstance(stdout, str):
            raise ValueError("an input or output of its tests is no text")
        yield {"stdin": stdin, "stdout": stdout}


def _python3(solutions: Any) -> list[Any]:
    if isinstance(solutions, list):
        pairs = [(one.get("language"), one.get("solution")) for one in solutions if isinstance(one, dict)]
    else:
        known = solutions or {}
        pairs = list(zip(known.get("language") or [], known.get("solution") or [], strict=False))
    return [text for language, text in pairs if language in PYTHON3]


def _level(difficulty: Any) -> str | None:
    """The name of a difficulty, which may come as its number; None where it is unknown."""
    if isinstance(difficulty, int) and 0 <= difficulty < len(LEVELS):
        difficulty = LEVELS[difficulty]
    return difficulty if isinstance(difficulty, str) and difficulty not in ("", LEVELS[0]) else None


def _limits(fields: Mapping[str, Any]) -> dict[str, float]:
    limits: dict[str, float] = {}
    time = fields.get("time_limit")
    if isinstance(time, dict):
        seconds = (time.get("seconds") or 0) + (time.get("nanos") or 0) * NANO
        if seconds > 0:
            limits["seconds"] = round(seconds, 3)
    memory = fields.get("memory_limit_bytes")
    if isinstance(memory, int) and memory > 0:
        limits["memory_mb"] = max(LEAST_MB, -(-memory // (1 << 20)))
    return limits
