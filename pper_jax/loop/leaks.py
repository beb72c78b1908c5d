"""Held-out tasks among those that are learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pper_jax.errors import UserError, cut
from pper_jax.tasks import Task
from pper_jax.tasks.overlap import HOW, find_overlaps
from pper_jax.terminal import say


def refuse_leaks(train: Sequence[Task], held_out: Mapping[str, Sequence[Task]], *, allowed: bool = False) -> None:
    """Raise UserError where a held-out task is learnt from: by its id, its words, its tests or its reference's code.

    Where that is ``allowed``, it is counted aloud (so that tasks that are learnt from can be judged, too); but not two
    different tasks of one id, for their programs could not be told apart.
    """
    known = {task.task_id: task for task in train}
    for name, tasks in held_out.items():
        pairs = find_overlaps(tasks, train)
        if not pairs:
            continue
        counts = Counter(pair.how for pair in pairs)
        shared = len({pair.a for pair in pairs})
        told = ", ".join(f"{counts[how]} by {how}" for how in HOW if counts[how])
        sentence = (
            f"{shared} tasks of tasks.eval.{name}, such as {cut(pairs[0].a, 100)}, are in tasks.train too ({told}; "
            f"there it is {cut(pairs[0].b, 100)})"
        )
        clash = any(task.task_id in known and task.to_json() != known[task.task_id].to_json() for task in tasks)
        if not allowed or clash:
            more = "" if clash else ", or set tasks.allow_contamination: true"
            raise UserError(f"{sentence}; choose other tasks for one of the two{more}")
        say(f"tasks.allow_contamination: {sentence}")
