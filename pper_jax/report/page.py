"""Builds report.html: one run in nine sections, or several runs compared."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from pper_jax.errors import UserError
from pper_jax.files import check_output, is_stream, write_atomic
from pper_jax.report import elements, plots, words
from pper_jax.report.compare import comparison_page
from pper_jax.report.data import METRICS, Gain, Row, RunData, as_dict, load_run, number
from pper_jax.report.tables import ABOUT_TABLES, NO_VERDICTS, paper_tables

MOST_REPLAYED = 10
OPEN = 2  # so many of them are unfolded at first
OUTCOMES = {"up": "clear gain", "down": "clear loss", "unclear": "no clear effect"}
SECTIONS = (
    ("headline", "Result"),
    ("heldout", "Held-out tasks"),
    ("tables", "By difficulty and source"),
    ("buffer", "Replay buffer"),
    ("verdicts", "Verdicts"),
    ("time", "Time"),
    ("training", "Training"),
    ("replayed", "Most-replayed programs"),
    ("health", "Replay health"),
    ("settings", "Settings"),
)


def write_report(run_dirs: Sequence[Path], out: Path | None = None) -> Path:
    """Writes the page of one run, or the comparison of several, and returns its path.

    By default the page is RUN/report.html, and comparison.html in the folder that holds the first run. It is one file
    without scripts or outside resources; the same folders give the same bytes.
    Raises UserError if a folder is not a run, if none is given, or if the page cannot be written.
    """
    if not run_dirs:
        raise UserError("no run folder was given: name at least one, such as runs/quickstart")
    if out is not None:
        _check(Path(out))
    runs = [load_run(Path(folder)) for folder in run_dirs]
    if out is None:
        out = runs[0].path / "report.html" if len(runs) == 1 else runs[0].path.resolve().parent / "comparison.html"
    text = run_page(runs[0]) if len(runs) == 1 else comparison_page(runs)
    _write(Path(out), text)
    return Path(out)


def run_page(run: RunData) -> str:
    """The page of one run as HTML text."""
    halves = f'<div class="halves">{_verdicts(run)}{_time(run)}</div>'
    main = "\n".join(
        [
            _result(run),
            _heldout(run),
            _tables(run),
            _buffer(run),
            halves,
            _training(run),
            _replayed(run),
            _health(run),
            _settings(run),
        ]
    )
    return elements.page(f"{run.name} – pper_jax run report", _header(run), main)


def _check(out: Path) -> None:
    """See before the page is made whether it can be written; only a page of ours is replaced."""
    if out.is_dir():
        raise _cannot_be_written(out, "it is a folder")
    if not out.parent.is_dir():
        raise _cannot_be_written(out, "its folder is not there")
    check_output(out)
    if not is_stream(out) and out.exists() and out.stat().st_size:
        text = out.read_bytes()
        if not text.lower().startswith(b"<!doctype html") or b"pper report" not in text:
            raise UserError(f"cannot write {out}: it exists and is no page of `pper report`; name another file")


def _write(out: Path, text: str) -> None:
    """Whole or not at all: a page that is being looked at is never half written."""
    try:
        write_atomic(out, text.encode(errors="replace"))
    except OSError as error:
        raise _cannot_be_written(out, error.strerror) from error


def _cannot_be_written(out: Path, reason: str | None) -> UserError:
    return UserError(f"the report cannot be written to {out} ({reason}): give another file with --out")


def _header(run: RunData) -> str:
    env = run.environment
    seed = run.summary.get("seed", run.config.get("seed"))
    meta = [
        ("started", env.get("started")),
        ("device", ", ".join(_devices(env))),
        ("revision", str(env.get("git", ""))[:12]),
        ("seed", seed),
        ("progress", words.rounds_of(run) if run.events else None),
    ]
    items = "".join(
        f"<span>{name} <b>{escape(str(value))}</b></span>" for name, value in meta if value not in (None, "")
    )
    if run.splits and (gain := run.gain(run.splits[0], "pass_rate")).low is not None:
        sure = words.outcome(gain)
        items = elements.chip(OUTCOMES[sure], sure) + items
    return (
        f'<p class="eyebrow">pper_jax run report</p><h1>{escape(run.name)}</h1>'
        f'<p class="lede">{escape(words.headline(run))}</p><p class="meta">{items}</p>'
        f"{_banners(run)}{elements.navigation(SECTIONS)}"
    )


def _banners(run: RunData) -> str:
    out = []
    if (state := words.progress(run)) is not None:
        out.append(elements.banner(state, run.notes))
    elif run.notes:
        out.append(elements.banner("Not all of the run folder could be read.", run.notes))
    if found := words.warnings(run):
        out.append(elements.banner("Read the result with care:", found))
    return "".join(out)


def _result(run: RunData) -> str:
    split = run.splits[0] if run.splits else None
    gains = [] if split is None else [run.gain(split, metric) for metric in METRICS]
    items = [_gain_card(gain) for gain in gains if gain.before is not None or gain.after is not None]
    about = (
        "Pass rate: the share of a task's tests that a program passes, averaged over tasks. Accuracy: the share of "
        "tasks whose program passes every test. Intervals speak for these tasks and this one run; another seed may "
        "give another result."
    )
    return elements.section("headline", "Result", about, elements.cards(items + _work_cards(run)), _gain_table(run))


def _gain_card(gain: Gain) -> str:
    name = f"{words.METRIC_NAMES[gain.metric].capitalize()}, {gain.split}"
    if gain.before is None or gain.after is None:
        when = "before training" if gain.after is None else "after training"
        return elements.card(name, words.percent(gain.before if gain.after is None else gain.after), when)
    sure = words.outcome(gain)
    more = f"{words.points(gain.difference)} points"
    if gain.low is not None:
        more += f" ({words.interval(gain)})"
    return elements.card(
        name, f"{words.percent(gain.before)} → {words.percent(gain.after)}", more, "" if sure == "unclear" else sure
    )


def _work_cards(run: RunData) -> list[str]:
    items = []
    programs = number(run.summary.get("programs"))
    if programs is None and run.statuses:
        programs = sum(sum(kinds.values()) for kinds in run.statuses.values())
    if programs is not None:
        items.append(
            elements.card(
                "Programs sampled and tested", words.count(programs), f"in {words.plural(len(run.statuses), 'round')}"
            )
        )
    steps = plots.training_steps(run)
    if steps:
        losses = [loss for _, row in steps if (loss := number(row.get("loss"))) is not None]
        more = f"loss {words.plain(losses[0])} → {words.plain(losses[-1])}" if losses else ""
        items.append(
            elements.card("Training steps", words.count(number(run.summary.get("train_steps")) or len(steps)), more)
        )
    seconds = run.seconds()
    total = sum(sum(phases.values()) for phases in seconds.values())
    if total > 0:
        tests = sum(phases.get("test", 0.0) for phases in seconds.values())
        items.append(
            elements.card("Time", words.duration(total), f"{words.percent(tests / total, 0)} of it running tests")
        )
    last = run.of("replay")[-1] if run.of("replay") else {}
    if (effective := number(last.get("effective_sample_size"))) is not None:
        size = number(last.get("size"))
        items.append(
            elements.card(
                "Effective sample size", words.percent(effective), f"of {words.count(size)} programs in the buffer"
            )
        )
    return items


def _gain_table(run: RunData) -> str:
    gains = [run.gain(split, metric) for split in run.splits for metric in METRICS]
    gains = [gain for gain in gains if gain.before is not None or gain.after is not None]
    if not gains:
        return '<p class="empty">No evaluation has been recorded yet.</p>'
    header = ("Split", "Metric", "Tasks", "Before", "After", "Change, points", "95\u00a0% interval")
    rows = [
        (
            g.split,
            words.METRIC_NAMES[g.metric],
            words.count(g.tasks),
            words.percent(g.before),
            words.percent(g.after),
            words.points(g.difference),
            words.interval(g),
        )
        for g in gains
    ]
    return elements.table(header, rows, "Gain on every held-out split", "t2")


def _heldout(run: RunData) -> str:
    about = "Tasks that are never trained on, before training (round 0) and after each round. Bars are 95 % intervals."
    shown = [plots.metric_by_round(run, metric) for metric in METRICS]
    return elements.section(
        "heldout", "Held-out tasks", about, elements.figures(shown, "No evaluation has been recorded yet.")
    )


def _tables(run: RunData) -> str:
    body = elements.titled_tables(paper_tables([run], [run.name]), NO_VERDICTS)
    return elements.section("tables", "By difficulty and source", ABOUT_TABLES, body)


def _buffer(run: RunData) -> str:
    about = (
        "The programs that training draws from. P2Value mixes how likely the model finds a program with the share of "
        "tests that it passes."
    )
    shown = [
        plots.buffer_histogram(run, "p2value_hist", "P2Value in the buffer", "P2Value"),
        plots.buffer_histogram(run, "pass_rate_hist", "Pass rate in the buffer", "share of tests passed"),
    ]
    return elements.section(
        "buffer", "Replay buffer", about, elements.figures(shown, "The replay buffer has not been filled yet.")
    )


def _verdicts(run: RunData) -> str:
    about = "How the sampled programs of each round ended when they ran on their tests."
    return elements.section(
        "verdicts",
        "Verdicts",
        about,
        elements.figures([plots.verdicts_by_round(run)], "No program has been tested yet."),
    )


def _time(run: RunData) -> str:
    about = "Wall-clock time of each phase of the loop."
    return elements.section(
        "time",
        "Where the time went",
        about,
        elements.figures([plots.time_by_round(run)], "No phase has been timed yet."),
    )


def _training(run: RunData) -> str:
    about = "Fine-tuning on the programs drawn from the buffer."
    shown = [
        plots.training_curve(run, "loss", "Training loss"),
        plots.training_curve(run, "grad_norm", "Gradient norm"),
    ]
    return elements.section(
        "training", "Training", about, elements.figures(shown, "No training step has been recorded yet.")
    )


def _replayed(run: RunData) -> str:
    about = "The programs that training saw most often, and why they were drawn."
    rows = run.replayed[:MOST_REPLAYED]
    body = "".join(_program(place, row) for place, row in enumerate(rows, start=1))
    return elements.section(
        "replayed",
        "Most-replayed programs",
        about,
        body or '<p class="empty">The run has not written down yet which programs were drawn.</p>',
    )


def _program(place: int, row: Row) -> str:
    task = str(row.get("task_id", "unknown task"))
    status = str(row.get("status", ""))
    chip = elements.chip(status.replace("_", " "), "pass" if status == "pass" else "") if status else ""
    drawn = number(row.get("times_drawn"))
    times = f'<span class="drawn">drawn {words.plural(drawn, "time")}</span>' if drawn is not None else ""
    summary = f'<span class="place">{place}.</span> <span class="id">{escape(task)}</span>{chip}{times}'
    passed, total = number(row.get("passed")), number(row.get("total"))
    known = passed is not None and total is not None
    tests = f" ({words.count(passed)} of {words.count(total)} tests)" if known else ""
    pairs = [
        ("P2Value", words.plain(number(row.get("p2value")))),
        ("possibility", words.plain(number(row.get("possibility")))),
        ("pass rate", words.percent(number(row.get("pass_rate"))) + tests),
        ("rank", words.count(number(row.get("rank")))),
        ("probability of a draw", words.percent(number(row.get("probability")), 2)),
        ("times drawn", words.count(drawn)),
        ("from round", words.count(number(row.get("round")))),
    ]
    reason = f'<p class="reason">{escape(str(row["reason"]))}</p>' if row.get("reason") else ""
    prompt, completion = str(row.get("prompt") or ""), str(row.get("completion") or "")
    blocks = [("Program of the model", elements.code(completion, f"Program for {task}", highlight=True))]
    if prompt:
        blocks.insert(0, ("Prompt", elements.code(prompt, f"Prompt of {task}", "prompt")))
    body = f"{reason}{elements.facts(pairs)}{elements.listing(blocks)}"
    opened = " open" if place <= OPEN else ""
    return f'<details class="program"{opened}><summary>{summary}</summary>{body}</details>'


def _health(run: RunData) -> str:
    about = (
        "Effective sample size: how many equally likely programs would give draws as varied as these, as a share of "
        "the buffer. Zero-pass share: the share of draws that go to programs that pass no test at all."
    )
    shown = [
        plots.replay_health(run, "effective_sample_size", "Effective sample size", words.SAMPLE_SIZE_LIMIT),
        plots.replay_health(run, "zero_pass_share", "Zero-pass share", words.ZERO_PASS_LIMIT),
    ]
    found = words.warnings(run)
    state = ""
    if found:
        state = elements.banner("Warnings:" if len(found) > 1 else "Warning:", found)
    elif run.of("replay"):
        state = elements.banner(
            "No warnings: draws are spread over enough programs, and the weights changed.", fine=True
        )
    return elements.section(
        "health", "Replay health", about, elements.figures(shown, "The replay buffer has not been filled yet."), state
    )


def _settings(run: RunData) -> str:
    about = "What is needed to run this again."
    env = run.environment
    command = env.get("command")
    parts = [elements.listing([("Command", elements.code(str(command), "Command"))])] if command else []
    facts = [
        ("git revision", str(env.get("git") or "")),
        ("started", str(env.get("started") or "")),
        ("devices", ", ".join(_devices(env))),
    ]
    facts += [(key, _value(value)) for key, value in env.items() if key not in ("git", "started", "devices", "command")]
    rows = [(name, value) for name, value in facts if value]
    if rows:
        parts.append(elements.table(("Environment", ""), rows, "Environment", "words"))
    if run.config_text.strip():
        block = elements.code(run.config_text, "Resolved configuration")
        parts.append(elements.listing([("Resolved configuration (config.yaml)", block)]))
    missing = '<p class="empty">The folder holds no settings.</p>'
    return elements.section("settings", "Settings", about, "".join(parts) or missing)


def _devices(env: Row) -> list[str]:
    """["2 × NVIDIA H100"], whatever shape the list came in."""
    devices = env.get("devices") or []
    names = [str(device) for device in devices] if isinstance(devices, list) else [str(devices)]
    return [f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]


def _value(value: object) -> str:
    table = as_dict(value)
    if table:
        return ", ".join(f"{key} {item}" for key, item in table.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
