"""A folder of programs as samples: ``TASK.py``, or ``TASK/ANY.py`` where a task has several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pper_jax.errors import UserError, cut
from pper_jax.files import read_text
from pper_jax.tasks.task import Task

DIGITS = "0123456789"


def read_folder(path: Path, tasks: Sequence[Task]) -> Iterator[tuple[Path, str | None, str]]:
    """Each ``.py`` file below ``path``, its task's id (None: it names no task of ``tasks``), and its text.

    A file is for the task whose id its path below ``path`` has, without ``.py``, or else the folder that it lies in. A
    slash of an id may be written as an underscore, as evalplus does. Files come by name, numbers in it by their value,
    hidden ones and those below hidden folders are passed over.

    Raises:
        UserError: the folder has no ``.py`` file, or one cannot be read.
    """
    named = {task.task_id.replace("/", "_"): task.task_id for task in tasks}
    named |= {task.task_id: task.task_id for task in tasks}
    files = [file for file in path.rglob("*.py") if not any(part.startswith(".") for part in _below(file, path))]
    if not files:
        raise UserError(f"{cut(str(path))} is a folder without a .py file; give programs as TASK.py or TASK/1.py")
    for file in sorted(files, key=lambda file: _in_order(_below(file, path))):
        parts = _below(file, path)
        names = ["/".join(parts)[: -len(".py")], "/".join(parts[:-1])]
        yield file, next((named[name] for name in names if name in named), None), read_text(file)


def _below(file: Path, folder: Path) -> tuple[str, ...]:
    return file.relative_to(folder).parts


def _in_order(parts: Sequence[str]) -> list[list[tuple[int, int, str]]]:
    """A key by which ``10.py`` comes after ``9.py``."""
    pieces = [[piece for piece in re.split(r"([0-9]+)", part) if piece] for part in parts]
    return [[(0, int(piece), "") if piece[0] in DIGITS else (1, 0, piece) for piece in part] for part in pieces]
