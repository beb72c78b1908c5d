"""Choosing tasks: from the micro_python family or from a tasks file, by split, count and seed."""

from __future__ import annotations

import os
import random
import re

from pper_jax.errors import UserError, shown
from pper_jax.tasks.task import Task, read_tasks

GENERATED = "micro_python"
COUNT = 100  # tasks generated where no count is given


def open_tasks(name: str) -> list[Task]:
    """The tasks of the file ``name``, or else those that ``micro_python[:SPLIT[:COUNT[:SEED]]]`` names.

    Raises:
        UserError: neither, or a file that is no tasks file.
    """
    family, *parts = name.split(":")
    if family != GENERATED or _is_file(name):
        return load_tasks(name, split=None, count=0, seed=0)
    split, count, seed = [*parts, "", "", ""][:3]
    if len(parts) > 3 or not all(re.fullmatch("[0-9]{0,18}", digits) for digits in (count, seed)):
        what = f"cannot read the tasks {shown(name)}"
        raise UserError(f"{what}; behind {GENERATED}: write SPLIT:COUNT:SEED, such as train:200:0")
    return load_tasks(GENERATED, split=split or "train", count=int(count or COUNT), seed=int(seed or 0))


def _is_file(name: str) -> bool:
    return os.path.exists(name) and not os.path.isdir(name)


def load_tasks(source: str, *, split: str | None, count: int, seed: int) -> list[Task]:
    """The tasks that a run or a command asks for; a pure function of its arguments and the file.

    Args:
        source: ``micro_python``, or the path of a tasks file; a file of that very name is read.
        split: only tasks of this split; None takes all (for micro_python: ``train``).
        count: how many; 0 takes all of a file. A subset of a file is drawn by ``seed`` and keeps the file's order.
        seed: of the subset, or of the generated tasks.

    Raises:
        UserError: no such file, no such split, fewer tasks than ``count``, or a count below zero.
    """
    if count < 0:
        raise UserError(f"count is {count}; give how many tasks to take, or 0 for all of a file")
    if source == GENERATED and not _is_file(source):
        from pper_jax.tasks.micro_python import generate

        if count < 1:
            raise UserError("micro_python tasks are generated, so they need a count; give count: 200, for example")
        return generate(split or "train", count, seed)
    if not os.path.exists(source):
        raise UserError(f"no tasks file {source}; make one with: pper tasks convert NAME SRC {source}")
    tasks = read_tasks(source)
    if split is not None:
        present = sorted({task.split or "none" for task in tasks})
        tasks = [task for task in tasks if task.split == split]
        if not tasks:
            raise UserError(f"{source} has no task of split {split}; its splits are {', '.join(present)}")
    if count == 0:
        return tasks
    if count > len(tasks):
        where = f"{source}, split {split}," if split else source
        raise UserError(f"{where} has {len(tasks)} tasks; {count} cannot be taken")
    chosen = sorted(random.Random(seed).sample(range(len(tasks)), count))
    return [tasks[i] for i in chosen]
