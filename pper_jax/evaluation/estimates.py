"""Estimates over tasks: pass@k, pass rate, accuracy, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pper_jax.evaluation.intervals import interval_of_shares


def pass_rates(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Pass rate of each verdict row, ``[rows]`` float64; NaN for a fault of ours, which every figure leaves out."""
    return np.array([np.nan if row["status"] == "infrastructure" else row["pass_rate"] for row in rows], np.float64)


def accuracies(rates: np.ndarray) -> np.ndarray:
    """1 where all tests pass, 0 elsewhere, of pass rates of any shape."""
    return (rates == 1.0).astype(np.float64)


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


def figure(name: str, values: np.ndarray, seed: int) -> dict[str, float | None]:
    """``{name, name_low, name_high}``: the mean over tasks of ``values [tasks]`` in [0, 1] with its 95 % interval.

    All None without tasks.
    """
    if len(values) == 0:
        return {f"{name}{end}": None for end in ("", "_low", "_high")}
    low, high = interval_of_shares(values, seed)
    return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}


def summarise(rates: np.ndarray, *, seed: int, solved: np.ndarray | None = None) -> dict[str, Any]:
    """Pass rate and accuracy over tasks, with 95 % intervals, as plain data; all None without a judged task.

    Args:
        rates: pass rate of each task's program, or its mean over the task's programs, ``[tasks]``; NaN: not judged.
        seed: of the resampling.
        solved: share of each task's programs that pass all tests, ``[tasks]``; by default 1 where the rate is 1.
    """
    judged = ~np.isnan(rates)
    solved = accuracies(rates) if solved is None else solved
    return {
        "tasks": int(judged.sum()),
        **figure("pass_rate", rates[judged], seed),
        **figure("accuracy", solved[judged], seed),
    }
