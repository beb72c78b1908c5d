"""The held-out sets of a run: the verdict on each task before training and after the last round that stands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pper_jax.files import RunFolder
from pper_jax.report.data import Row, RunData, as_dict, json_lines, number


@dataclass(frozen=True)
class HeldOut:
    """One held-out set: verdict rows before training and after the last round; ``after`` is empty where none was."""

    name: str
    before: tuple[Row, ...]
    after: tuple[Row, ...]

    @property
    def tasks(self) -> dict[str, Row]:
        """A row of each task, by its id: what it says of its task."""
        return {row["task_id"]: row for row in (*self.after, *self.before)}

    def groups(self, label: str) -> dict[str, list[str]]:
        """Task ids by what the rows say under ``label``, in the order of :func:`in_order`."""
        found: dict[str, list[str]] = {}
        for name, row in self.tasks.items():
            if row.get(label):
                found.setdefault(str(row[label]), []).append(name)
        return {value: found[value] for value in in_order(found)}


def held_out_sets(run: RunData) -> list[HeldOut]:
    """The held-out sets that the folder has verdicts of, in the order of the run's splits."""
    files = RunFolder(run.path).evaluations()
    stands = number(run.summary.get("rolled_back_to"))
    order = [*(name for name in run.splits if name in files), *sorted(set(files) - set(run.splits))]
    found = []
    for name in order:
        rounds = files[name]
        last = int(stands) if stands is not None and int(stands) in rounds else max(rounds)
        before, after = (_verdicts(rounds[at]) if at in rounds else () for at in (0, last))
        found.append(HeldOut(name, before, after if last > 0 else ()))
    return found


def in_order(labels: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Difficulties from low to high: APPS's own three first, numbers by size, the others by name."""
    known = ("introductory", "interview", "competition")

    def place(label: str) -> tuple[int, float, str]:
        digits = re.search(r"\d+(\.\d+)?", label)
        at = known.index(label) if label in known else len(known)
        return at, float(digits[0]) if digits else 0.0, label

    return sorted(labels, key=place)


def learnt_from(run: RunData, sets: Sequence[HeldOut]) -> str:
    """The data sets of the tasks that a run learnt from, and who wrote its programs, with their shares.

    A run's tasks.jsonl holds the tasks of its held-out ``sets`` too.
    """
    judged = {name for one in sets for name in one.tasks}
    rows = [row for row in json_lines(run.path / "tasks.jsonl", []) if str(row.get("task_id")) not in judged]
    names = Counter(str(row["source"]) for row in rows if row.get("source"))
    return f"{_shares(names) or 'unknown tasks'}; {_programs(run.config)}"


def _programs(config: Row) -> str:
    sources = {
        name: number(as_dict(one).get("weight", 1.0)) or 0.0 for name, one in as_dict(config.get("sources")).items()
    }
    if sources:
        return _shares(sources)
    given = next((key for key in ("teacher", "samples") if isinstance(config.get(key), str)), None)
    return "own programs" if given is None else f"{given} {config[given]}"


def _shares(parts: Mapping[str, float]) -> str:
    total = sum(parts.values())
    if len(parts) < 2 or total <= 0:
        return ", ".join(parts)
    return ", ".join(f"{name} {100 * part / total:.0f} %" for name, part in parts.items())


def _verdicts(file: Path) -> tuple[Row, ...]:
    """Its rows that are verdicts."""
    rows = json_lines(file, [])
    return tuple(
        row
        for row in rows
        if isinstance(row.get("task_id"), str)
        and isinstance(row.get("status"), str)
        and (rate := number(row.get("pass_rate"))) is not None
        and 0 <= rate <= 1
    )
