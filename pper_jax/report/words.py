"""Numbers as people read them, and the sentences of the report."""

from __future__ import annotations

from pper_jax.report.data import Gain, RunData, as_dict, number

METRIC_NAMES = {"pass_rate": "pass rate", "accuracy": "accuracy"}
ZERO_PASS_LIMIT = 0.5
SAMPLE_SIZE_LIMIT = 0.05
MISSING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """0.384 -> "38.4 %"."""
    return MISSING if share is None else f"{100 * share:.{digits}f}\u00a0%"


def points(difference: float | None) -> str:
    """0.072 -> "+7.2"; the unit is the percentage point."""
    if difference is None:
        return MISSING
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


def count(value: float | None) -> str:
    """12345 -> "12,345"."""
    return MISSING if value is None else f"{value:,.0f}"


def plain(value: float | None) -> str:
    """Three significant digits; at most four before the exponent begins."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    return (
        f"{value:.2e}"
        if abs(value) < 1e-3 or abs(value) >= 1e5
        else f"{value:.3g}"
        if abs(value) < 1000
        else f"{value:,.0f}"
    )


def duration(seconds: float | None) -> str:
    """Seconds -> "3.2 s", "4 min 10 s", "1 h 05 min"."""
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02d}\u00a0min"


def interval(gain: Gain) -> str:
    """The 95 % interval of a gain in points, or the sign for "none"."""
    if gain.low is None or gain.high is None:
        return MISSING
    return f"{points(gain.low)} to {points(gain.high)}"


def plural(n: float, noun: str) -> str:
    """1, "task" -> "1 task"; 3, "task" -> "3 tasks"."""
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def rounds_of(run: RunData) -> str:
    """How far the run came: "3 rounds", "round 1 of 4"."""
    if run.finished or run.planned_rounds is None:
        return plural(run.last_round, "round")
    return f"round {run.last_round} of {run.planned_rounds}"


def outcome(gain: Gain) -> str:
    """ "up" or "down" where the interval excludes zero, "unclear" where it does not or where there is none."""
    if gain.low is not None and gain.low > 0:
        return "up"
    return "down" if gain.high is not None and gain.high < 0 else "unclear"


def headline(run: RunData) -> str:
    """One sentence: what happened to the pass rate on the first held-out split, and how sure that is."""
    if not run.splits:
        return "No evaluation on held-out tasks has been recorded yet, so there is no result to report."
    gain = run.gain(run.splits[0], "pass_rate")
    where = f"on {gain.split}" + (f" ({plural(gain.tasks, 'task')})" if gain.tasks else "")
    if gain.before is None or gain.after is None or gain.difference is None:
        known = gain.before if gain.before is not None else gain.after
        if known is None:
            return f"No pass rate {where} has been recorded yet, so there is no result to report."
        when = "Before training" if gain.before is not None else "After training"
        return f"{when} the pass rate {where} was {percent(known)}; there is nothing yet to compare it with."
    size = f"{abs(100 * gain.difference):.1f} percentage points"
    start = f"After {plural(gain.rounds, 'round')} the pass rate {where}"
    path = f"from {percent(gain.before)} to {percent(gain.after)}"
    if points(gain.difference) == "0.0":
        sentence = f"{start} stayed at {percent(gain.after)}"
    elif gain.difference > 0:
        sentence = f"{start} rose {path}, a gain of {size}"
    else:
        sentence = f"{start} fell {path}, a loss of {size}"
    if gain.low is None or gain.high is None:
        return f"{sentence}; no interval has been computed."
    if outcome(gain) == "unclear":
        return (
            f"{sentence}, but the 95\u00a0% interval of the change, {interval(gain)}, includes zero: no clear effect."
        )
    return f"{sentence} (95\u00a0% interval {interval(gain)})."


def progress(run: RunData) -> str | None:
    """What to say of a run that is not finished; None if it is."""
    if run.finished:
        return None
    if not run.events:
        return "This run is not finished: nothing has been recorded yet."
    names = {"eval": "evaluating", "phase": "closing a phase"}
    last = max(run.events, key=lambda row: row["round"])["round"]
    events = [row["event"] for row in run.events if row["round"] == last]
    names |= {"sample": "sampling", "test": "testing", "replay": "filling the replay buffer", "train": "training"}
    doing = next((names[event] for event in reversed(events) if event != "phase" and event in names), "starting")
    of = "" if run.planned_rounds is None else f" of {run.planned_rounds}"
    return (
        f"This run is not finished: its last record is of {doing}, in round {last}{of}. The same command continues it."
    )


def warnings(run: RunData) -> list[str]:
    """The run's own warnings by round; where it wrote none down, those that its numbers call for."""
    found: list[str] = []
    for row in run.of("replay"):
        stated = row.get("warnings")
        lines = [str(line) for line in stated] if isinstance(stated, list) else _replay_warnings(row)
        found += [f"Round {row['round']}: {line}" for line in lines]
    found += _train_warnings(run, stated=" ".join(found).lower())
    broken = sum(statuses.get("infrastructure", 0) for statuses in run.statuses.values())
    if broken:
        what = "1 program has" if broken == 1 else f"{count(broken)} programs have"
        found.append(f"{what} no verdict because of a fault of the test machine; none of these counts as a failure.")
    return found


def _replay_warnings(row: dict[str, object]) -> list[str]:
    zero, size = number(row.get("zero_pass_share")), number(row.get("effective_sample_size"))
    lines = []
    if zero is not None and zero > ZERO_PASS_LIMIT:
        lines.append(
            f"{percent(zero, 0)} of the draws go to programs that pass no test, so P2Value can tell little apart."
        )
    if size is not None and size < SAMPLE_SIZE_LIMIT:
        lines.append(f"draws come from few programs: the effective sample size is {percent(size)} of the buffer.")
    return lines


def _train_warnings(run: RunData, stated: str) -> list[str]:
    found = []
    for index in sorted({row["round"] for row in run.of("train")}):
        rows = [row for row in run.of("train") if row["round"] == index]
        lost = [row for row in rows if "loss" in row and number(row["loss"]) is None]
        if lost:
            found.append(f"Round {index}: the loss is not a number in {plural(len(lost), 'step')}.")
        still = any(all(number(row.get(key)) == 0 for row in rows) for key in ("grad_norm", "learning_rate"))
        if still and "weight" not in stated:
            found.append(f"Round {index}: no weight changed; every gradient or learning rate is zero.")
    steps = number(as_dict(run.summary).get("train_steps"))
    if run.finished and steps == 0 and "weight" not in stated:
        found.append("No weight changed: the run finished without a training step.")
    return found
