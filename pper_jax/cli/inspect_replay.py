"""`pper replay inspect`: what a run's replay buffer holds, why it is drawn, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pper_jax import replay
from pper_jax.errors import UserError
from pper_jax.files import RunFolder, read_jsonl

BAR = 40  # characters of the longest bar


def inspect_replay(path: Path, *, limit: int = 20, program: int | None = None) -> str:
    """A run's buffer as it stood after its last replay phase, as text.

    Args:
        path: the run's folder.
        limit: rows of the table, best first.
        program: show each draw of this program instead: step, rank, P2Value and probability at the time.

    Raises:
        UserError: no run is there, it has stored nothing yet, or the program was never drawn.
    """
    folder = RunFolder(path)
    if not folder.buffer.exists():
        raise UserError(f"{path} holds no replay buffer; give the folder of a run that has finished a round")
    if program is not None:
        return _draws_of(folder, program)
    metrics = read_jsonl(folder.metrics, torn_ok=True) if folder.metrics.exists() else []
    lines = [replay.as_text(read_jsonl(folder.buffer), limit)]
    described = [row for row in metrics if isinstance(row, dict) and row.get("event") == "replay"]
    if not described:  # stopped between the buffer and its figures
        return lines[0]
    figures = described[-1]
    lines += ["", *_figures(figures)]
    for title, name in (("P2Value", "p2value_hist"), ("pass rate", "pass_rate_hist")):
        lines += ["", f"{title} of the stored programs:", *_bars(figures[name])]
    return "\n".join(lines)


def _figures(row: dict[str, Any]) -> list[str]:
    lines = [
        f"after round {row['round']}: {row['size']} programs; effective sample size "
        f"{100 * row['effective_sample_size']:.0f} % of them; programs that pass no test{_of_programs(row)} get "
        f"{100 * row['zero_pass_share']:.0f} % of the draws, the task drawn most {100 * row['task_share']:.0f} %"
    ]
    return lines + [f"warning: {warning}" for warning in row["warnings"]]


def _of_programs(row: dict[str, Any]) -> str:
    share = row.get("zero_pass_programs")  # which earlier runs did not note
    return "" if share is None else f" ({100 * share:.0f} % of them)"


def _bars(histogram: dict[str, Sequence[float]]) -> list[str]:
    """A line a bin that is not empty."""
    counts, edges = histogram["counts"], histogram["edges"]
    most = max(max(counts), 1)
    return [
        f"  {low:4.2f} - {high:4.2f} {int(count):6d} {'#' * max(1, round(BAR * count / most))}"
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
        if count
    ]


def _draws_of(folder: RunFolder, program: int) -> str:
    lines = []
    for file in sorted(folder.path.glob("draws/*.jsonl")):
        lines += [
            f"{file.stem}, step {row['step']}: rank {row['rank']}, P2Value {row['p2value']:.4g} (possibility "
            f"{row['possibility']:.4g}, pass rate {row['pass_rate']:.2f}), probability {row['probability']:.3g} a draw"
            + (f", drawn {row['times_drawn']} times before" if "times_drawn" in row else "")
            for row in read_jsonl(file, torn_ok=True)
            if row["program"] == program
        ]
    if not lines:
        raise UserError(f"{folder.path} has no draw of program {program}; `pper replay inspect` lists the programs")
    return "\n".join(lines)
