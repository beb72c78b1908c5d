"""HumanEval (Chen et al., 2107.03374) as published: one function a task, a ``check(candidate)`` that judges it."""

from __future__ import annotations

from pper_jax.tasks.left_out import LeftOut
from pper_jax.tasks.rows import Row, require
from pper_jax.tasks.task import Task

FORMS = (dict.fromkeys(("task_id", "prompt", "canonical_solution", "test", "entry_point"), str),)
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\nassert")  # the paper's and "assert": the body is over


def problem(row: Row) -> Task | LeftOut:
    """The task of a row of ``HumanEval.jsonl``; a program is the prompt and the completion."""
    fields = require(row, FORMS, "HumanEval problem")
    return Task(
        task_id=fields["task_id"],
        prompt=fields["prompt"],
        tests={"kind": "check", "code": fields["test"]},
        entry_point=fields["entry_point"],
        stop=STOPS,
        reference=fields["canonical_solution"],
        source="humaneval",
        split="test",
    )
