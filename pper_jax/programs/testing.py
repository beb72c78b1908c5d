"""Phase T: programs on their tasks' tests, one JSON line each as soon as it is known."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pper_jax.execution import Job, TestPool
from pper_jax.files import append_jsonl, dump_jsonl, read_jsonl, write_atomic
from pper_jax.tasks import Sample, Task, verdict_row
from pper_jax.terminal import Progress


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
