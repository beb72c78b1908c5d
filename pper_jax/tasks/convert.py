"""Published task sets as tasks files, problem by problem: a source may be larger than the memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pper_jax.errors import UserError
from pper_jax.files import check_output
from pper_jax.tasks.left_out import Tally
from pper_jax.tasks.registry import SETS, find_set, problems
from pper_jax.tasks.rows import Told
from pper_jax.tasks.task import Task, write_tasks


@dataclass(frozen=True)
class Converted:
    """What a conversion gave: how many tasks, and which problems became none."""

    tasks: int
    left_out: Tally


def list_sets() -> Iterator[tuple[str, str]]:
    """Name of each task set, and what its SRC is."""
    for name, task_set in SETS.items():
        yield name, task_set.about


def convert(name: str, src: str | Path, out: str | Path, told: Told | None = None) -> Converted:
    """Write the tasks of set ``name`` from its published form ``src`` to the tasks file ``out``.

    Args:
        name: one of :func:`list_sets`.
        src: a file or folder; see the set.
        out: a tasks file; what stands there stays until the new one is whole.
        told: hears how many bytes of the source were read since it was last called.

    Raises:
        UserError: an unknown name, ``src`` missing or of another format, ``out`` cannot be written or is ``src``.
    """
    find_set(name)
    check_output(out, [src])
    left_out = Tally()
    count = write_tasks(out, _some(_tasks(name, str(src), told, left_out), str(src), left_out))
    return Converted(count, left_out)


def _tasks(name: str, src: str, told: Told | None, left_out: Tally) -> Iterator[Task]:
    for problem in problems(name, src, told):
        if isinstance(problem, Task):
            yield problem
        else:
            left_out.add(problem)


def _some(tasks: Iterator[Task], src: str, left_out: Tally) -> Iterator[Task]:
    first = next(tasks, None)
    if first is None:
        raise UserError(f"{src} holds no tasks" + (f"; {left_out}".replace("\n ", ",") if left_out.count else ""))
    yield first
    yield from tasks
