"""What the buffer looks like to a person: figures, histograms, and warnings of settings that do not work. Host side."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from pper_jax.replay import p2value
from pper_jax.replay.buffer import ReplayConfig, ReplayState, probabilities

ZERO_PASS_LIMIT = 0.5
SAMPLE_SIZE_LIMIT = 0.05
SAME_ORDER = 0.999
_ENOUGH = 16  # programs before the order says anything about alpha
_P2VALUE_BINS, _PASS_RATE_BINS = 20, 10

_ranks = jax.jit(
    lambda possibility, pass_rate, inserted_at, filled, alpha: p2value.ranks(
        p2value.log_p2value(possibility, pass_rate, alpha), possibility, inserted_at, filled
    )
)


def describe(state: ReplayState, config: ReplayConfig) -> dict[str, Any]:
    """Figures of the buffer as plain Python data, priorities as of the last refresh.

    ``size`` programs; ``effective_sample_size`` = ``1 / sum(p**2) / size``, the share of the buffer that draws
    effectively come from; ``zero_pass_share``, the probability of drawing a program that passes no test;
    ``p2value_hist`` and ``pass_rate_hist`` as ``{"edges", "counts"}`` over [0, 1]; ``warnings``, sentences.
    """
    filled = np.asarray(state.filled)
    probability = np.asarray(probabilities(state), np.float64)[filled]
    pass_rate = np.asarray(state.items.pass_rate)[filled]
    values = np.exp(np.asarray(state.log_p2value, np.float64)[filled])
    size = int(filled.sum())
    figures: dict[str, Any] = {
        "size": size,
        "effective_sample_size": float(1 / np.sum(probability**2) / size) if size else 0.0,
        "zero_pass_share": float(probability[~(pass_rate > 0)].sum()),
        "p2value_hist": _histogram(values, _P2VALUE_BINS),
        "pass_rate_hist": _histogram(pass_rate, _PASS_RATE_BINS),
    }
    figures["warnings"] = _warnings(figures, state, config) if size else []
    return figures


def alpha_correlation(state: ReplayState) -> float:
    """Spearman correlation of the orders of the stored programs under alpha 0.2 and 0.8 (NaN for fewer than two)."""
    low, high = (
        np.asarray(_ranks(state.log_possibility, state.items.pass_rate, state.inserted_at, state.filled, alpha))
        for alpha in (0.2, 0.8)
    )
    size = int(np.count_nonzero(low))
    if size < 2:
        return float("nan")
    return 1.0 - 6.0 * float(np.sum((low.astype(np.float64) - high) ** 2)) / (size * (size**2 - 1.0))


def _histogram(values: np.ndarray, bins: int) -> dict[str, list[Any]]:
    edges = np.arange(bins + 1) / bins
    counts, _ = np.histogram(np.clip(np.nan_to_num(values), 0.0, 1.0), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _warnings(figures: dict[str, Any], state: ReplayState, config: ReplayConfig) -> list[str]:
    found = []
    if figures["zero_pass_share"] > ZERO_PASS_LIMIT:
        found.append(
            f"{100 * figures['zero_pass_share']:.0f} % of the draws go to programs that pass no test; "
            "lower replay.alpha, or add tasks that the model sometimes solves"
        )
    if figures["effective_sample_size"] < SAMPLE_SIZE_LIMIT:
        found.append(
            f"the draws come from effectively {100 * figures['effective_sample_size']:.1f} % of the buffer; "
            "lower replay.omega, or raise replay.uniform_mix"
        )
    uses_alpha = config.scheme != "uniform" and config.omega > 0 and 0 < config.alpha < 1
    if uses_alpha and figures["size"] >= _ENOUGH and alpha_correlation(state) > SAME_ORDER:
        found.append(
            "replay.alpha has no measurable effect: alpha 0.2 and 0.8 put the stored programs in the same order "
            f"(possibility {config.possibility})"
        )
    return found
