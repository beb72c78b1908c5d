"""Phase B: programs for tasks, one JSON line each as soon as it is known."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax

from pper_jax.decode import Method, decode_prompts, distinct
from pper_jax.errors import UserError
from pper_jax.files import append_jsonl, dump_jsonl, read_jsonl, write_atomic
from pper_jax.programs.language_model import LanguageModel, encode_prompts, ends_of
from pper_jax.programs.rows import sample_rows
from pper_jax.tasks import Sample, Task
from pper_jax.terminal import Progress


def _kept_samples(path: Path, tasks: Sequence[Task], programs_per_task: int, model: str) -> dict[str, list[Sample]]:
    """What an earlier, interrupted call wrote: whole groups, but for the last one when it may be cut."""
    groups: dict[str, list[Sample]] = {}
    if path.exists():
        for row in read_jsonl(path, torn_ok=True):
            sample = Sample.from_json(row)
            groups.setdefault(sample.task_id, []).append(sample)
    if groups and len(groups[last := next(reversed(groups))]) < programs_per_task:
        del groups[last]
    others = {sample.model for group in groups.values() for sample in group} - {model}
    if others:
        raise UserError(f"{path} holds programs of {others.pop()}, not of {model}; name another file or remove it")
    unknown = groups.keys() - {task.task_id for task in tasks}
    if unknown:
        raise UserError(
            f"{path} holds programs for other tasks, such as {min(unknown)}; name another file or remove it"
        )
    return groups


def sample_tasks(
    model: LanguageModel,
    tasks: Sequence[Task],
    path: Path,
    config: Method,
    *,
    batch_size: int,
    key: jax.Array | None = None,
    label: str = "sample",
    only_distinct: bool = False,
) -> list[Sample]:
    """Write programs for every task to ``path`` (samples format), best first; once all are there, in task order.

    ``config`` is any method of ``pper_jax.decode``. With ``only_distinct`` it draws twice as many, and of those that
    are equal but for comments and white space the first is kept; a task may then have fewer than asked for, which a
    line on standard error counts.

    Raises:
        UserError: a prompt is longer than the context allows (the task is named).
    """
    width = config.programs_per_prompt
    groups = _kept_samples(path, tasks, width, model.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, dump_jsonl([s.to_json() for group in groups.values() for s in group]))
    todo = [i for i, task in enumerate(tasks) if task.task_id not in groups]
    results = decode_prompts(
        model.module,
        model.params,
        encode_prompts(model, tasks),
        config=config.widened() if only_distinct else config,
        batch_size=batch_size,
        ends=ends_of(model, tasks),
        only=todo,
        names=[f"task {task.task_id}" for task in tasks],
        key=key,
        reproducible=True,  # a run that was interrupted ends with the same bytes as one that was not
    )
    repeated = 0
    with Progress(label, len(tasks), done=len(tasks) - len(todo), unit="tasks") as progress:
        for index, programs in results:
            task = tasks[index]
            rows = sample_rows(model, task, programs)
            if only_distinct:
                of_group = [program.group for program in programs]
                kept, found = distinct(rows, [row.program(task) for row in rows], width, of_group)
                rows, repeated = [replace(row, rank=rank) for rank, row in enumerate(kept)], repeated + found
            groups[task.task_id] = rows
            append_jsonl(path, [s.to_json() for s in groups[task.task_id]])
            progress.update(1)
    if only_distinct:
        few = sum(len(groups[task.task_id]) < width for task in tasks)
        print(
            f"{label}: {repeated} programs repeated another but for comments and white space and are left out; "
            f"{few} of {len(tasks)} tasks have fewer than {width}",
            file=sys.stderr,
        )
    samples = [sample for task in tasks for sample in groups[task.task_id]]
    write_atomic(path, dump_jsonl([sample.to_json() for sample in samples]))
    return samples
