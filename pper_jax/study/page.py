"""The pages of a study: ``study.md``, tables ready to paste, and ``study.html``, with plots and the clock's costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pper_jax.files import RunFolder, write_together
from pper_jax.report import elements, words
from pper_jax.report.data import number
from pper_jax.report.tables import Table, change
from pper_jax.study import plots
from pper_jax.study.ledger import seconds
from pper_jax.study.table import (
    AMOUNTS,
    READING,
    SPENDING,
    Figures,
    against,
    budget_table,
    cares,
    markdown,
    part_of,
    result_table,
    settings_of,
)

Costs = Mapping[str, Mapping[str, float]]  # seconds of an arm's runs by kind, and how many ``runs`` they are the sum of
SHARED = "shared by the arms, made once"
FAILED = "runs that failed"
CLEAR = 0.05
SECTIONS = (
    ("differences", "Differences"),
    ("curves", "Learning curves"),
    ("entropy", "Entropy and gain"),
    ("cost", "Gain against cost"),
    ("budget", "Budget"),
    ("clock", "By the clock"),
    ("settings", "Settings"),
)


def write_pages(folder: Path) -> dict[str, Any]:
    """Write ``study.md``, ``study.html`` and ``differences_SET.svg`` beside ``study.json``; returns its figures.

    The same figures give the same ``study.md``; the page also shows what the clock said of the runs.
    """
    figures: dict[str, Any] = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    files = {"study.md": markdown(figures), "study.html": study_page(figures, costs_of(folder, figures))}
    for split in figures["sets"]:
        if found := plots.differences(figures, split):
            files[f"differences_{split}.svg"] = elements.alone(found.drawing)
    write_together({folder / name: text for name, text in files.items()})
    return figures


def lines(figures: Figures) -> list[str]:
    """What the command prints: a line for each arm and held-out set, in columns."""
    cells = []
    for split, of_set in figures["sets"].items():
        for name, arm in of_set["arms"].items():
            found = against(figures, split, name)
            rates = f"{words.percent(number(of_set.get('before')))} -> {words.percent(number(arm.get('after')))}"
            more = ""
            if found:
                holm = number(found.get("holm"))
                p_value = words.MISSING if holm is None else f"{holm:.3f}"
                won = f"{found['wins']} of {found['of']} seeds"
                more = f"to {figures['reference']} {change(found)}, Holm p {p_value}, {won}"
            elif figures["arms"][name]["apart"]:
                more = "not compared: its budget differs"
            cells.append((split, name, rates.replace("\u00a0", " "), more))
    widths = [max((len(row[column]) for row in cells), default=0) for column in range(3)]
    return ["  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in cells]


def costs_of(folder: Path, figures: Figures) -> dict[str, dict[str, float]]:
    """Seconds by the clock of each arm's finished runs, of those that failed, and of what the arms share."""
    groups = {name: [f"{name}-{seed}" for seed in arm["seeds"]] for name, arm in figures["arms"].items()}
    shared = sorted(path.name for path in (folder / "shared").glob("*") if path.is_dir())
    places = {name: (folder / "runs", runs) for name, runs in groups.items()}
    places |= {FAILED: (folder / "runs", list(figures["failed"])), SHARED: (folder / "shared", shared)}
    found = {}
    for name, (root, runs) in places.items():
        costs = {run: folder / "costs" / f"{run}.json" for run in runs}
        known = [run for run in runs if costs[run].exists()]
        if known:
            logged = [one for one in (RunFolder(root / run) for run in known) if one.metrics.exists()]
            found[name] = {"runs": len(known), **seconds(logged, [costs[run] for run in known])}
    return found


def study_page(figures: Figures, costs: Costs) -> str:
    """``study.html`` as text."""
    header = (
        f'<p class="eyebrow">pper_jax study</p><h1>{escape(figures["study"])}</h1>'
        f'<p class="lede">{escape(figures["hypothesis"].strip())}</p>{_meta(figures)}'
        f"{_banners(figures)}{elements.navigation(SECTIONS)}"
    )
    parts = (_differences(figures), _learning(figures), _entropy(figures), _cost(figures, costs), _budget(figures))
    main = "\n".join([*parts, _clock(costs), _settings(figures)])
    return elements.page(f"{figures['study']} – pper_jax study", header, main, "pper study")


def _meta(figures: Figures) -> str:
    items = {
        "held-out tasks": part_of(figures),
        "reference": figures["reference"],
        "arms": len(figures["arms"]),
        "seeds": ", ".join(map(str, figures["seeds"])),
    }
    return f'<p class="meta">{"".join(f"<span>{k} <b>{escape(str(v))}</b></span>" for k, v in items.items())}</p>'


