"""What verdicts amount to: pass@k, pass rate and accuracy, in all and by difficulty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pper_jax import evaluation
from pper_jax.tasks import Task


def count_statuses(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many programs got each verdict."""
    return dict(Counter(row["status"] for row in rows))


def summarise_verdicts(rows: Sequence[dict[str, Any]]) -> str:
    """One line: programs, how many pass, mean pass rate (of those that could be judged), kinds of verdicts."""
    judged = [row["pass_rate"] for row in rows if row["status"] != "infrastructure"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(count_statuses(rows).items(), key=lambda kv: -kv[1]))
    rate = f"{100 * np.mean(judged):.1f} %" if judged else "unknown"
    lost = len(rows) - len(judged)
    left_out = f" of the {len(judged)} that could be judged" if lost and judged else ""
    return f"{len(rows)} programs: {kinds}; mean pass rate {rate}{left_out}"


def figures(
    tasks: Sequence[Task], rows: Sequence[dict[str, Any]], ks: Sequence[int], method: str, seed: int
) -> dict[str, Any]:
    """pass@k, pass rate and accuracy of verdict rows, in all and by difficulty.

    Beam results are ordered and no random draws: there ``pass@k`` says whether one of the best k programs passes.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["status"] != "infrastructure":  # a fault of ours says nothing about the program
            groups.setdefault(row["task_id"], []).append(row)
    passed = {task_id: [row["pass_rate"] == 1 for row in group] for task_id, group in groups.items()}
    best = {task_id: group[0]["pass_rate"] for task_id, group in groups.items()}

    def of(chosen: Sequence[Task]) -> dict[str, Any]:
        known = [task.task_id for task in chosen if task.task_id in groups]
        result = evaluation.summarise(np.array([best[task_id] for task_id in known]), seed=seed)
        for k in ks:
            result[f"pass@{k}"] = _pass_at(k, [passed[task_id] for task_id in known], method)
        return result

    labels = sorted({task.difficulty for task in tasks if task.difficulty})
    return {
        "method": method,
        "programs": len(rows),
        "statuses": count_statuses(rows),
        "all": of(tasks),
        "by_difficulty": {label: of([task for task in tasks if task.difficulty == label]) for label in labels},
    }


def _pass_at(k: int, passed: Sequence[Sequence[bool]], method: str) -> float | None:
    """Mean over tasks with at least ``k`` judged programs; None when there is none."""
    enough = [marks for marks in passed if len(marks) >= k] if method == "sample" else passed
    if not enough:
        return None
    if method == "sample":
        n, c = (np.array([f(marks) for marks in enough]) for f in (len, sum))
        return float(evaluation.pass_at_k(n, c, k).mean())
    return float(np.mean([any(marks[:k]) for marks in enough]))


def print_figures(result: dict[str, Any], ks: Sequence[int]) -> None:
    """A table of the figures, percent, with 95 % intervals."""
    heads = ["tasks", "pass rate", "accuracy", *(f"pass@{k}" for k in ks)]
    rows = [("all", result["all"]), *result["by_difficulty"].items()]
    width = max(len(name) for name, _ in rows)
    print(f"{'':{width}}  {heads[0]:>5}  {heads[1]:>20}  {heads[2]:>20}  " + "  ".join(f"{h:>8}" for h in heads[3:]))
    for name, row in rows:
        cells = [f"{row['tasks']:>5}"]
        for key in ("pass_rate", "accuracy"):
            cells.append(
                f"{_percent(row[key])} [{_percent(row[key + '_low'])}, {_percent(row[key + '_high'])}]".rjust(20)
            )
        cells += [_percent(row[f"pass@{k}"]).rjust(8) for k in ks]
        print(f"{name:{width}}  " + "  ".join(cells))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
