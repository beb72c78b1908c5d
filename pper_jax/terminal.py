"""What the person who watches sees: progress and sentences."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

PLAIN_EVERY_S = 10.0  # seconds between two lines of progress where there is no terminal


class Interrupted(KeyboardInterrupt):
    """Somebody asked the work to end."""


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
        with contextlib.suppress(OSError):  # a log that is full costs no work
            print(
                f"{self.label}: {self.done}/{self.total}{unit} in {seconds:.0f} s, {speed}{left}{note}", file=sys.stderr
            )


def say(sentence: str) -> None:
    """One line for the person who watches; where it cannot be written, the work goes on and the command says so."""
    with contextlib.suppress(OSError):
        print(sentence, flush=True)