def _banners(figures: Figures) -> str:
    found = cares(figures)
    verdicts = elements.banner(
        f"Compared with {figures['reference']}:", [verdict(figures, split) for split in figures["sets"]], True
    )
    return verdicts + (elements.banner("To read with care:", found) if found else "")


def verdict(figures: Figures, split: str) -> str:
    """One sentence: which arms differ from the reference on a held-out set after Holm's adjustment."""
    found = {name: against(figures, split, name) for name in figures["arms"]}
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for name, one in found.items():
        holm, middle = number(one.get("holm")), number(one.get("difference"))
        if holm is not None and middle is not None and holm < CLEAR:
            kinds[middle > 0].append(name)
    said = [
        f"{', '.join(kinds[better])} {'above' if better else 'below'} {figures['reference']}"
        for better in (True, False)
        if kinds[better]
    ]
    compared = sum(bool(one) for one in found.values())
    none = f"none of {words.plural(compared, 'arm')} differs clearly from {figures['reference']}"
    return f"{split}: {'; '.join(said) or (none if compared else 'no arm was compared')} (Holm p below {CLEAR})"


def _differences(figures: Figures) -> str:
    body = []
    for split in figures["sets"]:
        body.append(
            elements.figures([plots.differences(figures, split), plots.gains(figures, split)], "Nothing to draw.")
        )
        body.append(elements.titled_tables([result_table(figures, split)], "", "settings"))
    return elements.section("differences", "Differences", READING, *body)


def _learning(figures: Figures) -> str:
    about = "Pass rate on held-out tasks after each round, against what was spent by then; means over an arm's runs."
    shown = [
        figure
        for split in figures["sets"]
        for amount in ("sampled_tokens", "programs", "target_tokens")
        for figure in plots.learning(figures, split, amount, AMOUNTS[amount])
    ]
    return elements.section("curves", "Learning curves", about, elements.figures(shown, "No round was evaluated."))


def _entropy(figures: Figures) -> str:
    about = (
        "How varied the programs are that the model writes by chance, beside what it gained; means over an arm's runs."
    )
    entropy = plots.entropy(figures)
    gains = [plots.gain_by_round(figures, split) for split in figures["sets"]] if entropy else []
    shown = [one for row in zip_longest(entropy, *gains) for one in row if one is not None]
    return elements.section("entropy", "Entropy and gain", about, elements.figures(shown, "Entropy was not measured."))


def _cost(figures: Figures, costs: Costs) -> str:
    about = "Gain on held-out tasks against what a run took; bars are 95 % intervals."
    tokens = {name: number(arm["ledger"].get("target_tokens")) for name, arm in figures["arms"].items()}
    known = {name: value for name, value in tokens.items() if value is not None}
    cpu = {name: cost["cpu_s"] / cost["runs"] for name, cost in costs.items() if name in figures["arms"]}
    shown = [
        plots.pareto(figures, split, spent, word)
        for split in figures["sets"]
        for spent, word in ((known, AMOUNTS["target_tokens"]), (cpu, "CPU seconds"))
    ]
    return elements.section("cost", "Gain against cost", about, elements.figures(shown, "No cost is known."))


def _budget(figures: Figures) -> str:
    return elements.section("budget", "Budget", SPENDING, elements.titled_tables([budget_table(figures)], ""))


def _clock(costs: Costs) -> str:
    about = (
        "Means of one run; what the arms share (the evaluation before the first round, the first round's programs and "
        "verdicts) was made once and has its own row. Wall-clock time depends on what else the machine did."
    )
    return elements.section(
        "clock", "By the clock", about, elements.titled_tables(_cost_tables(costs), "No cost is known.")
    )


def _cost_tables(costs: Costs) -> list[Table]:
    kinds = {"cpu_s": "CPU time", "wall_s": "wall clock", "test_s": "of it running tests"}
    rows = [
        (name, words.count(cost["runs"]), *(words.duration(cost[kind] / cost["runs"]) for kind in kinds))
        for name, cost in costs.items()
    ]
    everything = (words.duration(sum(cost[kind] for cost in costs.values())) for kind in kinds)
    rows.append(("all runs together", words.count(sum(cost["runs"] for cost in costs.values())), *everything))
    table = Table("Time by the clock, means of one run", ("arm", "runs", *kinds.values()), tuple(rows), words=1)
    return [table] if costs else []


def _settings(figures: Figures) -> str:
    rows = [("base", figures["base"]), ("all arms", settings_of(figures["settings"]) or words.MISSING)]
    rows += [(name, settings_of(arm["settings"]) or words.MISSING) for name, arm in figures["arms"].items()]
    body = elements.table(("Arm", "Settings"), rows, "Settings", "words")
    return elements.section("settings", "Settings", "What the arms are, over the same base.", body)
