"""Choosing tasks: from a tasks file, a published set or a generated one, by split, count and seed."""

from __future__ import annotations

import os
import random
import sys

from pper_jax.errors import UserError, cut
from pper_jax.tasks.left_out import Tally
from pper_jax.tasks.registry import GENERATED, SETS, no_tasks_file, problems, split_source
from pper_jax.tasks.task import Task, read_tasks


def open_tasks(name: str) -> list[Task]:
    """The tasks of the file ``name``, or those that ``NAME:SRC`` names: a task set and its source.

    A generated set's source is ``SPLIT[:COUNT[:SEED]]``. A file of that very name is read in any case.

    Raises:
        UserError: neither, or a file that is no tasks file.
    """
    named = split_source(name)
    if named is not None and named[0] in GENERATED:
        return SETS[named[0]].generate(named[1])
    return load_tasks(name, split=None, count=0, seed=0)


def load_tasks(source: str, *, split: str | None, count: int, seed: int) -> list[Task]:
    """The tasks that a run or a command asks for; a pure function of its arguments and the file.

    Args:
        source: the path of a tasks file, ``NAME:SRC`` of a published set, or the name of a generated set; a file of
            that very name is read.
        split: only tasks of this split; None takes all (of a generated set: ``train``).
        count: how many; 0 takes all of a file. A subset of a file is drawn by ``seed`` and keeps the file's order.
        seed: of the subset, or of the generated tasks.

    Raises:
        UserError: no such file, no such split, fewer tasks than ``count``, or a count below zero.
    """
    if count < 0:
        raise UserError(f"count is {count}; give how many tasks to take, or 0 for all of a file")
    named = split_source(source)
    if named is not None and source in GENERATED:
        if count < 1:
            raise UserError(f"{source} tasks are generated, so they need a count; give count: 200, for example")
        return SETS[source].generate(f"{split or 'train'}:{count}:{seed}")
    if named is None:
        if not os.path.exists(source):
            raise UserError(no_tasks_file(source))
        tasks = read_tasks(source)
    else:
        tasks = SETS[named[0]].generate(named[1]) if named[0] in GENERATED else read_set(*named)
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


def read_set(name: str, src: str | os.PathLike[str]) -> list[Task]:
    """The tasks of set ``name`` from its published form ``src``; problems that are left out are counted aloud.

    Raises:
        UserError: ``src`` is missing, of another format, or holds no tasks.
    """
    tasks: list[Task] = []
    left_out = Tally()
    for problem in problems(name, str(src)):
        if isinstance(problem, Task):
            tasks.append(problem)
        else:
            left_out.add(problem)
    if left_out.count:
        first = left_out.first[0]
        print(
            f"{name}: {left_out.count} problems are left out, the first being {cut(first.task_id)} ({first.reason}); "
            f"pper tasks check {cut(f'{name}:{src}')} names them",
            file=sys.stderr,
        )
    if not tasks:
        raise UserError(f"{cut(str(src))} holds no tasks")
    return tasks
