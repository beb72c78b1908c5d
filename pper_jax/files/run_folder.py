"""The folder of one run: where its files are, and the mark by which it is known to be ours."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from pper_jax.errors import UserError

MARK = ".pper-run"
MARK_TEXT = "A run of pper_jax; with this file here, pper run --fresh may remove the run's files.\n"
LOCK = ".pper-lock"
OWN_FILES = (
    "config.yaml",
    "environment.json",
    "asking.json",
    "metrics.jsonl",
    "tasks.jsonl",
    "replayed.json",
    "buffer.jsonl",
    "summary.json",
)
OWN_FOLDERS = ("samples", "verdicts", "draws", "checkpoints", "model", "tensorboard")
OLD_KEYS = ("name:", "model:", "rounds:", "tasks:", "beam:", "replay:")  # of every config.yaml that had no mark yet


class RunFolder:
    """Paths of a run: ``config.yaml``, ``metrics.jsonl``, ``samples/``, ``verdicts/``, ``checkpoints/`` and so on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.asking = path / "asking.json"
        self.metrics = path / "metrics.jsonl"
        self.tasks = path / "tasks.jsonl"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.replayed = path / "replayed.json"
        self.buffer = path / "buffer.jsonl"
        self.summary = path / "summary.json"
        self.report = path / "report.html"

    def samples(self, name: str) -> Path:
        """Programs of one phase; ``name`` is ``round_001`` or ``eval_001_SPLIT``."""
        return self.path / "samples" / f"{name}.jsonl"

    def verdicts(self, name: str) -> Path:
        """Verdicts of the same programs."""
        return self.path / "verdicts" / f"{name}.jsonl"

    def evaluations(self) -> dict[str, dict[int, Path]]:
        """The verdicts on held-out tasks that are there, by set and round."""
        found: dict[str, dict[int, Path]] = {}
        for file in sorted((self.path / "verdicts").glob("eval_*.jsonl")):
            if match := re.fullmatch(r"eval_(\d{3,})_(.+)\.jsonl", file.name):
                found.setdefault(match[2], {})[int(match[1])] = file
        return found

    def draws(self, round_index: int) -> Path:
        """What the replay drew in a round, a line a draw."""
        return self.path / "draws" / f"round_{round_index:03d}.jsonl"

    @property
    def finished(self) -> bool:
        """Whether the run ended; its summary is the last file that it writes but for the report."""
        return self.summary.exists()


def model_folder(path: Path) -> Path:
    """The model of a finished run folder, or ``path`` itself when it is no run folder."""
    folder = RunFolder(path)
    if not folder.config.exists() or (path / "config.json").exists():
        return path
    if not folder.model.exists():
        raise UserError(f"the run in {path} has not finished, so it has no model yet; run its command again")
    return folder.model


def mark_folder(path: Path) -> None:
    """Make ``path`` a run folder of ours; nothing but a mark is written. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    mark = path / MARK
    if not mark.exists():
        mark.write_text(MARK_TEXT, encoding="utf-8")


def is_marked(path: Path) -> bool:
    """Whether ``path`` is a run folder: it has the mark, or is one of the version that wrote none."""
    return (path / MARK).is_file() or _is_unmarked_run(path)


def _is_unmarked_run(path: Path) -> bool:
    try:
        lines = (path / "config.yaml").read_text(encoding="utf-8").splitlines()
        environment = json.loads((path / "environment.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    ours = isinstance(environment, dict) and "pper-jax" in environment
    return ours and all(any(line.startswith(key) for line in lines) for key in OLD_KEYS)


def empty_marked_folder(path: Path) -> None:
    """Remove a run's own files; the mark, the lock and whatever a user put there stay.

    Killed half-way, it leaves a folder that still carries the mark. Raises UserError where ``path`` does not carry it,
    OSError where something cannot be removed.
    """
    if not is_marked(path):
        raise UserError(f"{path} is not a run folder, so nothing in it is removed; choose another name or move it away")
    mark_folder(path)
    for name in (*OWN_FILES, "report.html", *OWN_FOLDERS):
        entry = path / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif os.path.lexists(entry):
            entry.unlink()


def is_run_file(target: Path) -> bool:
    """Whether ``target``, a path without links, is where a run keeps a file of its own (its report is none)."""
    for folder in target.parents:
        parts = target.relative_to(folder).parts
        own = parts[0] in OWN_FOLDERS if len(parts) > 1 else parts[0] in (*OWN_FILES, MARK, LOCK)
        if own and is_marked(folder):
            return True
    return False
