"""HumanEval (Chen et al., 2107.03374) as published: one function a task, a ``check(candidate)`` that judges it."""

from __future__ import annotations

from pathlib import Path

from pper_jax.errors import UserError
from pper_jax.files import parse_jsonl
from pper_jax.tasks.task import Task

FIELDS = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\nassert")  # the paper's and "assert": the body is over


def load_humaneval(path: str | Path) -> list[Task]:
    """Tasks of ``HumanEval.jsonl``, plain or gzipped.

    Raises:
        UserError: the file cannot be read or a line is no HumanEval problem.
    """
    tasks = []
    for number, row in parse_jsonl(path):
        for name in FIELDS:
            if not isinstance(row, dict) or not isinstance(row.get(name), str):
                raise UserError(f"{path}, line {number} is no HumanEval problem: it has no text {name}")
        tasks.append(
            Task(
                task_id=row["task_id"],
                prompt=row["prompt"],
                tests={"kind": "check", "code": row["test"]},
                entry_point=row["entry_point"],
                stop=STOPS,
                reference=row["canonical_solution"],
                source="humaneval",
                split="test",
            )
        )
    return tasks
