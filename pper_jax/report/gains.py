"""What a run gained, as lines of text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pper_jax.report.data import METRICS, as_dict, number


def gain_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line a held-out split and metric: before, after, and the paired gain with its 95 % interval, in percent.

    ``summary`` is the content of a finished run's ``summary.json``; an empty one gives no lines. A figure that it does
    not hold is unknown.
    """
    lines = []
    for split, figures in as_dict(summary.get("splits")).items():
        row = as_dict(figures)
        for name in METRICS:
            gain = as_dict(as_dict(row.get("gain")).get(name))
            before, after = (number(as_dict(row.get(when)).get(name)) for when in ("before", "after"))
            interval = f"[{_points(gain.get('low'))}, {_points(gain.get('high'))}]"
            lines.append(
                f"{split:20} {name.replace('_', ' '):10} {_percent(before)} -> {_percent(after)}   "
                f"gain {_points(gain.get('difference'))} {interval} points, {row.get('tasks', 'unknown')} tasks"
            )
    return lines


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:5.1f} %"


def _points(difference: object) -> str:
    known = number(difference)
    return "unknown" if known is None else f"{100 * known:+5.1f}"
