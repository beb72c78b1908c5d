"""An evaluation against an earlier one, or against a run's last: paired differences, exact tests, Holm over all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pper_jax import evaluation
from pper_jax.errors import UserError, shown
from pper_jax.files import RunFolder, read_jsonl
from pper_jax.programs.figures import groups_of, percent
from pper_jax.programs.testing import VERDICT_KEYS, task_digest
from pper_jax.tasks import Task, evaluation_task


@dataclass(frozen=True)
class Earlier:
    """Verdicts of an earlier evaluation, and by which decoding method its programs were written."""

    path: Path
    rows: tuple[dict[str, Any], ...]
    method: str

    @property
    def tasks(self) -> dict[str, str | None]:
        """Its tasks by id, with what stands for their content where that is known."""
        return {row["task_id"]: row.get("task_digest") for row in self.rows}


def earlier_evaluation(path: Path) -> Earlier:
    """Read a verdicts file, the folder of an evaluation (``pper eval --out``), or a run's last held-out verdicts.

    Raises:
        UserError: there is none of these at ``path``.
    """
    files = [path] if path.is_file() else [path / "verdicts.jsonl"] if (path / "verdicts.jsonl").is_file() else []
    files = files or _last_of_run(path)
    if not files:
        raise UserError(
            f"--against {path} is no evaluation: give a folder that `pper eval --out` wrote, a run that has judged "
            "held-out tasks, or a verdicts file"
        )
    rows = [row for file in files for row in read_jsonl(file)]
    if not rows or not all(isinstance(row, dict) and all(key in row for key in VERDICT_KEYS) for row in rows):
        raise UserError(f"--against {path}: {files[0]} is no verdicts file; give one of `pper eval` or `pper test`")
    methods = {str(row.get("method") or "beam") for row in rows}
    if len(methods) > 1:
        raise UserError(f"--against {path} mixes programs of {' and '.join(sorted(methods))}; give one evaluation")
    return Earlier(path, tuple(rows), methods.pop())


def _last_of_run(path: Path) -> list[Path]:
    """The verdicts of each held-out set on the model that the run leaves: of its last round, or of an earlier one."""
    folder = RunFolder(path)
    try:
        stands = json.loads(folder.summary.read_bytes())["rolled_back_to"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        stands = None
    last = [(max(rounds), rounds) for _, rounds in sorted(folder.evaluations().items())]
    return [rounds[stands if stands in [*rounds] else newest] for newest, rounds in last]


def check_shared(tasks: Sequence[Task], earlier: Earlier) -> list[Task]:
    """Those of ``tasks`` that the earlier evaluation judged too, by id and content.

    Raises:
        UserError: there is none.
    """
    theirs = earlier.tasks
    same = [
        task
        for task in tasks
        if task.task_id in theirs and theirs[task.task_id] in (None, task_digest(evaluation_task(task)))
    ]
    if not same:
        known = sum(task.task_id in theirs for task in tasks)
        why = f"; {known} have the same ids and other prompts or tests" if known else ""
        first = shown(next(iter(theirs)))
        raise UserError(
            f"--against {earlier.path} judged none of the {len(tasks)} tasks{why}; its first task is {first}: "
            "evaluate the same tasks to compare"
        )
    return same


def compare_with(
    earlier: Earlier, tasks: Sequence[Task], rows: Sequence[dict[str, Any]], method: str, seed: int
) -> dict[str, Any]:
    """Earlier (``before``) against present (``after``) answers on the tasks that both judged, as plain data.

    ``comparisons`` holds, for all tasks and for each difficulty and source, what :func:`pper_jax.evaluation.compare`
    gives; its ``mcnemar`` has ``holm`` besides, the p-value adjusted for all of them.
    """
    shared = check_shared(tasks, earlier)
    names = [task.task_id for task in shared]
    before, after = evaluation.outcomes(names, earlier.rows), evaluation.outcomes(names, rows)
    groups = {"all": names}
    for by in groups_of(shared).values():
        groups |= {label: ids for label, ids in by.items() if len(by) > 1 or len(ids) < len(names)}
    comparisons = {}
    for label, ids in groups.items():
        (one, solved), (other, solved_now) = (
            evaluation.answers([found[name] for name in ids], how)
            for found, how in ((before, earlier.method), (after, method))
        )
        comparisons[label] = evaluation.compare(one, other, seed=seed, solved=(solved, solved_now))
    adjusted = evaluation.holm([found["mcnemar"]["p"] for found in comparisons.values()])
    for found, p_value in zip(comparisons.values(), adjusted, strict=True):
        found["mcnemar"]["holm"] = p_value
    return {
        "against": str(earlier.path),
        "answers": [evaluation.answer_name(earlier.method), evaluation.answer_name(method)],
        "tasks": len(names),
        "left_out": len(tasks) - len(names),
        "comparisons": comparisons,
    }


def print_comparison(result: dict[str, Any]) -> None:
    """A table of what changed, percent and points, with paired 95 % intervals and McNemar's test of the accuracy."""
    print(f"\nagainst {result['against']}, on the same {result['tasks']} tasks")
    if result["left_out"]:
        print(f"{result['left_out']} tasks are left out: they were not judged there, or their content differs")
    before, after = result["answers"]
    if before != after:
        print(f"there an answer was the {before}, here it is the {after}, so the decoding differs too")
    rows = result["comparisons"]
    width = max(len(label) for label in rows)
    heads = f"{'pass rate':>14}  {'gain':>21}  {'accuracy':>14}  {'gain':>21}  {'won, lost':>9}  {'p':>7}  {'Holm':>7}"
    print(f"{'':{width}}  {'tasks':>5}  {heads}")
    for label, row in rows.items():
        cells = "  ".join(f"{_change(row, name):>14}  {_gain(row, name):>21}" for name in ("pass_rate", "accuracy"))
        test = row["mcnemar"]
        counts = f"{test['gained']}, {test['lost']}"
        print(f"{label:{width}}  {row['tasks']:>5}  {cells}  {counts:>9}  {test['p']:>7.3g}  {test['holm']:>7.3g}")
    print("percent and points with paired 95 % intervals; p: exact McNemar test of the accuracy; Holm: p for all rows")


def _change(row: dict[str, Any], name: str) -> str:
    if not row["tasks"]:
        return "unknown"
    return f"{percent(row['before'][name])} -> {percent(row['after'][name])}"


def _gain(row: dict[str, Any], name: str) -> str:
    if not row["tasks"]:
        return "unknown"
    change, low, high = (f"{100 * row['gain'][name][key]:+z.1f}" for key in ("difference", "low", "high"))
    return f"{change} [{low}, {high}]"
