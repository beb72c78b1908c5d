"""The folder of one run: where its files are."""

from __future__ import annotations

from pathlib import Path

from pper_jax.errors import UserError


class RunFolder:
    """Paths of a run: ``config.yaml``, ``metrics.jsonl``, ``samples/``, ``verdicts/``, ``checkpoints/`` and so on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
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
