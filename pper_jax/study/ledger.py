"""What a run spent, read from its files; only seconds depend on the clock, and they stand apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pper_jax.files import RunFolder, parse_jsonl

Amount = Literal["sampled_tokens", "programs", "target_tokens"]
BUDGET: tuple[Amount, ...] = get_args(Amount)  # what must be equal for arms to be compared
MOST_APART = 0.02
Ledger = dict[str, float]


def metrics_of(folder: RunFolder) -> list[dict[str, Any]]:
    """The rows of a run's metrics."""
    return [row for _, row in parse_jsonl(folder.metrics)]


def ledger(rows: Iterable[Mapping[str, Any]]) -> Ledger:
    """Amounts of a whole run: sampled tokens, programs tested, target tokens learnt from, updates."""
    spent: Ledger = {"sampled_tokens": 0, "programs": 0, "target_tokens": 0, "updates": 0}
    for row in rows:
        if row["event"] == "sample":
            spent["sampled_tokens"] += row["tokens"]
        elif row["event"] == "test":
            spent["programs"] += row["programs"]
        elif row["event"] == "train":
            spent["target_tokens"] += row.get("tokens", 0)
            spent["updates"] += 1
    return spent


def seconds(folders: Iterable[RunFolder], costs: Iterable[Path]) -> dict[str, float]:
    """What the clock said of an arm: its runs' and, once each, of what they share."""
    found = {"test_s": 0.0, "wall_s": 0.0, "cpu_s": 0.0}
    for folder in folders:
        found["test_s"] += sum(row["seconds"] for row in metrics_of(folder) if row.get("phase") == "test")
    for path in costs:
        if path.exists():
            cost = json.loads(path.read_text(encoding="utf-8"))
            found["wall_s"] += cost["wall_s"]
            found["cpu_s"] += cost["cpu_s"]
    return found


def apart(mine: Ledger, reference: Ledger, amounts: Sequence[str] = BUDGET) -> dict[str, float]:
    """By how much of the reference's amount an arm's differs, for each amount that differs by more than 2 %."""
    found = {}
    for name in amounts:
        difference = mine[name] - reference[name]
        if abs(difference) > MOST_APART * reference[name]:
            found[name] = difference / reference[name] if reference[name] else float("inf")
    return found
