"""The figures of a study's page: differences, learning curves, entropy beside gain, gain against cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pper_jax.report import svg, words
from pper_jax.report.data import Gain, number
from pper_jax.report.plots import Figure, axis_percent, axis_points, forest
from pper_jax.study.table import Figures, against

MOST_LINES = 8  # in one drawing, the reference's among them
Curves = Mapping[str, Sequence[tuple[float, float]]]  # (x, y) by arm


def differences(figures: Figures, split: str) -> Figure | None:
    """Each arm's difference to the reference on one held-out set, with its interval."""
    found = {name: against(figures, split, name) for name in figures["arms"]}
    title = f"{split}: difference to {figures['reference']}"
    return forest([(name, _gain(split, one)) for name, one in found.items()], title, "Arm", "difference")


def gains(figures: Figures, split: str) -> Figure | None:
    """Each arm's gain on one held-out set, with its interval."""
    arms = figures["sets"][split]["arms"]
    found = [(name, _gain(split, arm.get("gain") or {})) for name, arm in arms.items()]
    return forest(found, f"{split}: gain", "Arm", "gain")


def _gain(split: str, found: Mapping[str, Any]) -> Gain:
    middle, low, high = (number(found.get(key)) for key in ("difference", "low", "high"))
    return Gain(split, "pass_rate", None, None, None, middle, low, high)


def learning(figures: Figures, split: str, amount: str, word: str) -> list[Figure]:
    """Pass rate on one held-out set after each round against what was spent by then."""
    curves = {name: _points(arm["curve"], amount, "pass_rate") for name, arm in figures["sets"][split]["arms"].items()}
    title = f"{split}: pass rate by {word}"
    return _curves(figures, curves, title, word, "Pass rate", axis_percent, words.percent)


def gain_by_round(figures: Figures, split: str) -> list[Figure]:
    """Gain on one held-out set after each round."""
    curves = {}
    for name, arm in figures["sets"][split]["arms"].items():
        points = _points(arm["curve"], "round", "pass_rate")
        curves[name] = [(x, y - points[0][1]) for x, y in points if points[0][0] == 0]
    return _curves(figures, curves, f"{split}: gain by round", "round", "Gain, points", axis_points, words.points)


def entropy(figures: Figures) -> list[Figure]:
    """Entropy of the model's programs after each round; nothing where it was not measured."""
    curves = {name: _points(arm["entropy"], "round", "nats") for name, arm in figures["arms"].items()}
    return _curves(figures, curves, "Entropy by round", "round", "Entropy, nats a program", words.plain, words.plain)


def pareto(figures: Figures, split: str, costs: Mapping[str, float], word: str) -> Figure | None:
    """Gain on one held-out set against cost; the dotted line joins the arms that no other beats in both."""
    shown = []
    for name, arm in figures["sets"][split]["arms"].items():
        gain, cost = _gain(split, arm.get("gain") or {}), costs.get(name)
        if gain.difference is not None and cost is not None:
            shown.append((name, svg.Point(round(cost, 1), gain.difference, gain.low, gain.high)))
    if not shown:
        return None
    title = f"{split}: gain against {word}"
    front = frontier([(point.x, point.y) for _, point in shown])
    drawing = svg.scatter(
        title,
        [svg.Series(name, _colour(figures, name), (point,)) for name, point in shown],
        x_label=f"{word}, mean of a run",
        y_format=axis_points,
        frontier=front,
    )
    rows = tuple(
        (name, words.count(point.x), words.points(point.y), "yes" if (point.x, point.y) in front else "no")
        for name, point in shown
    )
    note = "Gain in points. Dotted: arms that no other beats in both gain and cost."
    header = ("Arm", word.capitalize(), "Gain, points", "Beaten by none")
    return Figure(title, drawing, _legend(figures, [name for name, _ in shown]), header, rows, note)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those of (cost, gain) for which no other is as cheap and better, or as good and cheaper; by cost."""
    found: list[tuple[float, float]] = []
    for cost, gain in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not found or gain > found[-1][1]:
            found.append((cost, gain))
    return found


def _curves(
    figures: Figures,
    curves: Curves,
    title: str,
    x_label: str,
    y_label: str,
    y_format: Callable[[float], str],
    cell: Callable[[float], str],
) -> list[Figure]:
    """Drawings of so many arms each as can be told apart, the reference in all of them; none without points."""
    curves = {name: points for name, points in curves.items() if points}
    others = [name for name in curves if name != figures["reference"]]
    groups = [others[at : at + MOST_LINES - 1] for at in range(0, len(others), MOST_LINES - 1)] or [[]]
    if not curves:
        return []
    found = []
    for index, group in enumerate(groups, start=1):
        names = [name for name in curves if name == figures["reference"] or name in group]
        series = [
            svg.Series(name, _colour(figures, name), tuple(svg.Point(x, y) for x, y in curves[name])) for name in names
        ]
        whole = title if len(groups) == 1 else f"{title} ({index} of {len(groups)})"
        rounds = sorted({x for name in names for x, _ in curves[name]}) if x_label == "round" else None
        drawing = svg.lines(whole, series, x_label=x_label, y_format=y_format, x_ticks=rounds, min_span=0.02)
        rows = tuple((name, words.count(x), cell(y)) for name in names for x, y in curves[name])
        found.append(Figure(whole, drawing, _legend(figures, names), ("Arm", x_label.capitalize(), y_label), rows))
    return found


def _points(rows: Sequence[Mapping[str, Any]], x: str, y: str) -> list[tuple[float, float]]:
    places = [(number(row.get(x)), number(row.get(y))) for row in rows]
    return [(float(round(a)), b) for a, b in places if a is not None and b is not None]


def _colour(figures: Figures, name: str) -> int:
    """An arm's, the same in all drawings."""
    return list(figures["arms"]).index(name) + 1


def _legend(figures: Figures, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"m{_colour(figures, name)}") for name in names)
