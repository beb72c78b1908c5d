"""Two models on the same tasks: paired differences, exact tests, and many of them at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pper_jax.evaluation.estimates import accuracies
from pper_jax.evaluation.intervals import paired_bootstrap


def mcnemar(before: np.ndarray, after: np.ndarray) -> tuple[int, int, float]:
    """Exact McNemar test (1947; two-sided, binomial) of whether tasks change in one direction more than in the other.

    Args:
        before: ``[tasks]``; 1 where the first model solves the task. Shares make it the sign test on them.
        after: ``[tasks]`` of the second model, same order.

    Returns:
        ``(gained, lost, p)``: tasks whose value rose, tasks whose value fell, and the probability of so uneven a split
        or a more uneven one, if both were as likely; 1 where nothing changed.
    """
    gained, lost = int((after > before).sum()), int((after < before).sum())
    changed = gained + lost
    tail = sum(math.comb(changed, count) for count in range(min(gained, lost) + 1))
    return gained, lost, min(1.0, 2 * tail / 2**changed)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979), in the same order.

    Calling significant what is at most 0.05 here makes, with probability 0.95, no mistake in the whole family.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def compare(
    before: np.ndarray,
    after: np.ndarray,
    *,
    seed: int,
    solved: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Two models on the same tasks: both figures before and after, the paired gain with its interval, McNemar's test.

    Tasks with a NaN in either are left out; without tasks all figures are NaN.

    Args:
        before: pass rate of each task under the first model, ``[tasks]``; NaN: not judged.
        after: the same under the second model.
        seed: of the resampling.
        solved: share of each task's programs that pass all tests, before and after; by default 1 where the rate is 1.
    """
    both = ~(np.isnan(before) | np.isnan(after))
    first, second = solved if solved is not None else (accuracies(before), accuracies(after))
    values = {"pass_rate": (before[both], after[both]), "accuracy": (first[both], second[both])}
    gained, lost, p_value = mcnemar(*values["accuracy"])
    result: dict[str, Any] = {"tasks": int(both.sum()), "before": {}, "after": {}, "gain": {}}
    for name, (one, other) in values.items():
        difference, low, high = paired_bootstrap(one, other, seed=seed)
        result["before"][name], result["after"][name] = _mean(one), _mean(other)
        result["gain"][name] = {"difference": difference, "low": low, "high": high}
    return {**result, "mcnemar": {"gained": gained, "lost": lost, "p": p_value}}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
