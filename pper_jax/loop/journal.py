"""Every write of a run: metrics, draws, the buffer as it stands, and what is left at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pper_jax import replay
from pper_jax.files import RunFolder, append_jsonl, dump_jsonl, finite, read_jsonl, write_atomic
from pper_jax.loop.metrics import MetricsWriter
from pper_jax.memory import give_back_freed_memory

KEYS = ("event", "round", "step", "split", "phase")  # what names a row of metrics


@dataclass
class Clock:
    """Seconds of wall clock that a phase took."""

    began: float
    seconds: float = 0.0


class Journal:
    """The files of one run, for one process; a context manager.

    A row is written once: what a resumed run finds there already, it leaves as it is.
    """

    def __init__(self, folder: RunFolder, *, steps: int, tensorboard: bool = False) -> None:
        self.folder, self.steps = folder, steps
        self._board = folder.path / "tensorboard" if tensorboard else None
        self._metrics: MetricsWriter | None = None
        self._known: set[tuple[Any, ...]] = set()
        self.target_tokens = 0  # of all training steps that are written

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._metrics is not None:
            self._metrics.close()

    def rewind(self, position: tuple[int, int], rounds: int) -> None:
        """Forget all from the first training step after ``(round, step)`` on: it comes again, and writes the same."""
        path = self.folder.metrics
        rows = [row for row in read_jsonl(path, torn_ok=True) if isinstance(row, dict)] if path.exists() else []
        kept = list(takewhile(lambda row: not _is_after(row, position), rows))
        write_atomic(path, dump_jsonl(kept))
        self._known = {_key(row) for row in kept}
        self.target_tokens = sum(row.get("tokens", 0) for row in kept if row.get("event") == "train")
        for index in range(max(1, position[0]), rounds + 1):
            draws = self.folder.draws(index)
            if draws.exists():
                last = position[1] if index == position[0] else 0
                rows = read_jsonl(draws, torn_ok=True)
                write_atomic(draws, dump_jsonl(row for row in rows if row["step"] <= last))
        self._metrics = MetricsWriter(path, tensorboard=self._board)

    def log(self, event: str, index: int, **figures: Any) -> None:
        """Add a row of metrics for round ``index``, unless it is there."""
        row = {"event": event, "round": index, **figures}
        assert self._metrics is not None, "rewind comes first"
        if _key(row) not in self._known:
            self._known.add(_key(row))
            self.target_tokens += row.get("tokens", 0) if event == "train" else 0
            self._metrics.write(row, step=max(0, index - 1) * self.steps + row.get("step", 0))

    @contextmanager
    def phase(self, index: int, phase: str) -> Iterator[Clock]:
        """Time a phase and log it at its end; what the one before has freed is given back at its start."""
        give_back_freed_memory()
        clock = Clock(time.monotonic())
        yield clock
        clock.seconds = time.monotonic() - clock.began
        self.log("phase", index, phase=phase, seconds=clock.seconds)

    def draws(self, index: int, step: int, draw: replay.Draw, programs: np.ndarray) -> None:
        """Add what a training step drew; rows that stand for no program are left out."""
        rows = [{"step": step, **row} for row in replay.draw_rows(draw, programs)]
        append_jsonl(self.folder.draws(index), finite(rows))

    def buffer(self, rows: Sequence[dict[str, Any]]) -> None:
        """The buffer as `pper replay inspect` shows it."""
        write_atomic(self.folder.buffer, dump_jsonl(finite(rows)))

    def samples(self, name: str) -> Path:
        """Where the programs of a phase are."""
        return self.folder.samples(name)

    def verdicts(self, name: str) -> Path:
        """Where their verdicts are."""
        return self.folder.verdicts(name)


class Onlooker(Journal):
    """The journal of a process that writes nothing: another one of the same run does."""

    def rewind(self, position: tuple[int, int], rounds: int) -> None:
        """Nothing to forget."""

    def log(self, event: str, index: int, **figures: Any) -> None:
        """Not written; every process counts what is learnt from."""
        self.target_tokens += figures.get("tokens", 0) if event == "train" else 0

    def draws(self, index: int, step: int, draw: replay.Draw, programs: np.ndarray) -> None:
        """Not written."""

    def buffer(self, rows: Sequence[dict[str, Any]]) -> None:
        """Not written."""


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in KEYS)


def _is_after(row: dict[str, Any], position: tuple[int, int]) -> bool:
    return row.get("event") == "train" and (row.get("round", 0), row.get("step", 0)) > position
