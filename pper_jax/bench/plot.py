"""Races as one picture: how many times the reference's time each runner takes, in CPU and in wall-clock seconds."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pper_jax.files import write_atomic
from pper_jax.report.svg import ticks

WIDTH, LEFT, RIGHT = 720, 170, 64  # of the view box, and what stands beside the bars
HEAD, ROW, BAR, GAP = 58, 34, 12, 26  # heights: above the bars of a race, of a runner, of a bar, under a race
TOP = 40
STYLE = """
.paper{fill:#fff}.ink{fill:#1b2330}.soft{fill:#5a6577}.cpu{fill:#2f6fd6}.wall{fill:#c9650a}
.line{stroke:#e0e4eb}.one{stroke:#5a6577;stroke-dasharray:3 3}
@media(prefers-color-scheme:dark){.paper{fill:#10141b}.ink{fill:#e7ebf2}.soft{fill:#a0abbd}.cpu{fill:#6aa3f8}
.wall{fill:#f0994a}.line{stroke:#2c3544}.one{stroke:#a0abbd}}
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.title{font-weight:600;font-size:15px}.end{text-anchor:end}.middle{text-anchor:middle}
"""


def plot_races(races: Sequence[dict[str, Any]]) -> str:
    """An SVG document with a panel a race, as ``bench_beam`` gives them; the same races give the same bytes."""
    height, panels = TOP, []
    for race in races:
        panels.append(_panel(race, height))
        height += HEAD + ROW * len(race["runners"]) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Times of beam search by runner"><style>{STYLE}</style>'
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>{_legend()}{"".join(panels)}</svg>\n'
    )


def write_plot(races: Sequence[dict[str, Any]], path: Path) -> None:
    """The picture as a file."""
    write_atomic(path, plot_races(races))


def _text(css: str, x: float, y: float, text: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _legend() -> str:
    out = []
    for x, css, label in ((16, "cpu", "CPU seconds, all cores"), (210, "wall", "wall-clock seconds")):
        out.append(f'<rect class="{css}" x="{x}" y="14" width="{BAR}" height="{BAR}" rx="2"/>')
        out.append(_text("soft", x + 18, 25, label))
    return "".join(out)


def _panel(race: dict[str, Any], top: int) -> str:
    """One race: title, scale, and two bars a runner."""
    lanes: dict[str, dict[str, Any]] = race["runners"]
    most = max(lane[key] for lane in lanes.values() for key in ("cpu_ratio", "wall_ratio"))
    marks = ticks(0.0, most)
    scale = (WIDTH - LEFT - RIGHT) / marks[-1]
    bottom = top + HEAD + ROW * len(lanes)
    title = f"{race['model']}, k = {race['k']}, {race['workload']}, {race['dtype']}, batch {race['batch_size']}"
    out = [
        _text("ink title", 16, top + 18, title),
        _text("soft", 16, top + 37, f"time, in multiples of that of {race['reference']}; shorter is faster"),
    ]
    for mark in marks:
        x = LEFT + scale * mark
        out.append(f'<path class="line" d="M{x:.1f} {top + HEAD - 8}V{bottom}"/>')
        out.append(_text("soft middle", x, bottom + 15, f"{mark:g}"))
    out.append(f'<path class="one" d="M{LEFT + scale:.1f} {top + HEAD - 8}V{bottom}"/>')
    for row, (name, lane) in enumerate(lanes.items()):
        y = top + HEAD + ROW * row
        out.append(_text("ink end", LEFT - 10, y + BAR + 4, name))
        for offset, css in ((0, "cpu"), (BAR + 2, "wall")):
            ratio = lane[f"{css}_ratio"]
            out.append(
                f'<rect class="{css}" x="{LEFT}" y="{y + offset}" width="{scale * ratio:.1f}" height="{BAR}" rx="2"/>'
            )
            out.append(_text("ink", LEFT + scale * ratio + 6, y + offset + BAR - 1, f"{ratio:.2f} ×"))
    return "".join(out)
