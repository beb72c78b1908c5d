"""What a race looks like on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

AGREE = 0.5  # a float32 runner that shares fewer best programs with the reference is searching for something else
COLUMNS = (
    "runner", "wall s", "CPU s", "wall ×", "CPU ×", "tokens/s", "peak MiB", "compile s", "of FLOP/s", "of bytes/s",
    "of bound", "same best",
)  # fmt: skip


def print_race(race: dict[str, Any], console: Console | None = None) -> None:
    """The table of one race, why runners were left out, and whether the results agree."""
    console = console or Console(width=max(120, Console().width))
    console.print(race_table(race))
    for line in remarks(race):
        console.print(line)


def race_table(race: dict[str, Any]) -> Table:
    """One row a runner."""
    lengths = sorted(race["row_lengths"])
    title = (
        f"{race['model']}, {race['dtype']}, k = {race['k']}, {race['workload']}: {race['prompts']} prompts of "
        f"{min(race['prompt_tokens'])}-{max(race['prompt_tokens'])} tokens, {race['batch_size']} at once, rows of "
        f"{lengths[0]}-{lengths[-1]} new tokens (median {lengths[len(lengths) // 2]})"
    )
    table = Table(title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "runner" else "right", no_wrap=column == "runner")
    for name, lane in race["runners"].items():
        table.add_row(*row_cells(name, lane))
    return table


def row_cells(name: str, lane: dict[str, Any]) -> list[str]:
    """The cells of a runner, in the order of ``COLUMNS``."""
    return [
        name,
        f"{lane['wall_s']:.3f}",
        f"{lane['cpu_s']:.3f}",
        f"{lane['wall_ratio']:.2f}",
        f"{lane['cpu_ratio']:.2f}",
        f"{lane['tokens_s']:,.0f}",
        f"{lane['peak_bytes'] / 2**20:,.0f}",
        f"{lane['compile_s']:.1f}" if lane["compilations"] else "-",
        f"{lane['share_of_operations']:.0%}",
        f"{lane['share_of_bandwidth']:.0%}",
        f"{lane['share_of_bound']:.0%}",
        f"{lane['agreement']['best']:.0%}",
    ]


def remarks(race: dict[str, Any]) -> list[str]:
    """Sentences under the table."""
    out = [f"× = its time over that of {race['reference']}, median of the rounds' ratios: above 1, it is slower."]
    out += [f"{name} left out: {reason}" for name, reason in race["left_out"].items()]
    out += [
        f"WRONG? {name} finds the best program of {race['reference']} for {lane['agreement']['best']:.0%} of the "
        "prompts only: its times may be those of another search."
        for name, lane in race["runners"].items()
        if lane["agreement"]["best"] < AGREE and "int8" not in name
    ]
    return out
