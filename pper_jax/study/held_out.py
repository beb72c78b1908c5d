"""Held-out tasks belong to the study: one half to choose settings on, the other to judge them once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pper_jax.errors import UserError
from pper_jax.loop.parts import task_set
from pper_jax.study.config import Study
from pper_jax.tasks import Task, write_tasks


def part_of(task_id: str) -> str:
    """``dev`` or ``test``: the half that a task belongs to, whatever else its set holds."""
    return ("dev", "test")[hashlib.sha256(f"part {task_id}".encode()).digest()[0] % 2]


def half(tasks: Sequence[Task], part: str) -> list[Task]:
    """The tasks of one half, or ``all``, in their order."""
    return [task for task in tasks if part in ("all", part_of(task.task_id))]


def write_held_out(study: Study) -> dict[str, Path]:
    """Write the study's half of every held-out set to its folder; returns the files by the set's name.

    Raises:
        UserError: a set that cannot be read, or has no task of that half.
    """
    config, files = study.config, {}
    for name, spec in study.arms[config.reference].tasks.eval.items():
        chosen = half(
            task_set(replace(spec, seed=config.task_seed), config.task_seed, f"tasks.eval.{name}"), config.part
        )
        if not chosen:
            raise UserError(f"tasks.eval.{name} has no task in the {config.part} half; give it more")
        files[name] = study.folder / "tasks" / f"{name}.{config.part}.jsonl"
        files[name].parent.mkdir(parents=True, exist_ok=True)
        write_tasks(files[name], chosen)
    return files
