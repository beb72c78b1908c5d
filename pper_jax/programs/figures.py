"""What verdicts amount to: pass@k, pass rate and accuracy, in all and by difficulty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pper_jax import evaluation
from pper_jax.tasks import Task


def count_statuses(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many programs got each verdict."""
    return dict(Counter(row["status"] for row in rows))


def summarise_verdicts(rows: Sequence[dict[str, Any]], tasks: Sequence[Task] = ()) -> str:
    """One line: programs, how many pass, mean pass rate (of those that could be judged), kinds of verdicts.

    With the ``tasks`` that programs were asked for, it also says how many of them have none.
    """
    judged = [row["pass_rate"] for row in rows if row["status"] != "infrastructure"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(count_statuses(rows).items(), key=lambda kv: -kv[1]))
    rate = f"{100 * np.mean(judged):.1f} %" if judged else "unknown"
    lost = len(rows) - len(judged)
    left_out = f" of the {len(judged)} that could be judged" if lost and judged else ""
    without = len({task.task_id for task in tasks} - {row["task_id"] for row in rows})
    unanswered = f"; {without} of {len(tasks)} tasks have no program" if without else ""
    return f"{len(rows)} programs: {kinds}; mean pass rate {rate}{left_out}{unanswered}"


@dataclass(frozen=True)
class _Judged:
    """What became of one task: the pass rates of its programs that could be judged, best first.

    ``programs`` counts the others too; a task without any program has failed.
    """

    rates: tuple[float, ...]
    programs: int

    @property
    def known(self) -> bool:
        """False where programs came and none of them could be judged, which is no fault of theirs."""
        return bool(self.rates) or self.programs == 0

    def marks(self, k: int) -> list[bool]:
        """Which of its programs pass; those that are missing to ``k`` have failed."""
        return [rate == 1 for rate in self.rates] + [False] * (k - self.programs)

    def answer(self, method: str) -> tuple[float, float]:
        """Pass rate and share of programs that pass: over all where they are drawn at random, else of the best."""
        rates = self.rates if method == "sample" else self.rates[:1]
        if not rates:
            return (0.0, 0.0) if self.known else (np.nan, np.nan)
        return float(np.mean(rates)), float(np.mean([rate == 1 for rate in rates]))


def figures(
    tasks: Sequence[Task], rows: Sequence[dict[str, Any]], ks: Sequence[int], method: str, seed: int
) -> dict[str, Any]:
    """pass@k, pass rate and accuracy of verdict rows, in all and by difficulty.

    ``tasks`` of each is how many the figures speak for: those without a program have failed (``unanswered``), those
    of which no program could be judged are left out (``not_judged``). Programs drawn by ``method`` ``sample`` all
    count alike; otherwise the best one is the answer, and ``pass@k`` says whether one of the best k programs passes.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["task_id"], []).append(row)
    outcome = {
        task.task_id: _Judged(
            tuple(row["pass_rate"] for row in group if row["status"] != "infrastructure"), programs=len(group)
        )
        for task in tasks
        for group in (groups.get(task.task_id, []),)
    }
    labels = sorted({task.difficulty for task in tasks if task.difficulty})
    return {
        "method": method,
        "programs": len(rows),
        "statuses": count_statuses(rows),
        "all": _figures_of(list(outcome.values()), ks, method, seed),
        "by_difficulty": {
            label: _figures_of([outcome[task.task_id] for task in tasks if task.difficulty == label], ks, method, seed)
            for label in labels
        },
    }


def _figures_of(outcomes: Sequence[_Judged], ks: Sequence[int], method: str, seed: int) -> dict[str, Any]:
    answers = np.array([outcome.answer(method) for outcome in outcomes]).reshape(-1, 2)
    result = evaluation.summarise(answers[:, 0], seed=seed, solved=answers[:, 1])
    for k in ks:
        result[f"pass@{k}"] = _pass_at(k, [outcome.marks(k) for outcome in outcomes if outcome.known], method)
    result["unanswered"] = sum(outcome.programs == 0 for outcome in outcomes)
    result["not_judged"] = sum(not outcome.known for outcome in outcomes)
    return result


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
    """A table of the figures, percent, with 95 % intervals, and which tasks they do not speak for."""
    heads = ["tasks", "pass rate", "accuracy", *(f"pass@{k}" for k in ks)]
    rows = [("all", result["all"]), *result["by_difficulty"].items()]
    width = max(len(name) for name, _ in rows)
    print(f"{'':{width}}  {heads[0]:>5}  {heads[1]:>20}  {heads[2]:>20}  " + "  ".join(f"{h:>8}" for h in heads[3:]))
    for name, row in rows:
        cells = [f"{row['tasks']:>5}", _with_interval(row, "pass_rate"), _with_interval(row, "accuracy")]
        cells += [_percent(row[f"pass@{k}"]).rjust(8) for k in ks]
        print(f"{name:{width}}  " + "  ".join(cells))
    total = result["all"]
    if total["unanswered"]:
        print(f"{total['unanswered']} of {total['tasks']} tasks have no program, which counts as failed")
    if total["not_judged"]:
        asked = total["tasks"] + total["not_judged"]
        print(f"{total['tasks']} of {asked} tasks could be judged; the others are left out, by no fault of theirs")


def _with_interval(row: dict[str, Any], key: str) -> str:
    if row[key] is None:
        return "unknown".rjust(20)
    return f"{_percent(row[key])} [{_percent(row[key + '_low'])}, {_percent(row[key + '_high'])}]".rjust(20)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
