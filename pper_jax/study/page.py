"""The pages of a study: ``study.md``, a table ready to paste, and ``study.html``, with its plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_pages(folder: Path) -> dict[str, Any]:
    """Write both pages beside ``study.json``; returns its figures."""
    figures: dict[str, Any] = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    return figures


def lines(figures: dict[str, Any]) -> list[str]:
    """What the command prints: a line for each arm and held-out set."""
    found = []
    for split, of_set in figures["sets"].items():
        for name, arm in of_set["arms"].items():
            against = arm.get("against")
            more = ""
            if against:
                more = (
                    f"; to {figures['reference']} {100 * against['difference']:+.1f} "
                    f"[{100 * against['low']:+.1f}, {100 * against['high']:+.1f}], Holm p {against['holm']:.3f}, "
                    f"{against['wins']} of {against['of']} seeds"
                )
            found.append(f"{split}, {name}: {100 * of_set['before']:.1f} -> {100 * arm['after']:.1f} %{more}")
    return found
