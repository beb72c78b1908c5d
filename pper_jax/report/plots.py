"""The figures of a run: what is drawn, and the table of the same numbers that stands beside each drawing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pper_jax.report import svg
from pper_jax.report.data import Gain, Row, RunData, as_dict, number
from pper_jax.report.words import METRIC_NAMES, MISSING, count, duration, interval, percent, plain, plural, points

STATUSES = ("pass", "fail", "error", "timeout", "memory", "output_limit", "crash", "not_run", "infrastructure")
PHASES = ("sample", "test", "train", "evaluate", "save")
LOSS_POINTS = 200


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption, its legend (label, css class), its numbers as a table, and a remark."""

    title: str
    drawing: str
    legend: tuple[tuple[str, str], ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def metric_by_round(run: RunData, metric: str) -> Figure | None:
    """Pass rate or accuracy of every held-out split at the end of each round, with 95 % intervals."""
    curves = {split: _curve(run.evaluations(split), metric) for split in run.splits}
    name = METRIC_NAMES[metric]
    return metric_curves(curves, metric, f"{name.capitalize()} on held-out tasks", "Split")


def metric_curves(curves: Mapping[str, Sequence[svg.Point]], metric: str, title: str, noun: str) -> Figure | None:
    """One line for each named curve of points (round, share)."""
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        return None
    series = [svg.Series(name, index % 4 + 1, tuple(curve)) for index, (name, curve) in enumerate(curves.items())]
    drawing = svg.lines(
        f"{title} by round",
        series,
        x_label="round (0: before training)",
        y_format=axis_percent,
        x_ticks=sorted({point.x for line in series for point in line.points}),
        bounds=(0.0, 1.0),
        min_span=0.1,
    )
    rows = [
        (
            line.label,
            count(p.x),
            percent(p.y),
            MISSING if p.low is None else f"{percent(p.low)} to {percent(p.high)}",
        )
        for line in series
        for p in line.points
    ]
    legend = tuple((line.label, f"m{line.colour}") for line in series)
    header = (noun, "Round", METRIC_NAMES[metric].capitalize(), "95\u00a0% interval")
    return Figure(title, drawing, legend, header, tuple(rows))


def buffer_histogram(run: RunData, key: str, title: str, x_label: str) -> Figure | None:
    """A histogram of the replay buffer after the last round that has one, with that of the first as an outline."""
    found = [(row["round"], *hist) for row in run.of("replay") if (hist := _histogram(row.get(key))) is not None]
    if not found:
        return None
    last_round, edges, counts = found[-1]
    first_round, first_edges, first_counts = found[0]
    shares = _shares(counts)
    earlier = _shares(first_counts) if first_round != last_round and first_edges == edges else None
    drawing = svg.histogram(
        f"{title}, round {last_round}",
        edges,
        shares,
        x_label=x_label,
        y_format=axis_percent,
        x_format=plain,
        earlier=earlier,
    )
    legend = [(f"round {last_round}", "c1")] + ([(f"round {first_round}", "outline")] if earlier else [])
    header = ["From", "To", f"Programs, round {last_round}", "Share"] + (
        [f"Share, round {first_round}"] if earlier else []
    )
    rows = [
        (plain(a), plain(b), count(n), percent(share), *([percent(earlier[index])] if earlier else []))
        for index, (a, b, n, share) in enumerate(zip(edges, edges[1:], counts, shares, strict=False))
    ]
    note = f"Share of the {count(sum(counts))} programs in the buffer."
    return Figure(title, drawing, tuple(legend), tuple(header), tuple(rows), note)


def verdicts_by_round(run: RunData) -> Figure | None:
    """Which share of each round's programs ended in each way."""
    if not run.statuses:
        return None
    rounds = sorted(run.statuses)
    totals = [sum(run.statuses[index].values()) for index in rounds]
    kinds = _in_order(STATUSES, [kind for index in rounds for kind in run.statuses[index]])
    shares = {k: [run.statuses[r].get(k, 0) / n for r, n in zip(rounds, totals, strict=True)] for k in kinds}
    title = "Verdicts on sampled programs"
    drawing = _columns(
        title, rounds, shares, "v", y_format=lambda y: percent(y, 0), above=[count(n) for n in totals], top=1.0
    )
    rows = [
        (
            count(index),
            *(f"{count(run.statuses[index].get(kind, 0))} ({percent(shares[kind][at])})" for kind in kinds),
            count(totals[at]),
        )
        for at, index in enumerate(rounds)
    ]
    note = "Above each column: the number of programs. A program's kind is its first test result that is not a pass."
    header = ("Round", *(_spaced(kind) for kind in kinds), "Programs")
    return Figure(title, drawing, _legend(kinds, "v"), header, tuple(rows), note)


def time_by_round(run: RunData) -> Figure | None:
    """How long each phase of each round took."""
    seconds = run.seconds()
    if not any(sum(phases.values()) > 0 for phases in seconds.values()):
        return None
    rounds = sorted(seconds)
    kinds = _in_order(PHASES, [phase for index in rounds for phase in seconds[index]])
    totals = [sum(seconds[index].values()) for index in rounds]
    unit, word = next(
        (u, w) for u, w in ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")) if max(totals) >= 2 * u or u == 1
    )
    values = {kind: [seconds[index].get(kind, 0.0) / unit for index in rounds] for kind in kinds}
    title = f"Time by phase, in {word}"
    drawing = _columns(
        title,
        rounds,
        values,
        "p",
        y_format=plain,
        above=[duration(total) for total in totals],
        tip=lambda v: duration(v * unit),
    )
    rows = [
        (count(index), *(duration(seconds[index].get(kind, 0.0)) for kind in kinds), duration(totals[at]))
        for at, index in enumerate(rounds)
    ]
    everything = sum(totals)
    parts = sorted(((sum(v) * unit, kind) for kind, v in values.items()), reverse=True)
    note = f"{duration(everything)} in all; {percent(parts[0][0] / everything, 0)} of it: {_spaced(parts[0][1])}."
    return Figure(title, drawing, _legend(kinds, "p"), ("Round", *map(_spaced, kinds), "Total"), tuple(rows), note)


def training_curve(run: RunData, key: str, title: str) -> Figure | None:
    """Loss or gradient norm by training step, averaged over neighbours where there are very many steps."""
    steps = training_steps(run)
    every = [(step, row["round"], value) for step, row in steps if (value := number(row.get(key))) is not None]
    if not every:
        return None
    width = math.ceil(len(every) / LOSS_POINTS)
    groups = [every[at : at + width] for at in range(0, len(every), width)]
    line = tuple(svg.Point(group[len(group) // 2][0], sum(v for _, _, v in group) / len(group)) for group in groups)
    starts = {index: min(step for step, r, _ in every if r == index) for index in sorted({r for _, r, _ in every})}
    marks = [(step, f"round {index}") for index, step in starts.items()] if 1 < len(starts) <= 6 else []
    drawing = svg.lines(
        f"{title} by training step",
        [svg.Series(title, 1, line)],
        x_label="training step",
        y_format=plain,
        markers=False,
        x_ticks=[line[0].x] if len(line) == 1 else None,
        splits=marks,
    )
    rows = []
    for index in starts:
        values = [v for _, r, v in every if r == index]
        rows.append(
            (
                count(index),
                count(len(values)),
                *map(plain, (values[0], values[-1], sum(values) / len(values), min(values), max(values))),
            )
        )
    note = f"Each point is the mean of {plural(width, 'step')}." if width > 1 else ""
    return Figure(
        title, drawing, (), ("Round", "Steps", "First", "Last", "Mean", "Lowest", "Highest"), tuple(rows), note
    )


def training_steps(run: RunData) -> list[tuple[float, Row]]:
    """(step, row) of the training events; steps that begin anew in each round are counted through."""
    rows = run.of("train")
    stated = [number(row.get("step")) for row in rows]
    known = [step for step in stated if step is not None]
    if len(known) == len(rows) and all(a < b for a, b in itertools.pairwise(known)):
        return list(zip(known, rows, strict=True))
    return [(float(index), row) for index, row in enumerate(rows, start=1)]


def replay_health(run: RunData, key: str, title: str, limit: float) -> Figure | None:
    """A share of the replay buffer (effective sample size, zero-pass share) by round; a warning is due at `limit`."""
    found = [
        (row["round"], value, number(row.get("size")))
        for row in run.of("replay")
        if (value := number(row.get(key))) is not None
    ]
    if not found:
        return None
    curve = tuple(svg.Point(index, value) for index, value, _ in found)
    name = f"warning {'below' if key == 'effective_sample_size' else 'above'} {percent(limit, 0)}"
    drawing = svg.lines(
        f"{title} by round",
        [svg.Series(title, 1, curve)],
        x_label="round",
        y_format=axis_percent,
        x_ticks=[point.x for point in curve],
        bounds=(0.0, 1.0),
        limit=(limit, name),
    )
    rows = [(count(index), percent(value), count(size)) for index, value, size in found]
    return Figure(title, drawing, (), ("Round", title, "Programs in the buffer"), tuple(rows))


def forest(gains: Sequence[tuple[str, Gain]], title: str, noun: str = "Run", change: str = "change") -> Figure | None:
    """The gains of several runs, or of what ``noun`` says, under each other, each with its interval."""
    shown = [(label, gain) for label, gain in gains if gain.difference is not None]
    if not shown:
        return None
    effects = [
        svg.Effect(
            label,
            points(g.difference) + (f" ({interval(g)})" if g.low is not None else ""),
            g.difference or 0.0,
            g.low,
            g.high,
        )
        for label, g in shown
    ]
    drawing = svg.forest(title, effects, x_label=f"{change} in percentage points", x_format=axis_points)
    rows = [(label, points(gain.difference), interval(gain)) for label, gain in shown]
    note = "Blue: the 95\u00a0% interval excludes zero. Grey: it does not, or there is none."
    return Figure(title, drawing, (), (noun, f"{change.capitalize()}, points", "95\u00a0% interval"), tuple(rows), note)


def curve_of(run: RunData, split: str, metric: str) -> list[svg.Point]:
    """The points (round, share) of one split of a run."""
    return _curve(run.evaluations(split), metric)


def _curve(rows: Sequence[Row], metric: str) -> list[svg.Point]:
    return [
        svg.Point(row["round"], value, number(row.get(f"{metric}_low")), number(row.get(f"{metric}_high")))
        for row in rows
        if (value := number(row.get(metric))) is not None
    ]


def _histogram(value: object) -> tuple[list[float], list[float]] | None:
    """Edges and counts, or None unless they are numbers that belong together."""
    table = as_dict(value)
    lists = [table.get(key) for key in ("edges", "counts")]
    if not all(isinstance(part, list) and part for part in lists):
        return None
    edges, counts = ([x for x in map(number, part or []) if x is not None] for part in lists)
    whole = len(edges) == len(counts) + 1 and all(a < b for a, b in itertools.pairwise(edges))
    return (edges, counts) if whole and sum(counts) > 0 and min(counts) >= 0 else None


def _columns(
    title: str,
    rounds: Sequence[int],
    values: Mapping[str, Sequence[float]],
    css: str,
    *,
    y_format: Callable[[float], str],
    above: Sequence[str],
    top: float | None = None,
    tip: Callable[[float], str] = percent,
) -> str:
    stacks = [
        svg.Stack(_spaced(kind), colour, tuple(values[kind]))
        for kind, (_, colour) in zip(values, _legend(values, css), strict=True)
    ]
    names = [str(index) for index in rounds]
    return svg.columns(
        f"{title} by round", names, stacks, x_label="round", y_format=y_format, tip=tip, above=above, top=top
    )


def _legend(kinds: Sequence[str] | Mapping[str, object], css: str) -> tuple[tuple[str, str], ...]:
    """(label, class): v-pass, v-fail, ..., p-sample, ...; kinds we do not know share one colour."""
    known = STATUSES if css == "v" else PHASES
    return tuple((_spaced(kind), f"{css}-{kind}" if kind in known else "cx") for kind in kinds)


def _in_order(order: Sequence[str], seen: Sequence[str]) -> list[str]:
    return [kind for kind in order if kind in seen] + sorted(set(seen) - set(order))


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts)
    return [n / total for n in counts]


def _spaced(kind: str) -> str:
    return kind.replace("_", " ")


def axis_percent(share: float) -> str:
    """A share on an axis: 0.25 -> "25 %"."""
    return percent(share, 0 if abs(100 * share - round(100 * share)) < 1e-6 else 1)


def axis_points(difference: float) -> str:
    """A difference on an axis: 0.05 -> "+5"."""
    return points(difference).removesuffix(".0")
