"""What the buffer looks like to a person: figures, histograms, and warnings of settings that do not work. Host side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from pper_jax.replay import p2value
from pper_jax.replay.options import ReplayConfig
from pper_jax.replay.state import ReplayState, probabilities

ZERO_PASS_LIMIT = 0.5
SAMPLE_SIZE_LIMIT = 0.05
SAME_ORDER = 0.999
FAIR_SHARES = 5  # times its fair share of the draws, and a tenth of all, before a task is said to dominate
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
    effectively come from; ``zero_pass_share``, the share of draws that go to programs that pass no test, and
    ``zero_pass_programs``, the share of programs that do not; ``task_share``, that of draws of the task drawn most;
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
        "zero_pass_programs": float(np.mean(~(pass_rate > 0))) if size else 0.0,
        "task_share": max(_task_shares(state).values(), default=0.0),
        "p2value_hist": _histogram(values, _P2VALUE_BINS),
        "pass_rate_hist": _histogram(pass_rate, _PASS_RATE_BINS),
    }
    figures["warnings"] = _warnings(figures, state, config) if size else []
    return figures


def table(state: ReplayState, limit: int | None = None) -> list[dict[str, Any]]:
    """Plain rows of what is stored, best first, and why it is drawn; at most ``limit`` of them where that is given.

    ``worth`` stands there where it is not the P2Value.
    """
    items = state.items
    columns: dict[str, np.ndarray] = jax.device_get(
        {
            "rank": state.rank,
            "program": items.program_id,
            "task": items.task_index,
            "round": items.round,
            "tokens": items.length - items.prompt_length,
            "logprob": items.logprob,
            "pass_rate": items.pass_rate,
            "possibility": state.log_possibility,
            "p2value": state.log_p2value,
            "worth": state.log_worth,
            "probability": probabilities(state),
            "times_drawn": state.times_drawn,
            "scored_at": state.scored_at,
        }
    )
    filled = np.asarray(state.filled)
    order = np.argsort(np.where(filled, columns["rank"], np.iinfo(np.int32).max), kind="stable")
    order = order[: int(filled.sum())][:limit]
    for name in ("possibility", "p2value", "worth"):
        columns[name] = np.exp(columns[name])
    rows = [
        dict(zip(columns, row, strict=True))
        for row in zip(*(column[order].tolist() for column in columns.values()), strict=True)
    ]
    for row in rows:
        if row["worth"] == row["p2value"]:
            del row["worth"]
    return rows


def as_text(rows: Sequence[dict[str, Any]], limit: int = 20) -> str:
    """The first ``limit`` rows of :func:`table` in columns, with what all rows add up to below."""
    if not rows:
        return "The buffer is empty."
    worth = ("worth",) if any("worth" in row for row in rows) else ()
    head = ("rank", "program", "task", "round", "tokens", "logprob", "pass_rate", "possibility", "p2value")
    columns = (*head, *worth, "probability", "times_drawn", "scored_at")
    rows = [{"worth": row["p2value"], **row} for row in rows] if worth else rows
    cells = [[f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns] for row in rows[:limit]]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (columns, *cells)
    ]
    undrawn, tasks = sum(row["times_drawn"] == 0 for row in rows), len({row["task"] for row in rows})
    zero = sum(row["probability"] for row in rows if not row["pass_rate"] > 0)
    more = (
        f"{len(rows)} programs of {tasks} tasks, {undrawn} never drawn; {100 * zero:.0f} % of the draws go to programs "
    )
    return "\n".join([*lines, more + "that pass no test"])


def alpha_correlation(state: ReplayState, alphas: tuple[float, float] = (0.2, 0.8)) -> float:
    """Spearman correlation of the orders of the stored programs under two alphas (NaN for fewer than two programs)."""
    low, high = (
        np.asarray(_ranks(state.log_possibility, state.items.pass_rate, state.inserted_at, state.filled, alpha))
        for alpha in alphas
    )
    size = int(np.count_nonzero(low))
    if size < 2:
        return float("nan")
    return 1.0 - 6.0 * float(np.sum((low.astype(np.float64) - high) ** 2)) / (size * (size**2 - 1.0))


def _task_shares(state: ReplayState) -> dict[int, float]:
    """Probability of drawing each task."""
    filled = np.asarray(state.filled)
    tasks, place = np.unique(np.asarray(state.items.task_index)[filled], return_inverse=True)
    shares = np.bincount(place, np.asarray(probabilities(state), np.float64)[filled], minlength=tasks.size)
    return dict(zip(tasks.tolist(), shares.tolist(), strict=True))


def _histogram(values: np.ndarray, bins: int) -> dict[str, list[Any]]:
    edges = np.arange(bins + 1) / bins
    counts, _ = np.histogram(np.clip(np.nan_to_num(values), 0.0, 1.0), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _warnings(figures: dict[str, Any], state: ReplayState, config: ReplayConfig) -> list[str]:
    found = []
    uses_alpha = not config.even and config.priority == "p2value" and 0 < config.alpha < 1
    if figures["zero_pass_share"] > ZERO_PASS_LIMIT:
        found.append(
            f"{100 * figures['zero_pass_share']:.0f} % of the draws go to programs that pass no test; "
            + ("lower replay.alpha, or " * uses_alpha)
            + "add tasks that the model sometimes solves"
        )
    if figures["effective_sample_size"] < SAMPLE_SIZE_LIMIT:
        found.append(
            f"the draws come from effectively {100 * figures['effective_sample_size']:.1f} % of the buffer; "
            + ("lower replay.omega" if not config.even else "raise replay.age_decay")
            + ", or raise replay.uniform_mix"
        )
    if uses_alpha and figures["size"] >= _ENOUGH and alpha_correlation(state) > SAME_ORDER:
        found.append(
            "replay.alpha has no measurable effect: alpha 0.2 and 0.8 put the stored programs in the same order "
            f"(possibility {config.possibility})"
        )
    shares = _task_shares(state)
    task = max(shares, key=lambda number: shares[number])
    if figures["size"] >= _ENOUGH and shares[task] > max(FAIR_SHARES / len(shares), 0.1):
        times = shares[task] * len(shares)
        found.append(
            f"task number {task} gets {100 * shares[task]:.0f} % of the draws, {times:.0f} times its fair share; "
            "set replay.task_cap" + (", or lower replay.omega" * (not config.even))
        )
    rates = np.asarray(state.items.pass_rate)[np.asarray(state.filled)]
    judged = uses_alpha and figures["size"] >= _ENOUGH and np.ptp(rates) > 0
    if judged and alpha_correlation(state, (config.alpha, 1.0)) > SAME_ORDER:
        found.append(
            "the likelihood dominates: the stored programs are in the order of their possibility alone, whatever tests "
            "they pass; lower replay.alpha"
        )
    return found
