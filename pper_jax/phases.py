"""The two phases that write files as they go: sampling programs (B) and testing them (T).

Each writes one JSON line a program as soon as it is known; called again on the same file, it does what is missing.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import jax

from pper_jax.decode import BeamConfig, HostProgram, decode_prompts, distinct, stop_token_suffixes, trim_program
from pper_jax.errors import UserError
from pper_jax.execution import Job, TestPool
from pper_jax.metrics import Progress
from pper_jax.run_folder import write_atomic
from pper_jax.tasks import Sample, Task, append_jsonl, dump_jsonl, read_jsonl, verdict_row
from pper_jax.types import Params


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that the phases use."""

    eos_token_id: int | None

    def __call__(self, text: str) -> Any:
        """Encode."""


@dataclass(frozen=True)
class LanguageModel:
    """A module, its parameters and its tokenizer; ``name`` goes into the sample rows."""

    module: Any
    params: Params
    tokenizer: Any
    name: str

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end a program; empty when the tokenizer names none."""
        eos = self.tokenizer.eos_token_id
        return () if eos is None else (int(eos),)


def encode_prompts(model: LanguageModel, tasks: Sequence[Task]) -> list[list[int]]:
    """Token ids of each task's prompt, special tokens as the tokenizer was made to add them."""
    return [list(model.tokenizer(task.prompt)["input_ids"]) for task in tasks]


def with_stops(config: Any, model: LanguageModel, tasks: Sequence[Task]) -> Any:
    """``config`` with the model's EOS and, where all tasks share their stops, the stops' token suffixes."""
    stops = {task.stop for task in tasks}
    suffixes = stop_token_suffixes(model.tokenizer, stops.pop()) if len(stops) == 1 else ()
    pad = model.eos_ids[0] if model.eos_ids else 0
    return replace(config, eos_ids=model.eos_ids, pad_id=pad, stop_suffixes=suffixes)


def _sample_rows(model: LanguageModel, task: Task, programs: Sequence[HostProgram]) -> list[Sample]:
    rows = []
    for rank, program in enumerate(programs):
        text, kept, logprob, reason = trim_program(
            model.tokenizer, program.tokens, program.token_logprobs, task.stop, model.eos_ids
        )
        rows.append(
            Sample(
                task_id=task.task_id,
                completion=text,
                logprob=logprob,
                num_tokens=kept,
                rank=rank,
                finished=reason != "length",
                stop_reason=reason,
                model=model.name,
                tokens=tuple(program.tokens[:kept]),
            )
        )
    return rows


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


def _programs_asked(config: Any) -> int:
    return (config.num_return or config.width) if isinstance(config, BeamConfig) else config.num_samples


def _twice(config: Any) -> Any:
    """``config`` with twice as many programs a task, none of them held back."""
    if isinstance(config, BeamConfig):
        return replace(config, width=2 * config.width, num_return=None)
    return replace(config, num_samples=2 * config.num_samples)


def sample_tasks(
    model: LanguageModel,
    tasks: Sequence[Task],
    path: Path,
    config: Any,
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
    width = _programs_asked(config)
    groups = _kept_samples(path, tasks, width, model.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, dump_jsonl([s.to_json() for group in groups.values() for s in group]))
    todo = [i for i, task in enumerate(tasks) if task.task_id not in groups]
    prompts = encode_prompts(model, tasks)
    results = decode_prompts(
        model.module,
        model.params,
        [prompts[i] for i in todo],
        config=with_stops(_twice(config) if only_distinct else config, model, tasks),
        batch_size=batch_size,
        names=[f"task {tasks[i].task_id}" for i in todo],
        key=key,
        prompt_ids=todo,
        reproducible=True,  # a run that was interrupted ends with the same bytes as one that was not
    )
    repeated = 0
    with Progress(label, len(tasks), done=len(tasks) - len(todo), unit="tasks") as progress:
        for index, programs in results:
            task = tasks[todo[index]]
            rows = _sample_rows(model, task, programs)
            if only_distinct:
                kept, found = distinct(rows, [row.program(task) for row in rows], width)
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


def _judged(row: dict[str, Any], samples: Sequence[Sample]) -> bool:
    """Whether a verdict row of an earlier call is that of the same sample; a fault of ours is tried again."""
    index = row.get("sample", -1)
    if row["status"] == "infrastructure" or not 0 <= index < len(samples):
        return False
    sample = samples[index]
    return (sample.task_id, sample.completion, sample.solution) == tuple(
        row.get(key) for key in ("task_id", "completion", "solution")
    )


def run_tests(
    pool: TestPool, tasks: Sequence[Task], samples: Sequence[Sample], path: Path, *, label: str = "test"
) -> list[dict[str, Any]]:
    """Test every sample; writes verdict rows to ``path`` as they finish and leaves them in the samples' order.

    Programs that could not be judged by a fault of ours are counted in a line on standard error.
    """
    by_id = {task.task_id: task for task in tasks}
    done: dict[int, dict[str, Any]] = {}
    if path.exists():
        for row in read_jsonl(path, torn_ok=True):
            if _judged(row, samples):
                done[row["sample"]] = row
    write_atomic(path, dump_jsonl(list(done.values())))
    todo = [i for i in range(len(samples)) if i not in done]
    jobs = [
        Job(program=samples[i].program(by_id[samples[i].task_id]), tests=task.tests, entry_point=task.entry_point)
        for i in todo
        for task in (by_id[samples[i].task_id],)
    ]
    with Progress(label, len(samples), done=len(done), unit="programs") as progress:
        for index, verdict in pool.as_completed(jobs):
            sample = todo[index]
            done[sample] = {**verdict_row(samples[sample], verdict), "sample": sample}
            append_jsonl(path, [done[sample]])
            progress.update(1)
    rows = [done[i] for i in range(len(samples))]
    write_atomic(path, dump_jsonl(rows))
    _say_what_was_not_judged(rows, label)
    return rows


def _say_what_was_not_judged(rows: Sequence[dict[str, Any]], label: str) -> None:
    lost = [row for row in rows if row["status"] == "infrastructure"]
    if lost:
        tests = (test for test in lost[0]["tests"] if test["status"] == "infrastructure")
        print(
            f"{label}: warning: {len(lost)} of {len(rows)} programs could not be judged, which is no fault of theirs; "
            f"they are left out of all rates, and the same command tries again (the first, for task "
            f"{lost[0]['task_id']}: {next(tests).get('detail', 'no reason known')})",
            file=sys.stderr,
        )


def count_statuses(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many programs got each verdict."""
    return dict(Counter(row["status"] for row in rows))
