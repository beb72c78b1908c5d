"""What the person who watches sees and says: progress, sentences, interruption."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PLAIN_EVERY_S = 10.0  # seconds between two lines of progress where there is no terminal
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
ONE_SIGNAL_S = 0.5  # within this, signals are one: `timeout` and some shells send each twice
HINT_AFTER_S = 3.0  # seconds after which it is said that a signal was heard, where it has no effect yet
_code: int | None = None  # exit code of the signal that was heard
_cleanups: list[Callable[[], None]] = []


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP was heard; raised where work may end, never in the middle of a call of JAX.

    Attributes:
        code: what the process should exit with.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def interrupted() -> int | None:
    """The exit code of the signal that was heard; None where none was, or :func:`interruption` is not in force."""
    return _code


def check_interrupted() -> None:
    """End the work here if a signal was heard: raises :class:`Interrupted`. Every long loop calls it."""
    if _code is not None:
        raise Interrupted(_code)


@contextmanager
def at_sudden_end(cleanup: Callable[[], None]) -> Iterator[None]:
    """Have ``cleanup`` called also where a second signal ends the process at once."""
    _cleanups.append(cleanup)
    try:
        yield
    finally:
        _cleanups.remove(cleanup)


@contextmanager
def interruption() -> Iterator[None]:
    """Answer SIGINT, SIGTERM and SIGHUP by a flag while this is open; a second signal ends the process at once.

    A thread hears them, so that one is heard too while the main thread is in a long call. Signals that are ignored
    (``nohup``, background jobs) stay so. Does nothing outside the main thread.
    """
    global _code
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    heard = [number for number in EXIT_CODES if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _noted) for number in heard}
    fd_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reader,), daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)
        listener.join()
        os.close(reader)
        _code = None


def _noted(number: int, frame: Any) -> None:
    """The thread has heard it already."""


def _listen(reader: int) -> None:
    """Note the first signal; end the process by the second; return when the pipe is closed."""
    global _code
    began, told = 0.0, False
    while True:
        if _code is not None and not told and not select.select([reader], [], [], HINT_AFTER_S)[0]:
            _hint()
            told = True
        for number in (data := os.read(reader, 64)):
            if number not in EXIT_CODES:
                continue
            if _code is None:
                _code, began = EXIT_CODES[signal.Signals(number)], time.monotonic()
            elif time.monotonic() - began > ONE_SIGNAL_S:
                end_now(_code)
        if not data:
            return


def _hint() -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"pper: ends as soon as the step in hand is done; once more, and it ends at once\n")


def end_now(code: int) -> None:
    """End the process here and now, wherever its threads are, after the clean-ups of :func:`at_sudden_end`."""
    for cleanup in [*_cleanups]:
        with contextlib.suppress(Exception):
            cleanup()
    os._exit(code)


class Progress:
    """Progress of one phase: a bar on a terminal, otherwise a line now and then with rate and time left.

    Use as a context manager; ``update`` after each unit of work, ``note`` to show a figure beside it. Entering and
    ``update`` call ``check``, which raises :class:`Interrupted` once a signal was heard: work ends between two units.
    """

    def __init__(
        self, label: str, total: int, *, done: int = 0, unit: str = "", check: Callable[[], None] = check_interrupted
    ) -> None:
        self.label, self.total, self.done, self.unit, self._check = label, total, done, unit, check
        self._first, self._began, self._printed = done, time.monotonic(), time.monotonic()
        self._note = ""
        self._bar: Any = None

    def __enter__(self) -> Progress:
        """Start showing."""
        self._check()
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
        self._check()

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
        line = f"{self.label}: {self.done}/{self.total}{unit} in {seconds:.0f} s, {speed}{left}{note}"
        with contextlib.suppress(OSError):  # a log that is full costs no work
            print(line, file=sys.stderr)


def say(sentence: str) -> None:
    """One line for the person who watches; where it cannot be written, the work goes on and the command says so."""
    with contextlib.suppress(OSError):
        print(sentence, flush=True)
