"""From verdict rows to one value a task: the answer of a decoding method, or pass@k."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pper_jax.evaluation.estimates import pass_at_k, pass_rates

SAMPLED = "sample"  # the method whose programs are drawn at random, so that none comes before another
NAN = float("nan")


def answer_name(method: str) -> str:
    """What a task's figures speak of where programs are decoded by ``method``; such figures are never mixed."""
    return {"greedy": "greedy program", SAMPLED: "mean of samples"}.get(method, "best beam")


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes:
        rates: pass rates of its programs in the order of their ranks; NaN for one that could not be judged, which keeps
            its rank. A task without any program has failed.
    """

    rates: tuple[float, ...]

    def answer(self, method: str) -> tuple[float, float]:
        """Pass rate, and share of programs that pass all tests: of the first program, or the mean of samples.

        Both NaN where that could not be judged, which is no fault of the program's.
        """
        rates = self.rates if method == SAMPLED else self.rates[:1]
        judged = [rate for rate in rates if not np.isnan(rate)]
        if not judged:
            return (NAN, NAN) if rates else (0.0, 0.0)
        return float(np.mean(judged)), float(np.mean([rate == 1 for rate in judged]))

    def at(self, k: int, method: str) -> float:
        """pass@k: the unbiased estimate for samples; else 1 where one of the first ``k`` programs passes.

        Programs that are missing to ``k`` have failed. NaN where too few could be judged to say.
        """
        judged = [rate for rate in self.rates if not np.isnan(rate)]
        missing = max(0, k - len(self.rates))
        if method == SAMPLED:
            count = len(judged) + missing
            return NAN if count < k else float(pass_at_k(count, sum(rate == 1 for rate in judged), k))
        if any(rate == 1 for rate in self.rates[:k]):
            return 1.0
        return NAN if np.isnan(self.rates[:k]).any() else 0.0


def outcomes(task_ids: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> dict[str, Outcome]:
    """The outcome of each task by its id, in the order of ``task_ids``; rows of other tasks are left out.

    Programs of one task stand in the order of their ``rank``, and of the rows where that says nothing.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {task_id: [] for task_id in task_ids}
    for row in rows:
        if row["task_id"] in groups:
            groups[row["task_id"]].append(row)
    return {
        task_id: Outcome(tuple(pass_rates(sorted(group, key=lambda row: row.get("rank") or 0)).tolist()))
        for task_id, group in groups.items()
    }


def answers(found: Iterable[Outcome], method: str) -> tuple[np.ndarray, np.ndarray]:
    """Pass rates of the answers and shares that pass all tests, each ``[tasks]``; see :meth:`Outcome.answer`."""
    pairs = np.array([outcome.answer(method) for outcome in found], np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
