"""Phase T: programs on their tasks' tests; each verdict is kept as soon as it is known."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.execution import TestPool
from pper_jax.files import (
    Partial,
    check_output,
    digest,
    finish_together,
    is_stream,
    open_partial,
    partial_of,
    read_jsonl,
)
from pper_jax.programs.figures import summarise_verdicts
from pper_jax.tasks import Sample, Task, read_samples, verdict_row
from pper_jax.tasks.check import job_of
from pper_jax.terminal import Progress

VERDICT_KEYS = ("task_id", "status", "passed", "total", "pass_rate", "tests")


def verdicts_asked(pool: TestPool, tasks: Sequence[Task], samples: Sequence[Sample] | None = None) -> dict[str, Any]:
    """All that decides what the verdicts are, as plain data; how many workers there are is no part of it."""
    limits = getattr(pool, "limits", None)
    return {
        "tasks": digest([task.to_json() for task in tasks]),
        "samples": None if samples is None else digest([sample.to_json() for sample in samples]),
        "limits": dataclasses.asdict(limits) if limits is not None else None,
        **{name: getattr(pool, name, None) for name in ("compare", "isolation", "stop")},
        "overrule": list(pool.rules.overrule) if hasattr(pool, "rules") else [],
    }


def run_tests(
    pool: TestPool,
    tasks: Sequence[Task],
    samples: Sequence[Sample],
    path: Path,
    *,
    label: str = "test",
    asking: Mapping[str, Any] | None = None,
    anew: bool = False,
) -> list[dict[str, Any]]:
    """Test every sample; writes the verdict rows to ``path`` in the samples' order, once all are there.

    Until then they are kept in ``path.partial`` with what was asked (:func:`verdicts_asked` and ``asking``, plain data
    of the caller's own), from where the same call goes on. Verdicts in ``path`` on the same programs are taken as they
    are, unless ``anew``. Programs that could not be judged by a fault of ours are tried again, and counted in a line on
    standard error where that fails too.

    Raises:
        UserError: ``path`` is no verdicts file, or something else was asked of ``path.partial``.
    """
    stored = stored_verdicts(path)
    known = {} if anew else _judged(stored, samples)
    if not anew and stored == [known.get(index) for index in range(len(samples))] and not partial_of(path).exists():
        return stored
    with open_partial(path, {**verdicts_asked(pool, tasks, samples), **(asking or {})}) as partial:
        rows = judge_samples(partial, pool, tasks, samples, known=known, label=label)
        finish_together([(partial, rows)])
    return rows


def test_file(tasks: Sequence[Task], samples_path: Path, out: Path, pool: TestPool) -> str:
    """Test a samples file with a pool that is not open yet; returns the summary line."""
    check_output(out, [samples_path])
    samples = read_samples(samples_path, tasks)
    stored_verdicts(out)
    pool.expect(len(samples))
    with pool:
        line = summarise_verdicts(run_tests(pool, tasks, samples, out, anew=True), tasks)
    known = pool.statistics.shared + pool.statistics.from_cache
    return line + (f"; {known} verdicts were known from the same program and tests" if known else "")


def task_digest(task: Task) -> str:
    """What stands for a task's prompt and tests in verdict rows, so that evaluations of other tasks are told apart."""
    return digest([task.prompt, dict(task.tests)])


def _labels(task: Task) -> dict[str, str]:
    """What verdict rows say of their task, so that figures can be grouped and compared without the tasks."""
    labels = {"digest": task_digest(task), "source": task.source, "difficulty": task.difficulty}
    return {f"task_{name}": value for name, value in labels.items() if value}


def judge_samples(
    partial: Partial,
    pool: TestPool,
    tasks: Sequence[Task],
    samples: Sequence[Sample],
    *,
    label: str,
    known: Mapping[int, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """The verdict on every sample: ``known`` ones, what ``partial`` keeps, and the others, which it keeps then."""
    by_id = {task.task_id: task for task in tasks}
    labels = {task.task_id: _labels(task) for task in tasks}
    done = {**(known or {}), **_judged(partial.units, samples)}
    todo = [i for i in range(len(samples)) if i not in done]
    jobs = [job_of(task, samples[i].program(task)) for i in todo for task in (by_id[samples[i].task_id],)]
    with Progress(label, len(samples), done=len(done), unit="programs") as progress:
        for index, verdict in pool.as_completed(jobs):
            sample = todo[index]
            row = verdict_row(samples[sample], verdict)
            done[sample] = {**labels[samples[sample].task_id], **row, "sample": sample}
            partial.append(done[sample])
            progress.update(1)
    rows = [done[i] for i in range(len(samples))]
    _say_what_was_not_judged(rows, label)
    return rows


def stored_verdicts(path: Path) -> list[dict[str, Any]]:
    """The verdict rows that stand in ``path``; refuses what is no verdicts file, for nothing of ours may replace it."""
    if not path.exists() or is_stream(path):
        return []
    try:
        rows = read_jsonl(path, torn_ok=True)
    except UserError as error:
        raise UserError(f"{path} exists and is no verdicts file ({error}); name another file or remove it") from None
    if not all(isinstance(row, dict) and all(key in row for key in VERDICT_KEYS) for row in rows):
        raise UserError(f"{path} exists and is no verdicts file; name another file or remove it")
    return rows


def _judged(rows: Iterable[dict[str, Any]], samples: Sequence[Sample]) -> dict[int, dict[str, Any]]:
    """Those of ``rows`` that are verdicts on ``samples``, by sample; a fault of ours is none."""
    return {row["sample"]: row for row in rows if row["status"] != "infrastructure" and _is_on(row, samples)}


def _is_on(row: dict[str, Any], samples: Sequence[Sample]) -> bool:
    index = row.get("sample")
    if type(index) is not int or not 0 <= index < len(samples):
        return False
    sample = samples[index]
    return (sample.task_id, sample.completion, sample.solution) == tuple(
        row.get(key) for key in ("task_id", "completion", "solution")
    )


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
