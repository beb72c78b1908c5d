"""Reads a run folder. Whatever is missing, torn or of the wrong type is left out and said in `RunData.notes`."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.settings import parse_yaml
from pper_jax.tasks import text_of

Row = dict[str, Any]
METRICS = ("pass_rate", "accuracy")


@dataclass(frozen=True)
class Gain:
    """What training did to one metric on one held-out split. Shares in [0, 1]; None where the run has no such number.

    `low` and `high` bound the paired difference after - before with 95 % confidence; `rounds` came before "after".
    """

    split: str
    metric: str
    tasks: int | None
    before: float | None
    after: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    rounds: int = 0


@dataclass(frozen=True)
class RunData:
    """One run folder, read. `events`: the rows of metrics.jsonl by round, a repeated row replacing the earlier one.

    `tasks` says how many tasks the run has and stands for their content; None where it keeps no tasks.jsonl.
    """

    path: Path
    name: str
    config_text: str
    config: Row
    environment: Row
    events: tuple[Row, ...]
    summary: Row
    replayed: tuple[Row, ...]
    statuses: dict[int, dict[str, int]]
    notes: tuple[str, ...]
    tasks: str | None = None

    def of(self, event: str) -> list[Row]:
        """The rows of one kind of event, in order of their round."""
        return [row for row in self.events if row["event"] == event]

    @property
    def finished(self) -> bool:
        """Whether the run says of itself that it came to its end."""
        return bool(self.summary.get("finished", False))

    @property
    def last_round(self) -> int:
        """The highest round of which anything was recorded; 0 is the evaluation before training."""
        return max((row["round"] for row in self.events), default=0)

    @property
    def planned_rounds(self) -> int | None:
        """How many rounds were asked for, by the summary or by the first `rounds` key of the config."""
        planned = number(self.summary.get("rounds"))
        if planned is None:
            planned = number(_first_key(self.config, "rounds"))
        return None if planned is None else int(planned)

    @property
    def splits(self) -> list[str]:
        """The names of the held-out splits, those of the summary first."""
        names = [str(row.get("split", "heldout")) for row in self.of("eval")]
        return list(dict.fromkeys([*as_dict(self.summary.get("splits")), *names]))

    def evaluations(self, split: str) -> list[Row]:
        """The evaluations of one split by round."""
        return [row for row in self.of("eval") if str(row.get("split", "heldout")) == split]

    def gain(self, split: str, metric: str) -> Gain:
        """The summary's gain, or else the difference of the last and the first evaluation, without an interval."""
        row = as_dict(as_dict(self.summary.get("splits")).get(split))
        before = number(as_dict(row.get("before")).get(metric))
        after = number(as_dict(row.get("after")).get(metric))
        stated = as_dict(as_dict(row.get("gain")).get(metric))
        tasks = number(row.get("tasks"))
        curve = self.evaluations(split)
        if before is None and curve and curve[0]["round"] == 0:
            before = number(curve[0].get(metric))
        if after is None and curve and curve[-1]["round"] > 0:
            after = number(curve[-1].get(metric))
        if tasks is None and curve:
            tasks = number(curve[-1].get("tasks"))
        difference = number(stated.get("difference"))
        if difference is None and before is not None and after is not None:
            difference = after - before
        low, high = number(stated.get("low")), number(stated.get("high"))
        rounds = curve[-1]["round"] if curve else self.planned_rounds or 0
        return Gain(split, metric, None if tasks is None else int(tasks), before, after, difference, low, high, rounds)

    def seconds(self) -> dict[int, dict[str, float]]:
        """Seconds by round and phase; a phase that was repeated after a resume counts each time."""
        table: dict[int, dict[str, float]] = {}
        for row in self.of("phase"):
            seconds = number(row.get("seconds"))
            if seconds is not None and seconds >= 0:
                phases = table.setdefault(row["round"], {})
                phase = str(row.get("phase", "other"))
                phases[phase] = phases.get(phase, 0.0) + seconds
        return table


def load_run(run_dir: Path) -> RunData:
    """Reads the folder that `pper run` writes, finished or not.

    Raises UserError if there is no such folder or if it holds neither config.yaml nor metrics.jsonl.
    """
    path = Path(run_dir)
    if not path.is_dir():
        raise UserError(
            f"there is no run folder at {path}: give the folder that `pper run` wrote, such as runs/quickstart"
        )
    if not (path / "config.yaml").is_file() and not (path / "metrics.jsonl").is_file():
        raise UserError(
            f"{path} is not a run folder (it has no config.yaml and no metrics.jsonl): give one of `pper run`"
        )
    notes: list[str] = []
    config_text = _text(path / "config.yaml", notes)
    config = _config(config_text, notes)
    events = _events(json_lines(path / "metrics.jsonl", notes))
    summary = _json(path / "summary.json", notes, quiet=True)
    verdicts = {_round_of(file): json_lines(file, notes) for file in sorted((path / "verdicts").glob("round_*.jsonl"))}
    name = summary.get("name") or config.get("name") or path.resolve().name
    return RunData(
        path=path,
        name=str(name),
        config_text=config_text,
        config=config,
        environment=_json(path / "environment.json", notes),
        events=events,
        summary=summary,
        replayed=_replayed(path, verdicts, notes),
        statuses=_statuses(events, verdicts),
        notes=tuple(notes),
        tasks=_tasks(path / "tasks.jsonl"),
    )


