"""What a race looks like on the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

# Float ties and another stop rule change a few programs or their scores by little; more is another search.
SAME = 0.75
NATS = 0.05
COLUMNS = (
    "runner", "wall s", "CPU s", "wall ×", "CPU ×", "tokens/s", "MiB", "compile s", "% FLOP/s", "% read",
    "% bound", "same best", "loss",
)  # fmt: skip


def print_race(race: dict[str, Any], console: Console | None = None) -> None:
    """The table of one race, why runners were left out, and whether the results agree."""
    console = console or Console(width=max(132, Console().width))
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
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "runner" else "right", no_wrap=True)
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
        f"{100 * lane['share_of_operations']:.0f}",
        f"{100 * lane['share_of_bandwidth']:.0f}",
        f"{100 * lane['share_of_bound']:.0f}",
        f"{lane['agreement']['best']:.0%}",
        f"{lane['score_loss']:.3f}",
    ]


def remarks(race: dict[str, Any]) -> list[str]:
    """Sentences under the table."""
    out = [f"× = its time over that of {race['reference']}, median of the rounds' ratios: above 1, it is slower."]
    out += [f"{name} left out: {reason}" for name, reason in race["left_out"].items()]
    out.append(f"loss = nats by which its best programs are less probable than those of {race['reference']}.")
    out.append(f"% = of the machine's measured rates, for the work that the programs of {race['reference']} need.")
    out += [
        f"{name} rounds the weights and so writes other programs: {lane['tokens']:,} tokens, where "
        f"{race['reference']} writes {race['runners'][race['reference']]['tokens']:,}."
        for name, lane in race["runners"].items()
        if "int8" in name and lane["agreement"]["best"] < 1
    ]
    out += [
        f"WRONG? {name} finds the best program of {race['reference']} for {lane['agreement']['best']:.0%} of the "
        f"prompts, {lane['score_loss']:.3f} nats apart: the times may be those of two different searches."
        for name, lane in race["runners"].items()
        if lane["agreement"]["best"] < SAME and not abs(lane["score_loss"]) <= NATS and "int8" not in name
    ]
    return out
