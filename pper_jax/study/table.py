"""The tables of a study, and ``study.md``: what is pasted where the study is told of. Nothing here knows the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pper_jax.report import words
from pper_jax.report.data import number
from pper_jax.report.tables import Table, as_markdown, change, plain_markdown
from pper_jax.study.ledger import BUDGET

Figures = Mapping[str, Any]  # as pper_jax.study.figures makes them
PARTS = {
    "dev": "tasks on which settings are chosen",
    "test": "tasks on which no setting was chosen, judged once",
    "all": "all of them, as a published set has them",
}
AMOUNTS = {
    "sampled_tokens": "sampled tokens",
    "programs": "programs tested",
    "target_tokens": "target tokens",
    "updates": "updates",
}
SHARES = {
    "effective_sample_size": "effective sample size, %",
    "tasks_solved": "tasks solved, %",
    "tasks_partly": "partly passed, %",
    "distinct_programs": "distinct programs, %",
}
READING = (
    "Gain: pass rate after the last round minus that before the first. In brackets: 95 % intervals over seeds and "
    "tasks, not adjusted for the number of arms. Holm p: adjusted for the arms of one table. Seeds won: those whose "
    "run ends above the reference's. Least effect: the smallest true difference to the reference that a study of this "
    "size and noise finds in 80 % of its repetitions."
)
SPENDING = (
    "Effective sample size: of the draws, as a share of the buffer. Tasks solved: those with a program that passes "
    "every test; partly passed: those with a program that passes some. Distinct programs: of those written to learn "
    "from."
)


def part_of(figures: Figures) -> str:
    """Which half of the held-out tasks judged, in words."""
    part = str(figures["part"])
    return f"{part}: {PARTS[part]}" if part in PARTS else part


def settings_of(settings: Sequence[str]) -> str:
    """``key=value`` settings as one cell."""
    return "; ".join(settings)


def against(figures: Figures, split: str, arm: str) -> Mapping[str, Any]:
    """An arm's difference to the reference on a held-out set; empty where it was not compared."""
    found: Mapping[str, Any] = figures["sets"][split]["arms"].get(arm, {}).get("against") or {}
    return found


def result_table(figures: Figures, split: str) -> Table:
    """One held-out set: a row an arm."""
    of_set, reference = figures["sets"][split], figures["reference"]
    rows = tuple(_result(figures, split, name) for name in figures["arms"])
    header = (
        "arm", "settings", "pass rate, %", "gain, points", f"difference to {reference}, points", "Holm p", "seeds won",
        "least effect, points",
    )  # fmt: skip
    tasks = number(of_set.get("tasks"))
    return Table(f"{split}: {'no task judged' if tasks is None else words.plural(tasks, 'task')}", header, rows)


def _result(figures: Figures, split: str, name: str) -> tuple[str, ...]:
    arm, of_set = figures["arms"][name], figures["sets"][split]
    found = of_set["arms"].get(name, {})
    compared = against(figures, split, name)
    rates = f"{_hundred(of_set.get('before'))} → {_hundred(found.get('after'))}" if found else words.MISSING
    return (
        name,
        settings_of(arm["settings"]) or words.MISSING,
        rates,
        change(found.get("gain") or {}),
        change(compared) if compared else _why_not(figures, name),
        _digits(compared.get("holm")),
        f"{compared['wins']} of {compared['of']}" if compared else words.MISSING,
        _hundred(compared.get("least_effect")),
    )


def _why_not(figures: Figures, name: str) -> str:
    """Why an arm has no difference to the reference."""
    arm = figures["arms"][name]
    if name == figures["reference"]:
        return "reference"
    if not arm["seeds"]:
        return "no finished run"
    return "budget differs" if arm["apart"] else "no seed in common"


def budget_table(figures: Figures) -> Table:
    """What each arm spent, and what its draws and programs were like; means over its runs."""
    rows = tuple(
        (
            name,
            str(len(arm["seeds"])),
            *(words.count(number(arm["ledger"].get(key))) for key in AMOUNTS),
            *(_hundred(arm.get(key)) for key in SHARES),
        )
        for name, arm in figures["arms"].items()
    )
    return Table("Budget, means over runs", ("arm", "runs", *AMOUNTS.values(), *SHARES.values()), rows, words=1)


