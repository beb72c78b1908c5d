"""Small hand-written SVG charts. Colours are CSS classes of the page, so one picture serves light and dark.

Every function is pure and gives the same bytes for the same input. Coordinates are of a 460-wide view box, which a
phone shows at 80 % and a desktop at 115 % of its size, so that 12-unit text stays readable on both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 16, 42
COLOURS = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Point:
    """A measurement with its interval, if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points of one line; `colour` 1, 2, ... chooses one of 8 CSS classes and one of 7 markers: the first 56 differ."""

    label: str
    colour: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Stack:
    """One kind in a chart of stacked columns: a value for each column."""

    label: str
    css: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Effect:
    """One row of a forest plot."""

    label: str
    text: str
    value: float
    low: float | None
    high: float | None


def ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Round numbers that cover [low, high], about `target` of them."""
    size = max(abs(low), abs(high))
    span = max(high - low if high > low else size or 1.0, 1e-9 * size, 1e-30)
    power = 10.0 ** math.floor(math.log10(span / target))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= span / target * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def legend(items: Sequence[tuple[str, str]]) -> str:
    """The HTML list of (label, css class) that explains a chart; it wraps where an SVG text could not."""
    rows = (
        f'<li><svg viewBox="0 0 12 12" aria-hidden="true">{_swatch(css)}</svg>{escape(label)}</li>'
        for label, css in items
    )
    return f'<ul class="legend">{"".join(rows)}</ul>'