def number(value: object) -> float | None:
    """A finite float, or None for anything that is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer that no float holds
        return None


def as_dict(value: object) -> Row:
    """The mapping itself, or an empty one for anything else."""
    return dict(value) if isinstance(value, Mapping) else {}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as {"beam.width": 5}."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _first_key(config: Mapping[str, Any], key: str) -> object:
    found = [value for path, value in flat(config).items() if path.rsplit(".", 1)[-1] == key]
    return found[0] if found else None


def _text(file: Path, notes: list[str]) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        notes.append(f"{file.name} is not there.")
    except OSError as error:
        notes.append(f"{file.name} could not be read ({error.strerror}).")
    return ""


def _config(text: str, notes: list[str]) -> Row:
    try:
        return as_dict(parse_yaml(text, "config.yaml"))
    except UserError:
        notes.append("config.yaml is not valid YAML.")
        return {}


def _json(file: Path, notes: list[str], quiet: bool = False) -> Row:
    if quiet and not file.exists():
        return {}
    text = _text(file, notes)
    if not text:
        return {}
    try:
        return as_dict(json.loads(text))
    except (ValueError, RecursionError):
        notes.append(f"{file.name} is not valid JSON.")
        return {}


def _tasks(file: Path) -> str | None:
    """How many tasks a file has, and eight hex digits for what they are."""
    try:
        lines = [line for line in file.read_bytes().split(b"\n") if line.strip()]
    except OSError:
        return None
    digits = hashlib.sha256(b"\n".join(sorted(lines))).hexdigest()[:8]
    return f"{len(lines)} tasks, content {digits}"


def json_lines(file: Path, notes: list[str]) -> list[Row]:
    """The objects of a JSON-lines file; a torn last line is what a stopped run leaves and is dropped silently."""
    rows, bad = [], 0
    lines = _text(file, notes).split("\n")
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            bad += index < len(lines) - 1
            continue
        if isinstance(row, dict):
            rows.append(row)
    if bad:
        notes.append(f"{bad} {'line' if bad == 1 else 'lines'} of {file.name} could not be read.")
    return rows


def _events(rows: Iterable[Row]) -> tuple[Row, ...]:
    """By round; a row written again after a resume replaces its first writing, except that phases add up."""
    kept: dict[tuple[object, ...], Row] = {}
    for index, row in enumerate(rows):
        row = row | {"event": str(row.get("event", "")), "round": int(number(row.get("round")) or 0)}
        again = index if row["event"] == "phase" else None
        kept[row["event"], row["round"], str(row.get("split")), str(row.get("step")), again] = row
    return tuple(sorted(kept.values(), key=lambda row: row["round"]))


def _round_of(file: Path) -> int:
    digits = "".join(letter for letter in file.stem if letter.isdigit())
    return int(digits) if digits else 0


def _statuses(events: Iterable[Row], verdicts: Mapping[int, list[Row]]) -> dict[int, dict[str, int]]:
    """Programs by round and status: from the test events, and from the verdict files for rounds that have none."""
    table = {
        index: dict(Counter(str(row.get("status")) for row in rows if "status" in row))
        for index, rows in verdicts.items()
    }
    for row in events:
        if row["event"] == "test" and (counts := as_dict(row.get("statuses"))):
            table[row["round"]] = {str(k): int(n) for k, v in counts.items() if (n := number(v)) is not None and n > 0}
    return {index: table[index] for index in sorted(table) if sum(table[index].values()) > 0}


def _replayed(path: Path, verdicts: Mapping[int, list[Row]], notes: list[str]) -> tuple[Row, ...]:
    """replayed.json, with the prompt of tasks.jsonl and the status of the verdicts filled in where they are known."""
    programs = _json(path / "replayed.json", notes, quiet=True).get("programs")
    rows = [dict(row) for row in programs if isinstance(row, dict)] if isinstance(programs, list) else []
    if not rows:
        return ()
    if any("prompt" not in row for row in rows):
        tasks = json_lines(path / "tasks.jsonl", notes)
        prompts = {str(task.get("task_id")): task.get("prompt", "") for task in tasks}
        rows = [{"prompt": prompts.get(str(row.get("task_id")), "")} | row for row in rows]
    wanted = {_key(row) for row in rows}
    known = {
        key: verdict
        for verdict in (verdict for index in sorted(verdicts) for verdict in verdicts[index])
        if (key := _key(verdict)) in wanted
    }
    keep = ("status", "passed", "total")
    found = [known.get(_key(row), {}) for row in rows]
    return tuple(
        {key: verdict[key] for key in keep if key in verdict} | row for row, verdict in zip(rows, found, strict=True)
    )


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    """Task and text of the program of a row."""
    return str(row.get("task_id")), str(text_of(row))