def course_tables(figures: Figures) -> list[Table]:
    """What lies between before and after: pass rate by round where one between was judged, entropy where measured."""
    found = []
    for split, of_set in figures["sets"].items():
        rates = {name: _by_round(arm["curve"], "pass_rate") for name, arm in of_set["arms"].items()}
        if any(len(points) > 2 for points in rates.values()):
            found.append(_course(f"{split}: pass rate by round, %", rates, _hundred))
    nats = {name: _by_round(arm["entropy"], "nats") for name, arm in figures["arms"].items()}
    if any(nats.values()):
        found.append(_course("Entropy by round, nats a program", nats, _digits))
    return found


def _by_round(points: Sequence[Mapping[str, Any]], figure: str) -> dict[int, object]:
    return {int(point["round"]): point[figure] for point in points}


def _course(title: str, arms: Mapping[str, Mapping[int, object]], show: Callable[[object], str]) -> Table:
    """A row an arm, a column a round; empty rounds of an arm are marked as such."""
    rounds = sorted({index for points in arms.values() for index in points})
    rows = tuple((name, *(show(points.get(index)) for index in rounds)) for name, points in arms.items() if points)
    return Table(title, ("arm", *(f"round {index}" for index in rounds)), rows, words=1)


def cares(figures: Figures) -> list[str]:
    """What a reader must know: runs that failed, arms that are not compared, rounds without learning, single seeds."""
    found = [f"{name} failed: {reason}" for name, reason in figures["failed"].items()]
    for name, arm in figures["arms"].items():
        if arm["apart"]:
            found.append(f"{name} is not compared, for its budget differs by more than 2 %: {_apart(arm['apart'])}")
        if arm["rounds_without_learning"]:
            found.append(f"{name} had nothing to learn in {words.plural(arm['rounds_without_learning'], 'round')}")
        if len(arm["seeds"]) == 1:
            found.append(f"{name} has one seed: its interval is over tasks alone and says nothing of other seeds")
    return found


def _held_equal(amounts: Sequence[str]) -> list[str]:
    """What is held equal, where that is not all."""
    return [f"Equal: {', '.join(AMOUNTS[name] for name in amounts)}"] if set(amounts) != set(BUDGET) else []


def _apart(shares: Mapping[str, Any]) -> str:
    parts = []
    for key, share in shares.items():
        known = number(share)
        more = "any, where the reference has none" if known is None else f"{100 * known:+.1f} %"
        parts.append(f"{AMOUNTS.get(key, key)} {more}")
    return ", ".join(parts)


def markdown(figures: Figures) -> str:
    """``study.md``."""
    hypothesis = "\n".join(f"> {plain_markdown(line)}".rstrip() for line in figures["hypothesis"].strip().splitlines())
    facts = [
        f"Held-out tasks, {part_of(figures)}",
        f"Base {figures['base']}; all arms: {settings_of(figures['settings']) or 'nothing else'}",
        f"Reference: {figures['reference']}",
        f"Seeds: {', '.join(map(str, figures['seeds']))}",
        *_held_equal(figures.get("equal", BUDGET)),
    ]
    parts = [f"# {plain_markdown(figures['study'])}", hypothesis, _listed(facts)]
    if found := cares(figures):
        parts += ["To read with care:", _listed(found)]
    parts += [as_markdown(result_table(figures, split)) for split in figures["sets"]]
    parts += [READING, *(as_markdown(table) for table in course_tables(figures))]
    parts += [as_markdown(budget_table(figures)), SPENDING]
    return "\n\n".join(part for part in parts if part) + "\n"


def _listed(items: Sequence[str]) -> str:
    return "\n".join(f"- {plain_markdown(item)}" for item in items)


def _hundred(share: object) -> str:
    known = number(share)
    return words.MISSING if known is None else f"{100 * known:.1f}"


def _digits(value: object) -> str:
    known = number(value)
    return words.MISSING if known is None else f"{known:.3g}"
