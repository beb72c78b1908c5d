"""Phase B: programs for tasks; those of a task are kept as soon as they are known."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from pper_jax.decode import Method, decode_prompts, distinct
from pper_jax.errors import UserError
from pper_jax.files import Partial, digest, finish_together, is_stream, open_partial, partial_of, read_jsonl
from pper_jax.programs.language_model import LanguageModel, encode_prompts, ends_of
from pper_jax.programs.rows import sample_rows
from pper_jax.sharding import whole_rows
from pper_jax.tasks import Sample, Task
from pper_jax.terminal import Progress, check_interrupted
from pper_jax.text import BASE

FILLED_IN = ("eos_ids", "pad_id", "stop_suffixes")  # of a method's options: by the model and the tasks


def sampling_asked(
    model: LanguageModel, tasks: Sequence[Task], config: Method, key: jax.Array | None, only_distinct: bool
) -> dict[str, Any]:
    """All that decides which programs are written, as plain data; how many prompts go at once is no part of it."""
    options: dict[str, Any] = {"all": repr(config)}
    if dataclasses.is_dataclass(config):
        options = dataclasses.asdict(config)
    return {
        "tasks": digest([task.to_json() for task in tasks]),
        "model": model.name,
        "model_files": model.digest,
        "method": type(config).__name__,
        "options": {name: value for name, value in options.items() if name not in FILLED_IN},
        "key": None if key is None else jax.random.key_data(key).tolist(),
        "distinct": only_distinct,
        **_profile_asked(model, tasks),
    }


def _profile_asked(model: LanguageModel, tasks: Sequence[Task]) -> dict[str, Any]:
    """The profile and what it makes of the tasks; nothing for the one that adds nothing to them."""
    if model.profile == BASE:
        return {}
    prompts = digest([model.profile.ask(task, model.tokenizer) for task in tasks])
    return {"profile": model.profile.name, "prompts": prompts}


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
    asking: Mapping[str, Any] | None = None,
    anew: bool = False,
) -> list[Sample]:
    """Write programs for every task to ``path`` (samples format), best first and in task order, once all are there.

    Until then they are kept in ``path.partial`` with what was asked (:func:`sampling_asked` and ``asking``, plain data
    of the caller's own), from where the same call goes on. A ``path`` that holds programs for all tasks is read and
    not written again, unless ``anew``; then it stays as it is until its successor is whole.

    ``config`` is any method of ``pper_jax.decode``. With ``only_distinct`` it draws twice as many, and of those that
    are equal but for comments and white space the first is kept; a task may then have fewer than asked for, which a
    line on standard error counts.

    Raises:
        UserError: a prompt is longer than the context allows (the task is named); ``path`` holds something else, or
            something else was asked of ``path.partial``.
    """
    stored = stored_samples(path, tasks, model.name)
    if not anew and _is_whole(path, stored, tasks, 1 if only_distinct else config.programs_per_prompt):
        return stored
    asked = {**sampling_asked(model, tasks, config, key, only_distinct), **(asking or {})}
    with open_partial(path, asked) as partial:
        if not anew:
            _take_over(partial, stored, config.programs_per_prompt)
        samples = write_samples(
            partial, model, tasks, config, batch_size=batch_size, key=key, label=label, only_distinct=only_distinct
        )
        finish_together([(partial, [sample.to_json() for sample in samples])])
    return samples


def write_samples(
    partial: Partial,
    model: LanguageModel,
    tasks: Sequence[Task],
    config: Method,
    *,
    batch_size: int,
    key: jax.Array | None,
    label: str,
    only_distinct: bool = False,
) -> list[Sample]:
    """The programs of every task, in task order: what ``partial`` keeps, and the others, which it keeps from now on."""
    width = config.programs_per_prompt
    groups = {unit["task_id"]: [Sample.from_json(row) for row in unit["programs"]] for unit in partial.units}
    todo = [i for i, task in enumerate(tasks) if task.task_id not in groups]
    results = decode_prompts(
        model.module,
        model.params,
        encode_prompts(model, tasks),
        config=config.widened() if only_distinct else config,
        batch_size=whole_rows(batch_size, model.mesh),
        mesh=model.mesh,
        ends=ends_of(model, tasks),
        only=todo,
        names=[f"task {task.task_id}" for task in tasks],
        key=key,
        watch=check_interrupted,
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
            _keep(partial, task.task_id, rows)
            progress.update(1)
    if only_distinct:
        few = sum(len(groups[task.task_id]) < width for task in tasks)
        print(
            f"{label}: {repeated} programs repeated another but for comments and white space and are left out; "
            f"{few} of {len(tasks)} tasks have fewer than {width}",
            file=sys.stderr,
        )
    return [sample for task in tasks for sample in groups[task.task_id]]


def stored_samples(path: Path, tasks: Sequence[Task], model: str) -> list[Sample]:
    """The programs that stand in ``path``, in its order.

    Raises:
        UserError: it is no samples file, or an unfinished one for other tasks or of another model: nothing of ours may
            take its place.
    """
    if not path.exists() or is_stream(path):
        return []
    try:
        samples = [Sample.from_json(row) for row in read_jsonl(path, torn_ok=True)]
    except UserError as error:
        raise UserError(f"{path} exists and is no samples file ({error}); name another file or remove it") from None
    known, present = {task.task_id for task in tasks}, {sample.task_id for sample in samples}
    others = {sample.model for sample in samples} - {model}
    if known - present and others:
        raise UserError(f"{path} holds programs of {others.pop()}, not of {model}; name another file or remove it")
    if known - present and present - known:
        raise UserError(
            f"{path} holds programs for other tasks, such as {min(present - known)}; name another file or remove it"
        )
    return samples


def _grouped(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.task_id, []).append(sample)
    return groups


def _is_whole(path: Path, stored: Sequence[Sample], tasks: Sequence[Task], programs: int) -> bool:
    """Whether ``path`` is finished: every task has its programs, in the tasks' order, and nothing is torn."""
    groups = _grouped(stored)
    if not stored or [*groups] != [task.task_id for task in tasks] or partial_of(path).exists():
        return False
    in_order = [sample for group in groups.values() for sample in group] == [*stored]
    return in_order and len(groups[tasks[-1].task_id]) >= programs and path.read_bytes().endswith(b"\n")


def _take_over(partial: Partial, stored: Sequence[Sample], programs: int) -> None:
    """Go on from an unfinished file of the version that appended to it; its last group may be cut."""
    groups, kept = _grouped(stored), {unit["task_id"] for unit in partial.units}
    if groups and len(groups[last := next(reversed(groups))]) < programs:
        del groups[last]
    for task_id, group in groups.items():
        if task_id not in kept:
            _keep(partial, task_id, group)


def _keep(partial: Partial, task_id: str, samples: Sequence[Sample]) -> None:
    partial.append({"task_id": task_id, "programs": [sample.to_json() for sample in samples]})
