"""The paper's tables (arXiv 2410.12236, tables 1, 2 and 4) of any runs, and paired comparisons of runs; as plain cells.

A cell is percent with its 95 % interval; see :mod:`pper_jax.evaluation.intervals`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pper_jax.report import words
from pper_jax.report.data import METRICS, RunData, number
from pper_jax.report.heldout import HeldOut, held_out_sets, in_order, learnt_from

MOST_COLUMNS = 6  # of difficulties; where there are more, each is a row
MIXED, ALL = "mixed", "all"
ABOUT_TABLES = (
    "Pass rate and accuracy in percent, gains in points, each with its 95\u00a0% interval over tasks; "
    "before training and after the last round that stands."
)
NO_VERDICTS = "No held-out task has been judged yet."


@dataclass(frozen=True)
class Table:
    """``rows`` of cells under a ``header``; the first ``words`` columns are words, the others figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 2
    note: str = ""


@dataclass(frozen=True)
class _Judged:
    label: str
    run: RunData
    sets: tuple[HeldOut, ...]

    @property
    def seed(self) -> int:
        """The run's, for the resampling."""
        return int(number(self.run.summary.get("seed")) or 0)

    def of(self, name: str) -> HeldOut | None:
        """Its held-out set of that name."""
        return next((one for one in self.sets if one.name == name), None)


def paper_tables(runs: Sequence[RunData], labels: Sequence[str]) -> list[Table]:
    """Tables for ``runs`` under these ``labels``; none for runs without verdicts on held-out tasks.

    First, for each held-out set, pass rate and accuracy by difficulty, before and after (tables 1 and 2); then, of
    several sets, data sets or runs, what was learnt from against what was judged (table 4); then paired comparisons.
    """
    judged = [
        _Judged(label, run, tuple(one for one in held_out_sets(run) if one.tasks))
        for run, label in zip(runs, labels, strict=True)
    ]
    judged = [one for one in judged if one.sets]
    names = list(dict.fromkeys(each.name for one in judged for each in one.sets))
    tables = [table for name in names for table in _by_difficulty(judged, name)]
    return [*tables, *_by_source(judged, names), *_comparisons(judged, names)]


def _by_difficulty(judged: Sequence[_Judged], name: str) -> list[Table]:
    """One set: a row a run, time and metric, a column a difficulty; or the other way round where those are many."""
    having = [(one, each) for one in judged if (each := one.of(name)) is not None]
    columns = in_order({label: None for _, each in having for label in each.groups("task_difficulty")})
    last = MIXED if columns else ALL
    title = f"{name}: pass rate and accuracy" + (" by difficulty" if columns else "")
    grids = [
        _grid(one, each, [*(each.groups("task_difficulty").get(label, []) for label in columns), [*each.tasks]])
        for one, each in having
    ]
    if len(columns) <= MOST_COLUMNS:
        rows = tuple(row for grid in grids for row in grid)
        return [Table(title, ("model", "percent", *columns, last), rows)]
    return [
        Table(
            f"{title}, {one.label}",
            ("difficulty", *(_head(row) for row in grid)),
            tuple(zip((*columns, last), *(row[2:] for row in grid), strict=True)),
            words=1,
        )
        for (one, _), grid in zip(having, grids, strict=True)
    ]


def _head(row: tuple[str, ...]) -> str:
    when = row[0].rsplit(", ", 1)[-1]
    return "tasks" if row[1] == "tasks" else f"{row[1]} {when}"


