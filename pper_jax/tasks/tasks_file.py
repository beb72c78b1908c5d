"""Tasks files of ours as a set among the others: rows that are no task are told, and the rest goes on."""

from __future__ import annotations

from typing import Any

from pper_jax.errors import UserError
from pper_jax.tasks.left_out import LeftOut
from pper_jax.tasks.rows import Row
from pper_jax.tasks.task import Task

FORMS: tuple[dict[str, Any], ...] = (dict.fromkeys(("task_id", "prompt", "tests")),)


def problem(row: Row) -> Task | LeftOut:
    """The task of a row, plain or as parquet has it (absent fields are null there)."""
    value = row.value
    if isinstance(value, dict):
        value = {key: each for key, each in value.items() if each is not None}
    try:
        return Task.from_json(value, row.where)
    except UserError as error:
        return LeftOut(row.where, str(error).removeprefix(row.where).lstrip(" :"), fault=True)