def lines(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_format: Callable[[float], str],
    x_ticks: Sequence[float] | None = None,
    bounds: tuple[float, float] | None = None,
    min_span: float = 0.0,
    markers: bool = True,
    splits: Sequence[tuple[float, str]] = (),
    limit: tuple[float, str] | None = None,
) -> str:
    """Lines with 95 % error bars; `bounds` are hard limits of y, `splits` are vertical marks (x, name).

    `limit` is a horizontal mark (y, name); with it the axis begins at zero. Lines with `x_ticks` of their own are set
    a little apart, so that their bars do not cover each other.
    """
    every = [point for line in series for point in line.points]
    seen = [value for p in every for value in (p.y, p.low, p.high) if value is not None]
    seen += [0.0, limit[0]] if limit else []
    low, high = _widened(min(seen), max(seen), min_span, bounds)
    y_ticks = ticks(low, high)
    xs = [p.x for p in every]
    x_marks = list(x_ticks) if x_ticks is not None else ticks(min(xs), max(xs))
    pad = 22 if x_ticks is not None else 0
    if x_ticks is None and min(xs) < max(xs):
        x_marks = [mark for mark in x_marks if min(xs) <= mark <= max(xs)]
        x_of = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    else:
        x_of = _scale(x_marks[0], x_marks[-1], LEFT + pad, WIDTH - RIGHT - pad)
    y_of = _scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    out = [_y_axis(y_ticks, y_of, y_format), _x_axis([(x_of(x), _integer(x)) for x in _thin(x_marks)], x_label)]
    for x, name in splits:
        out.append(f'<path class="split" d="M{_n(x_of(x))} {TOP}V{HEIGHT - BOTTOM}"/>')
        out.append(f'<text class="tick" x="{_n(x_of(x))}" y="{TOP - 5}">{escape(name)}</text>')
    if limit:
        y = _n(y_of(limit[0]))
        text_y = y_of(limit[0]) + (-6 if y_of(limit[0]) > TOP + 16 else 16)
        out.append(f'<path class="limit" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        out.append(f'<text class="tick end halo" x="{WIDTH - RIGHT}" y="{_n(text_y)}">{escape(limit[1])}</text>')
    for index, line in enumerate(series):
        shift = (index - (len(series) - 1) / 2) * min(9.0, 30 / len(series)) if markers and x_ticks else 0.0
        out.append(_line(line, shift, x_of, y_of, y_format, markers))
    return _frame(title, "".join(out))


def scatter(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_format: Callable[[float], str],
    frontier: Sequence[tuple[float, float]] = (),
) -> str:
    """Points with 95 % error bars, each a series of its own or several of one; `frontier` (x, y) is a dotted line."""
    every = [point for line in series for point in line.points]
    seen = [value for p in every for value in (p.y, p.low, p.high) if value is not None]
    y_ticks, x_ticks = ticks(min(seen), max(seen)), ticks(min(p.x for p in every), max(p.x for p in every), 4)
    x_of = _scale(x_ticks[0], x_ticks[-1], LEFT + 16, WIDTH - RIGHT - 24)
    y_of = _scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    out = [_y_axis(y_ticks, y_of, y_format), _x_axis([(x_of(x), _integer(x)) for x in x_ticks], x_label)]
    if len(frontier) > 1:
        path = "L".join(f"{_n(x_of(x))} {_n(y_of(y))}" for x, y in frontier)
        out.append(f'<path class="split" d="M{path}"/>')
    for line in series:
        out += [_line(Series(line.label, line.colour, (p,)), 0.0, x_of, y_of, y_format, True) for p in line.points]
    return _frame(title, "".join(out))


def histogram(
    title: str,
    edges: Sequence[float],
    shares: Sequence[float],
    *,
    x_label: str,
    y_format: Callable[[float], str],
    x_format: Callable[[float], str],
    earlier: Sequence[float] | None = None,
) -> str:
    """Bars between edges; `earlier` is drawn over them as an outline."""
    y_ticks = ticks(0.0, max([*shares, *(earlier or ()), 1e-9]))
    y_of = _scale(0.0, y_ticks[-1], HEIGHT - BOTTOM, TOP)
    x_of = _scale(edges[0], edges[-1], LEFT + 4, WIDTH - RIGHT - 6)
    out = [_y_axis(y_ticks, y_of, y_format)]
    marks = [x for x in ticks(edges[0], edges[-1]) if edges[0] - 1e-9 <= x <= edges[-1] + 1e-9]
    out.append(_x_axis([(x_of(x), x_format(x)) for x in marks], x_label))
    for left, right, share in zip(edges, edges[1:], shares, strict=False):
        a, b = x_of(left), x_of(right)
        tip = f"{x_format(left)} to {x_format(right)}: {y_format(share)}"
        out.append(_rect("c1", a + 0.5, y_of(share), max(b - a - 1, 0.5), y_of(0) - y_of(share), tip))
    if earlier is not None:
        path = f"M{_n(x_of(edges[0]))} {_n(y_of(0))}"
        path += "".join(f"V{_n(y_of(y))}H{_n(x_of(x))}" for x, y in zip(edges[1:], earlier, strict=False))
        out.append(f'<path class="outline" d="{path}V{_n(y_of(0))}"/>')
    return _frame(title, "".join(out))


def columns(
    title: str,
    names: Sequence[str],
    stacks: Sequence[Stack],
    *,
    x_label: str,
    y_format: Callable[[float], str],
    tip: Callable[[float], str],
    above: Sequence[str] = (),
    top: float | None = None,
) -> str:
    """Stacked columns, first kind at the bottom; `above` are words over each column, `top` the highest y."""
    totals = [sum(stack.values[index] for stack in stacks) for index in range(len(names))]
    highest = top if top is not None else max([*totals, 1e-9])
    y_ticks = ticks(0.0, highest)
    y_of = _scale(0.0, y_ticks[-1], HEIGHT - BOTTOM, TOP + (10 if above else 0))
    slot = (WIDTH - LEFT - RIGHT) / len(names)
    width = min(64.0, slot * 0.72)
    out = [_y_axis(y_ticks, y_of, y_format)]
    centres = [LEFT + slot * (index + 0.5) for index in range(len(names))]
    out.append(_x_axis(_thin(list(zip(centres, names, strict=True))), x_label))
    for index, centre in enumerate(centres):
        base = 0.0
        for stack in stacks:
            value = stack.values[index]
            if value > 0:
                y, height = y_of(base + value), y_of(base) - y_of(base + value)
                words = f"{names[index]}, {stack.label}: {tip(value)}"
                out.append(_rect(stack.css, centre - width / 2, y, width, max(height - 0.6, 0.4), words))
                base += value
        if above and slot >= 44:
            out.append(
                f'<text class="tick mid" x="{_n(centre)}" y="{_n(y_of(base) - 5)}">{escape(above[index])}</text>'
            )
    return _frame(title, "".join(out))


def forest(title: str, effects: Sequence[Effect], *, x_label: str, x_format: Callable[[float], str]) -> str:
    """One row an effect: its name and numbers on a line, under it the interval around its value; zero is marked."""
    row, top, bottom = 46, 6, 42
    height = top + row * len(effects) + bottom
    seen = [v for e in effects for v in (e.value, e.low, e.high, 0.0) if v is not None]
    marks = ticks(min(seen), max(seen))
    x_of = _scale(marks[0], marks[-1], 24, WIDTH - 24)
    out = [f'<path class="grid" d="M{_n(x_of(x))} {top}V{height - bottom}"/>' for x in marks]
    out.append(f'<path class="zero" d="M{_n(x_of(0))} {top}V{height - bottom}"/>')
    out.append(_x_axis([(x_of(x), x_format(x)) for x in marks], x_label, height))
    for index, effect in enumerate(effects):
        y = top + row * index
        sure = (effect.low or 0) > 0 or (effect.high or 0) < 0
        css = "c1" if sure else "cx"
        room = 42 - len(effect.text)
        out.append(f'<text class="name halo" x="16" y="{y + 17}">{escape(_short(effect.label, room))}</text>')
        out.append(f'<text class="tick end halo" x="{WIDTH - 16}" y="{y + 17}">{escape(effect.text)}</text>')
        mark = ""
        if effect.low is not None and effect.high is not None:
            mark = f'<path class="bar" d="M{_n(x_of(effect.low))} {y + 32}H{_n(x_of(effect.high))}"/>'
        mark += f'<rect class="dot" x="{_n(x_of(effect.value) - 5)}" y="{y + 27}" width="10" height="10"/>'
        out.append(f'<g class="{css}">{mark}<title>{escape(effect.label)}: {escape(effect.text)}</title></g>')
    return _frame(title, "".join(out), height)


def _frame(title: str, body: str, height: int = HEIGHT) -> str:
    label = escape(title, quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{body}</svg>'


def _y_axis(marks: Sequence[float], y_of: Callable[[float], float], form: Callable[[float], str]) -> str:
    out = []
    for mark in marks:
        y = y_of(mark)
        out.append(f'<path class="grid" d="M{LEFT} {_n(y)}H{WIDTH - RIGHT}"/>')
        out.append(f'<text class="tick end" x="{LEFT - 7}" y="{_n(y + 4)}">{escape(form(mark))}</text>')
    return "".join(out)


def _x_axis(marks: Sequence[tuple[float, str]], label: str, height: int = HEIGHT) -> str:
    out = [f'<text class="tick mid" x="{_n(x)}" y="{height - 25}">{escape(text)}</text>' for x, text in marks]
    out.append(f'<text class="axis mid" x="{_n((LEFT + WIDTH - RIGHT) / 2)}" y="{height - 6}">{escape(label)}</text>')
    return "".join(out)


def _line(
    line: Series,
    shift: float,
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
    form: Callable[[float], str],
    markers: bool,
) -> str:
    places = [(x_of(p.x) + shift, y_of(p.y), p) for p in line.points]
    path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y, _ in places)
    out = [f'<path class="line" d="{path}"/>'] if len(places) > 1 else []
    for x, y, point in places if markers or len(places) == 1 else ():
        tip = f"{line.label}, {_integer(point.x)}: {form(point.y)}"
        bar = ""
        if point.low is not None and point.high is not None:
            tip += f" ({form(point.low)} to {form(point.high)})"
            a, b = _n(y_of(point.low)), _n(y_of(point.high))
            bar = f'<path class="bar" d="M{_n(x)} {a}V{b}M{_n(x - 3)} {a}h6M{_n(x - 3)} {b}h6"/>'
        out.append(f"<g>{bar}{_marker(line.colour, x, y)}<title>{escape(tip)}</title></g>")
    return f'<g class="{_class(line.colour)}">{"".join(out)}</g>'


def _class(colour: int) -> str:
    return f"c{(colour - 1) % COLOURS + 1}"


def _marker(colour: int, x: float, y: float) -> str:
    """One of seven shapes, so that colour is never the only difference."""
    shapes = (
        f'<circle class="dot" cx="{_n(x)}" cy="{_n(y)}" r="4.5"/>',
        f'<rect class="dot" x="{_n(x - 4)}" y="{_n(y - 4)}" width="8" height="8"/>',
        f'<path class="dot" d="M{_n(x)} {_n(y - 5.5)}l5.2 9.5h-10.4z"/>',
        f'<path class="dot" d="M{_n(x)} {_n(y - 5.5)}l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>',
        f'<path class="dot" d="M{_n(x)} {_n(y + 5.5)}l5.2 -9.5h-10.4z"/>',
        f'<path class="dot" d="M{_n(x - 1.7)} {_n(y - 5.5)}h3.4v3.8h3.8v3.4h-3.8v3.8h-3.4v-3.8h-3.8v-3.4h3.8z"/>',
        f'<path class="dot" d="M{_n(x - 5.5)} {_n(y - 4.5)}h11l-11 9h11z"/>',
    )
    return shapes[(colour - 1) % len(shapes)]


def _swatch(css: str) -> str:
    if css == "outline":
        return '<path class="outline" d="M0 7H6V2H12"/>'
    if css.startswith("m"):
        return f'<g class="{_class(int(css[1:]))}">{_marker(int(css[1:]), 6, 6)}</g>'
    return f'<rect class="{css} dot" width="12" height="12" rx="2"/>'


def _rect(css: str, x: float, y: float, width: float, height: float, tip: str) -> str:
    size = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
    return f'<rect class="{css} dot" {size}><title>{escape(tip)}</title></rect>'


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = high - low
    return lambda value: start + (end - start) * ((value - low) / span if span else 0.5)


def _widened(low: float, high: float, span: float, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """[low, high], at least `span` wide, moved inside the bounds."""
    if high - low < span:
        middle = (low + high) / 2
        low, high = middle - span / 2, middle + span / 2
    if bounds is not None:
        low, high = max(bounds[0], low), min(bounds[1], high)
    return low, high


def _thin(marks: Sequence[T], most: int = 12) -> list[T]:
    """Every n-th mark, so that at most `most` are left."""
    return list(marks[:: max(1, math.ceil(len(marks) / most))])


def _integer(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _n(value: float) -> str:
    """A coordinate with at most one decimal."""
    text = f"{value:.1f}"
    return "0" if text == "-0.0" else text.removesuffix(".0")
