"""Samples (programs somebody wrote for tasks) and verdict rows; see the files section of the README."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pper_jax.errors import UserError, cut, shown
from pper_jax.files import parse_jsonl
from pper_jax.tasks.program_folder import read_folder
from pper_jax.tasks.task import Task, program_text, runnable

COUNT_BELOW = 2**31


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < COUNT_BELOW


FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("task_id", "completion", "solution", "stop_reason", "model", "raw", "profile"), _is_text),
    "logprob": _is_finite,
    **dict.fromkeys(("num_tokens", "rank"), _is_count),
    "finished": lambda value: isinstance(value, bool),
    "tokens": lambda value: isinstance(value, list) and all(map(_is_count, value)),
}
LATER = {"raw", "profile"}  # keys that files had for other things before they were ours


@dataclass(frozen=True)
class Sample:
    """A program for a task: a ``completion`` of its prompt, or a ``solution`` that is a whole program.

    ``logprob`` is the sum over ``num_tokens`` tokens (natural log); ``stop_reason`` is ``eos | stop | length``;
    ``tokens`` are the ids behind the completion, where we wrote it ourselves; ``raw`` is the text that they say, where
    the prompt profile ``profile`` made the ``solution`` from it; ``extra`` holds the keys of a row that
    are none of ours, which stay with it.
    """

    task_id: str
    completion: str | None = None
    solution: str | None = None
    logprob: float | None = None
    num_tokens: int | None = None
    rank: int = 0
    finished: bool | None = None
    stop_reason: str | None = None
    model: str | None = None
    tokens: tuple[int, ...] | None = None
    raw: str | None = None
    profile: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def program(self, task: Task) -> str:
        """The whole program to run."""
        return runnable(task, self.solution) if self.solution is not None else program_text(task, self.completion or "")

    def to_json(self) -> dict[str, Any]:
        """The sample as a row of a samples file; absent fields are left out."""
        row = {name: value for name, value in vars(self).items() if name in FIELDS and value is not None}
        if self.tokens is not None:
            row["tokens"] = list(self.tokens)
        return {**row, **self.extra}

    @classmethod
    def from_json(cls, row: Any, where: str = "the sample") -> Sample:
        """Read a row; unknown keys are kept as they are, so that other tools' files are valid input."""
        if not isinstance(row, dict) or not isinstance(row.get("task_id"), str):
            raise UserError(f"{where} is not a JSON object with a task_id")
        known = {name: row[name] for name in FIELDS if row.get(name) is not None}
        for name in LATER & {key for key in known if not FIELDS[key](known[key])}:
            del known[name]  # another tool's key of that name
        if "completion" not in known and "solution" not in known:
            raise UserError(f"{where} has neither a completion nor a solution")
        for name, value in known.items():
            if not FIELDS[name](value):
                raise UserError(f"{where}: {name} cannot be {shown(value)}")
        if "tokens" in known:
            known["tokens"] = tuple(known["tokens"])
        ours = FIELDS.keys() - (LATER - known.keys())
        return cls(**known, extra={name: value for name, value in row.items() if name not in ours})


class TestedVerdict(Protocol):
    """What a verdict of the execution room offers."""

    def to_json(self) -> dict[str, Any]:
        """Plain data: passed, total, pass_rate, tests, status."""


def read_samples(path: str | Path, tasks: Sequence[Task], *, others: bool = False) -> list[Sample]:
    """Read a samples file for ``tasks``, or a folder of programs (:mod:`pper_jax.tasks.program_folder`).

    Args:
        path: the file or folder.
        tasks: what the programs are for.
        others: leave out programs for other tasks, which are refused otherwise.

    Raises:
        UserError: a line that is no sample, or whose task is unknown (named with its line); no sample at all.
    """
    known = {task.task_id for task in tasks}
    samples = []
    for where, sample in _folder(path, tasks) if os.path.isdir(path) else _lines(path):
        if sample.task_id in known:
            samples.append(sample)
        elif not others:
            raise UserError(f"{where} is for task {cut(sample.task_id)}, which is not in the tasks file")
    if not samples:
        raise UserError(f"{path} holds no samples" + (" for the tasks that are asked" if others else ""))
    return samples


def _lines(path: str | Path) -> Iterator[tuple[str, Sample]]:
    for number, row in parse_jsonl(path):
        where = f"{path}, line {number}"
        yield where, Sample.from_json(row, where)


def _folder(path: str | Path, tasks: Sequence[Task]) -> Iterator[tuple[str, Sample]]:
    ranks = Counter[str]()
    for file, task_id, program in read_folder(Path(path), tasks):
        name = str(file.relative_to(path).with_suffix("")) if task_id is None else task_id
        yield str(file), Sample(name, solution=program, rank=ranks[name])
        ranks[name] += 1


def verdict_row(sample: Sample, verdict: TestedVerdict) -> dict[str, Any]:
    """A row of a verdicts file: the sample's keys, its own too (but its token ids), and the verdict's."""
    row: Mapping[str, Any] = sample.to_json()
    return {**{key: value for key, value in row.items() if key != "tokens"}, **verdict.to_json()}


def text_of(row: Mapping[str, Any]) -> Any:
    """The text of the program of a sample's or verdict's row: what its tokens say, or else the whole program."""
    return next((row[name] for name in ("completion", "raw", "solution") if row.get(name) is not None), None)
