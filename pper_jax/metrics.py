"""What a run shows and keeps: ``metrics.jsonl``, TensorBoard events by option, and progress on the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.tasks.task import dump_jsonl, read_jsonl

PLAIN_EVERY_S = 10.0  # seconds between two lines of progress where there is no terminal


class MetricsWriter:
    """Appends one JSON object a line to ``path``; numbers also go to TensorBoard when a folder is given.

    A last line that a killed writer left torn is dropped when the file is opened.

    Raises:
        UserError: TensorBoard is asked for and its package is not installed.
    """

    def __init__(self, path: Path, *, tensorboard: Path | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._board = _open_board(tensorboard) if tensorboard else None
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        """Append ``row``; it is on disk, for all but a power failure, when this returns."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board:
            step = row.get("step", row.get("round", 0))
            name = "/".join(str(row[key]) for key in ("event", "split", "phase") if key in row)
            for key, value in row.items():
                if isinstance(value, (int, float)) and key not in ("round", "step"):
                    self._board.add_scalar(f"{name}/{key}", value, step)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board:
            self._board.close()

    @staticmethod
    def rewrite(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Leave only the rows that ``keep`` accepts, atomically; a torn last line goes too."""
        if path.exists():
            rows = [row for row in read_jsonl(path, torn_ok=True) if keep(row)]
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_text(dump_jsonl(rows), encoding="utf-8")
            temporary.replace(path)


def _drop_torn_line(path: Path) -> None:
    if path.exists():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _open_board(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError(
            "tensorboard: true needs the package tensorboardX; install it with pip install 'pper-jax[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder))


class Progress:
    """Progress of one phase: a bar on a terminal, otherwise a line now and then with rate and time left.

    Use as a context manager; ``update`` after each unit of work, ``note`` to show a figure beside it.
    """

    def __init__(self, label: str, total: int, *, done: int = 0, unit: str = "") -> None:
        self.label, self.total, self.done, self.unit = label, total, done, unit
        self._first, self._began, self._printed = done, time.monotonic(), time.monotonic()
        self._note = ""
        self._bar: Any = None

    def __enter__(self) -> Progress:
        """Start showing."""
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, note="")
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop showing; without a terminal, print a last line."""
        if self._bar:
            self._bar.stop()
        elif error[0] is None:
            self._line()

    def update(self, units: int = 1) -> None:
        """``units`` more are done."""
        self.done += units
        if self._bar:
            self._bar.update(self._task, advance=units)
        elif time.monotonic() - self._printed > PLAIN_EVERY_S:
            self._printed = time.monotonic()
            self._line()

    def note(self, text: str) -> None:
        """Show ``text`` beside the count from now on."""
        self._note = text
        if self._bar:
            self._bar.update(self._task, note=text)

    def _line(self) -> None:
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (self.done - self._first) / seconds
        left = f", {(self.total - self.done) / rate:.0f} s left" if rate > 0 and self.done < self.total else ""
        note = f", {self._note}" if self._note else ""
        unit = f" {self.unit}" if self.unit else ""
        speed = f"{rate:.3g}{unit}/s"
        print(f"{self.label}: {self.done}/{self.total}{unit} in {seconds:.0f} s, {speed}{left}{note}", file=sys.stderr)
