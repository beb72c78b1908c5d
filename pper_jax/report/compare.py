"""The page that sets several runs side by side: gains with intervals, forest plots, curves, settings that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from pper_jax.report import elements, plots, words
from pper_jax.report.data import METRICS, RunData, flat
from pper_jax.report.tables import ABOUT_TABLES, NO_VERDICTS, paper_tables

MOST_CURVES = 4
SECTIONS = (
    ("gains", "Gains"),
    ("tables", "By difficulty and source"),
    ("curves", "Rounds"),
    ("work", "Work done"),
    ("settings", "Settings that differ"),
)
_QUIET = ("name", "out", "output", "run_dir")


def comparison_page(runs: Sequence[RunData]) -> str:
    """The comparison as HTML text; a run without results is listed as such."""
    labels = labels_of(runs)
    splits = list(dict.fromkeys(split for run in runs for split in run.splits))
    unfinished = [
        f"{label}: {words.progress(run)}" for label, run in zip(labels, runs, strict=True) if not run.finished
    ]
    notes = [f"{label}: {note}" for label, run in zip(labels, runs, strict=True) for note in run.notes]
    banner = elements.banner("Not every run is whole:", unfinished + notes) if unfinished or notes else ""
    header = (
        f'<p class="eyebrow">pper_jax comparison</p><h1>{words.plural(len(runs), "run")} compared</h1>'
        f'<p class="lede">{escape(_headline(runs, labels, splits))}</p>{banner}{elements.navigation(SECTIONS)}'
    )
    main = "\n".join(
        [
            _gains(runs, labels, splits),
            _tables(runs, labels),
            _curves(runs, labels, splits),
            _work(runs, labels),
            _settings(runs, labels),
        ]
    )
    return elements.page("Runs compared – pper_jax", header, main)


def labels_of(runs: Sequence[RunData]) -> list[str]:
    """The runs' names; folder names where those repeat, paths where those do too."""
    choices = [[run.name for run in runs], [run.path.resolve().name for run in runs], [str(run.path) for run in runs]]
    best = next((names for names in choices if len(set(names)) == len(names)), choices[-1])
    repeated = Counter(best)
    return [name if repeated[name] == 1 else f"{name} ({index})" for index, name in enumerate(best, start=1)]


def _headline(runs: Sequence[RunData], labels: Sequence[str], splits: Sequence[str]) -> str:
    for split in splits[:1]:
        gains = [(run.gain(split, "pass_rate"), label) for run, label in zip(runs, labels, strict=True)]
        known = [(gain.difference, label, gain) for gain, label in gains if gain.difference is not None]
        if known:
            change, label, gain = max(known, key=lambda item: item[0])
            span = f" (95\u00a0% interval {words.interval(gain)})" if gain.low is not None else ""
            clear = sum(words.outcome(item[2]) == "up" for item in known)
            kind = "largest gain" if change > 0 else "smallest loss"
            shows = {0: "No run shows", 1: "1 run shows"}.get(clear, f"{clear} runs show")
            largest = f"The {kind} in pass rate on {split} is that of {label}"
            return f"{largest}: {words.points(change)} points{span}. {shows} a clear gain."
    return "None of these runs has a result to compare yet."


def _gains(runs: Sequence[RunData], labels: Sequence[str], splits: Sequence[str]) -> str:
    rows = [
        (
            label,
            split,
            words.METRIC_NAMES[metric],
            words.count(g.tasks),
            words.percent(g.before),
            words.percent(g.after),
            words.points(g.difference),
            words.interval(g),
        )
        for split in splits
        for metric in METRICS
        for label, run in zip(labels, runs, strict=True)
        if split in run.splits
        for g in [run.gain(split, metric)]
    ]
    header = ("Run", "Split", "Metric", "Tasks", "Before", "After", "Change, points", "95\u00a0% interval")
    about = (
        "Change from before training to after the last round, on held-out tasks. Each interval speaks for the tasks of "
        "one run; runs of other seeds may differ more, and overlapping intervals are no proof that two runs are equal."
    )
    drawn = []
    for split in splits:
        pairs = [
            plots.forest(
                [(label, run.gain(split, metric)) for label, run in zip(labels, runs, strict=True)],
                f"{words.METRIC_NAMES[metric].capitalize()}, {split}",
            )
            for metric in METRICS
        ]
        if any(pairs):
            drawn.append(elements.figures(pairs, ""))
    body = (
        elements.table(header, rows, "Gains of every run", "t3")
        if rows
        else '<p class="empty">No evaluation has been recorded yet.</p>'
    )
    return elements.section("gains", "Gains", about, "".join(drawn), body)


def _tables(runs: Sequence[RunData], labels: Sequence[str]) -> str:
    body = elements.titled_tables(paper_tables(runs, labels), NO_VERDICTS)
    return elements.section("tables", "By difficulty and source", ABOUT_TABLES, body)


def _curves(runs: Sequence[RunData], labels: Sequence[str], splits: Sequence[str]) -> str:
    about = "Pass rate and accuracy after each round. Bars are 95 % intervals."
    if len(runs) > MOST_CURVES:
        about += f" Only the first {MOST_CURVES} runs are drawn; the tables above have all."
    parts = []
    for split in splits:
        chosen = list(zip(labels, runs, strict=True))[:MOST_CURVES]
        shown = [
            plots.metric_curves(
                {label: plots.curve_of(run, split, metric) for label, run in chosen},
                metric,
                f"{words.METRIC_NAMES[metric].capitalize()}, {split}",
                "Run",
            )
            for metric in METRICS
        ]
        parts.append(elements.figures(shown, f"No evaluation on {split} has been recorded yet."))
    return elements.section(
        "curves", "Rounds", about, *(parts or ['<p class="empty">No evaluation has been recorded yet.</p>'])
    )


def _work(runs: Sequence[RunData], labels: Sequence[str]) -> str:
    rows = []
    for label, run in zip(labels, runs, strict=True):
        programs = sum(sum(kinds.values()) for kinds in run.statuses.values())
        seconds = sum(sum(phases.values()) for phases in run.seconds().values())
        state = "yes" if run.finished else "no"
        rows.append(
            (
                label,
                state,
                words.rounds_of(run),
                words.count(programs),
                words.count(len(run.of("train"))),
                words.duration(seconds),
            )
        )
    header = ("Run", "Finished", "Rounds", "Programs tested", "Training steps", "Time")
    return elements.section(
        "work",
        "Work done",
        "A fair comparison gives every run the same budget.",
        elements.table(header, rows, "Work done"),
    )


def _settings(runs: Sequence[RunData], labels: Sequence[str]) -> str:
    configs = [flat(run.config) for run in runs]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    differ = [key for key in keys if key not in _QUIET and len({repr(config.get(key)) for config in configs}) > 1]
    revisions = [str(run.environment.get("git") or words.MISSING) for run in runs]
    rows = [(key, *(str(config.get(key, words.MISSING)) for config in configs)) for key in differ]
    rows += [("git revision", *revisions)] if len(set(revisions)) > 1 else []
    if len({run.tasks for run in runs} - {None}) > 1:
        rows.append(("content of the tasks", *(run.tasks or words.MISSING for run in runs)))
    about = "All other settings are the same in every run."
    body = (
        elements.table(("Setting", *labels), rows, "Settings that differ", "words")
        if rows
        else '<p class="empty">None differ.</p>'
    )
    return elements.section("settings", "Settings that differ", about, body)
