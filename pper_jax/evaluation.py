"""Figures of merit and their uncertainty: pass@k, pass rate, accuracy, intervals, paired comparison. Pure numpy.

*Pass rate* is the mean over tasks of passed / total tests (APPS's test-case average), *accuracy* the share of tasks
whose tests all pass (APPS's strict accuracy). A NaN pass rate marks a fault of the harness and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95


def pass_rates(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Pass rate of each verdict row, ``[rows]`` float64; NaN for a fault of ours, which every figure leaves out."""
    return np.array([np.nan if row["status"] == "infrastructure" else row["pass_rate"] for row in rows], np.float64)


def percent(share: float | None) -> str:
    """A share in words: ``12.5 %``, or ``unknown``."""
    return "unknown" if share is None or not np.isfinite(share) else f"{100 * share:.1f} %"


def pass_at_k(n: np.ndarray | int, c: np.ndarray | int, k: int) -> np.ndarray:
    """Unbiased estimate of the probability that one of ``k`` programs passes (Chen et al., 2107.03374, eq. 1).

    Args:
        n: programs written a task, ``[tasks]``, each at least ``k``.
        c: how many of them are right, ``[tasks]``, ``0 <= c <= n``.
        k: programs that one may try.

    Returns:
        ``1 - C(n - c, k) / C(n, k)`` a task, float64, computed as a product that neither overflows nor cancels.

    Raises:
        ValueError: ``k < 1``, ``n < k`` or ``c`` outside ``0..n``.
    """
    n, c = np.broadcast_arrays(np.asarray(n), np.asarray(c))
    if k < 1 or (n < k).any() or (c < 0).any() or (c > n).any():
        raise ValueError(f"pass@{k} needs k >= 1, n >= k and 0 <= c <= n")
    steps = np.arange(k)
    factors = np.clip((n - c)[..., None] - steps, 0, None) / (n[..., None] - steps)
    return 1.0 - factors.prod(axis=-1)


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (1927, 95 % by default); ``(0, 1)`` without trials."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return float(max(0.0, min(share, centre - half))), float(min(1.0, max(share, centre + half)))


def agreeing_interval(value: float, trials: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """Interval of a mean of which all ``trials`` observations, known to lie in ``bounds``, are ``value``.

    By Wilson at most so large a share of what was not seen differs, and that at most as far as the bounds: for a value
    at a bound this is Wilson's interval of all or none.
    """
    _, share = wilson_interval(0, trials)
    return value - share * (value - bounds[0]), value + share * (bounds[1] - value)


def bootstrap_interval(
    values: np.ndarray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    bounds: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over tasks, ``values [tasks]``; ``(nan, nan)`` without tasks.

    Resampling values that all agree says nothing: where their ``bounds`` are known, :func:`agreeing_interval` (95 %)
    takes its place then.
    """
    if len(values) == 0:
        return float("nan"), float("nan")
    if bounds is not None and (values == values[0]).all():
        return agreeing_interval(float(values[0]), len(values), bounds)
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(
    before: np.ndarray,
    after: np.ndarray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    bounds: tuple[float, float] | None = None,
) -> tuple[float, float, float]:
    """Mean difference after - before over the same tasks, with its bootstrap interval over tasks.

    Args:
        before: ``[tasks]`` values of the first model.
        after: ``[tasks]`` values of the second model, same order.
        seed: of the resampling.
        resamples: bootstrap samples.
        level: probability that the interval is to cover.
        bounds: of a difference, where known; see :func:`bootstrap_interval`.

    Returns:
        ``(difference, low, high)``, all NaN without tasks.

    Raises:
        ValueError: the shapes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"paired values need one shape, not {before.shape} and {after.shape}")
    difference = after - before
    low, high = bootstrap_interval(difference, seed=seed, resamples=resamples, level=level, bounds=bounds)
    return _mean(difference), low, high


def _accuracy(rates: np.ndarray) -> np.ndarray:
    return (rates == 1.0).astype(np.float64)


def summarise(rates: np.ndarray, *, seed: int, solved: np.ndarray | None = None) -> dict[str, Any]:
    """Pass rate and accuracy over tasks, with 95 % intervals, as plain data; all None without a judged task.

    Args:
        rates: pass rate of each task's program, or its mean over the task's programs, ``[tasks]``; NaN: not judged.
        seed: of the resampling.
        solved: share of each task's programs that pass all tests, ``[tasks]``; by default 1 where the rate is 1.
    """
    judged = ~np.isnan(rates)
    solved = _accuracy(rates)[judged] if solved is None else solved[judged]
    rates = rates[judged]
    if len(rates) == 0:
        return {"tasks": 0} | {
            f"{name}{end}": None for name in ("pass_rate", "accuracy") for end in ("", "_low", "_high")
        }
    result: dict[str, Any] = {"tasks": len(rates)}
    for name, values in (("pass_rate", rates), ("accuracy", solved)):
        result[name] = float(values.mean())
        result[f"{name}_low"], result[f"{name}_high"] = _interval_of_shares(values, seed)
    return result


def _interval_of_shares(values: np.ndarray, seed: int) -> tuple[float, float]:
    """Wilson's where every value is 0 or 1, by the bootstrap otherwise."""
    if ((values == 0) | (values == 1)).all():
        return wilson_interval(int(values.sum()), len(values))
    return bootstrap_interval(values, seed=seed, bounds=(0, 1))


def compare(before: np.ndarray, after: np.ndarray, *, seed: int) -> dict[str, Any]:
    """Two models on the same tasks: both figures before and after, and the paired gain with its interval.

    Tasks with a NaN in either are left out; without tasks all figures are NaN.
    """
    both = ~(np.isnan(before) | np.isnan(after))
    values = {
        "pass_rate": (before[both], after[both]),
        "accuracy": (_accuracy(before[both]), _accuracy(after[both])),
    }
    result: dict[str, Any] = {"tasks": int(both.sum()), "before": {}, "after": {}, "gain": {}}
    for name, (first, second) in values.items():
        difference, low, high = paired_bootstrap(first, second, seed=seed, bounds=(-1, 1))
        result["before"][name], result["after"][name] = _mean(first), _mean(second)
        result["gain"][name] = {"difference": difference, "low": low, "high": high}
    return result


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
