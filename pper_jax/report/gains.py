"""What a run gained, as lines of text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def gain_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line a held-out split and metric: before, after, and the paired gain with its 95 % interval, in percent.

    ``summary`` is the content of a finished run's ``summary.json``; an empty one gives no lines.
    """
    lines = []
    for split, figures in summary.get("splits", {}).items():
        for name in ("pass_rate", "accuracy"):
            gain = figures["gain"][name]
            lines.append(
                f"{split:20} {name.replace('_', ' '):10} {100 * figures['before'][name]:5.1f} % -> "
                f"{100 * figures['after'][name]:5.1f} %   gain {100 * gain['difference']:+5.1f} "
                f"[{100 * gain['low']:+5.1f}, {100 * gain['high']:+5.1f}] points, {figures['tasks']} tasks"
            )
    return lines