def _grid(one: _Judged, each: HeldOut, groups: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Rows of one run: how many tasks, both metrics before and after, and their gain; a cell a group of tasks."""
    rows = [(one.label, "tasks", *(str(len(ids)) for ids in groups))]
    for when, verdicts in (("before", each.before), ("after", each.after)):
        if verdicts:
            found = [_summary(verdicts, ids, one.seed) for ids in groups]
            rows += [
                (f"{one.label}, {when}", words.METRIC_NAMES[key], *(_share(row, key) for row in found))
                for key in METRICS
            ]
    if each.before and each.after:
        changes = [_compare(each.before, each.after, ids, one.seed) for ids in groups]
        rows += [
            (f"{one.label}, gain", words.METRIC_NAMES[key], *(_gain(row, key) for row in changes)) for key in METRICS
        ]
    return rows


def _by_source(judged: Sequence[_Judged], names: Sequence[str]) -> list[Table]:
    """What was learnt from (rows) against what was judged (columns): every set, and the data sets that it mixes."""
    columns: list[tuple[str, str | None]] = []
    for name in names:
        mixed = {label: None for one in judged if (each := one.of(name)) for label in each.groups("task_source")}
        columns += [(name, label) for label in in_order(mixed) if len(mixed) > 1] + [(name, None)]
    if len(columns) < 2 and len(judged) < 2:
        return []
    rows = []
    for one in judged:
        for when in ("before", "after"):
            found = [_cell(one, name, label, when) for name, label in columns]
            source = learnt_from(one.run, one.sets) if when == "after" else "nothing yet"
            rows += [
                (one.label, source, words.METRIC_NAMES[key], *(_share(row, key) for row in found))
                for key in METRICS
                if any(found)
            ]
    mixing = {name for name, label in columns if label is not None}
    heads = [f"{name}: {label or MIXED}" if name in mixing else name for name, label in columns]
    title = "What was learnt from, and what was judged"
    return [Table(title, ("model", "learnt from", "percent", *heads), tuple(rows), words=3)]


def _cell(one: _Judged, name: str, label: str | None, when: str) -> dict[str, Any]:
    each = one.of(name)
    if each is None or not (verdicts := each.before if when == "before" else each.after):
        return {}
    ids = [*each.tasks] if label is None else each.groups("task_source").get(label, [])
    return _summary(verdicts, ids, one.seed)


def _comparisons(judged: Sequence[_Judged], names: Sequence[str]) -> list[Table]:
    """Before against after of each run, and each run's last round against the first run's, on the same tasks."""
    from pper_jax.evaluation import holm

    found = []
    for name in names:
        having = [(one, each) for one in judged if (each := one.of(name)) is not None]
        pairs = [(f"{one.label}: before, after", one, each.before, each.after) for one, each in having]
        pairs += [
            (f"{having[0][0].label}, {one.label}: after", one, having[0][1].after, each.after)
            for one, each in having[1:]
        ]
        for label, one, before, after in pairs:
            if ids := _shared(before, after):
                found.append((name, label, _compare(before, after, ids, one.seed)))
    adjusted = holm([row["mcnemar"]["p"] for _, _, row in found])
    rows = tuple(
        (name, label, str(row["tasks"]), *(_gain(row, key) for key in METRICS), *_test(row, p_value))
        for (name, label, row), p_value in zip(found, adjusted, strict=True)
    )
    header = ("set", "compared", "tasks", "pass rate, points", "accuracy, points", "won, lost", "p", "p of all")
    note = (
        "Paired over the same tasks. p: exact McNemar test of the accuracy; p of all: the same after Holm's adjustment "
        "for the rows of this table."
    )
    return [Table("Compared on the same tasks", header, rows, note=note)] if rows else []


def _shared(before: Sequence[Any], after: Sequence[Any]) -> list[str]:
    """Ids of tasks that both judged, where neither says that their contents differ."""
    first = {row["task_id"]: row.get("task_digest") for row in before}
    second = {row["task_id"]: row.get("task_digest") for row in after}
    return [
        name
        for name in first
        if name in second and (first[name] == second[name] or None in (first[name], second[name]))
    ]


def _answers(verdicts: Sequence[Any], ids: Sequence[str]) -> Any:
    from pper_jax.evaluation import answers, outcomes

    return answers(outcomes(ids, verdicts).values(), "beam")[0]


def _summary(verdicts: Sequence[Any], ids: Sequence[str], seed: int) -> dict[str, Any]:
    from pper_jax.evaluation import summarise

    return summarise(_answers(verdicts, ids), seed=seed)


def _compare(before: Sequence[Any], after: Sequence[Any], ids: Sequence[str], seed: int) -> dict[str, Any]:
    from pper_jax.evaluation import compare

    return compare(_answers(before, ids), _answers(after, ids), seed=seed)


def _share(row: dict[str, Any], key: str) -> str:
    if row.get(key) is None:
        return words.MISSING
    return f"{100 * row[key]:.1f} [{100 * row[f'{key}_low']:.1f}, {100 * row[f'{key}_high']:.1f}]"


def _gain(row: dict[str, Any], key: str) -> str:
    if not row["tasks"]:
        return words.MISSING
    return change(row["gain"][key])


def change(found: Mapping[str, Any]) -> str:
    """A ``difference`` in points with its interval from ``low`` to ``high``, "+8.4 [+5.3, +11.8]"; as far as known."""
    values = [number(found.get(key)) for key in ("difference", "low", "high")]
    middle, low, high = (words.MISSING if value is None else f"{100 * value:+z.1f}" for value in values)
    return middle if None in values else f"{middle} [{low}, {high}]"


def _test(row: dict[str, Any], adjusted: float) -> tuple[str, str, str]:
    test = row["mcnemar"]
    return f"{test['gained']}, {test['lost']}", f"{test['p']:.3g}", f"{adjusted:.3g}"


def as_text(table: Table) -> str:
    """The table in columns of equal width, for a terminal."""
    lines = [table.header, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.header))]

    def row(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column < table.words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return "\n".join([table.title, *map(row, lines), *([table.note] if table.note else [])])


def plain_markdown(text: str) -> str:
    """``text`` as one line of Markdown that shows what it is, for what stands in a name is no mark-up."""
    # an underscore inside a word marks nothing up, and neither do brackets that no link follows
    return re.sub(r"[\\`*<>|~$&]|(?<!\w)_|_(?!\w)|(?<=\])[(\[]", r"\\\g<0>", " ".join(text.split()))


def as_markdown(table: Table) -> str:
    """The table as GitHub's Markdown."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(plain_markdown, cells)) + " |"

    rule = "| " + " | ".join("---" if column < table.words else "---:" for column in range(len(table.header))) + " |"
    note = ["", table.note] if table.note else []
    return "\n".join([f"**{plain_markdown(table.title)}**", "", row(table.header), rule, *map(row, table.rows), *note])
