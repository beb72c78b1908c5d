"""One runner in a process of its own, driven over a pipe, so that threads, memory and CPU time are its own.

Between its turns a worker waits on the pipe and uses no processor.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pper_jax.bench.runners import make_runner
from pper_jax.errors import RunFailure


@dataclass(frozen=True)
class Prepared:
    """What getting ready took: seconds to load and convert, and for the first run, which compiles."""

    load_s: float
    first_run_s: float
    compile_s: float
    compilations: int


@dataclass(frozen=True)
class Turn:
    """One timed run: seconds of wall clock, and of all the process's threads together."""

    wall_s: float
    cpu_s: float


class Worker:
    """A process with one runner, which ``make(name)`` gives there; close it when done."""

    def __init__(self, name: str, make: Callable[[str], Any] = make_runner) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, make, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def prepare(self, job: Any) -> Prepared:
        """Load, convert and run once; not timed against the others."""
        return self._call("prepare", job)

    def run(self) -> Turn:
        """One timed run."""
        return self._call("run")

    def programs(self) -> Any:
        """What the last run gave: each prompt's programs, or the losses of training steps."""
        return self._call("programs")

    def details(self) -> dict[str, Any]:
        """Versions, device, and ``peak_bytes``, the most memory that the process held while it ran."""
        return self._call("details")

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _call(self, what: str, *args: Any) -> Any:
        try:
            self._pipe.send((what, args))
            kind, value = self._pipe.recv()
        except (EOFError, BrokenPipeError):
            self._process.join(timeout=10)
            raise RunFailure(f"{self.name}: its process ended (exit code {self._process.exitcode})") from None
        if kind == "error":
            raise RunFailure(f"{self.name}: {value}")
        return value


class _Served:
    """The worker's side."""

    def __init__(self, name: str, make: Callable[[str], Any]) -> None:
        self.runner = make(name)
        self.found: Any = []

    def prepare(self, job: Any) -> Prepared:
        start = time.perf_counter()
        compiled = _listen_to_compiler() if self.runner.uses_jax else []
        self.runner.prepare(job)
        loaded = time.perf_counter()
        self.runner.run()
        first = time.perf_counter() - loaded
        _forget_peak()
        return Prepared(loaded - start, first, sum(compiled), len(compiled))

    def run(self) -> Turn:
        wall, cpu = time.perf_counter(), time.process_time()
        self.found = self.runner.run()
        return Turn(time.perf_counter() - wall, time.process_time() - cpu)

    def programs(self) -> Any:
        return self.found

    def details(self) -> dict[str, Any]:
        return {**self.runner.details(), "peak_bytes": peak_bytes()}


def _serve(name: str, make: Callable[[str], Any], pipe: Any) -> None:
    """Answer calls until the pipe closes."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share one GPU
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    served = _Served(name, make)
    while True:
        try:
            what, args = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            pipe.send(("ok", getattr(served, what)(*args)))
        except KeyboardInterrupt:
            return
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            pipe.send(("error", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"))


def _listen_to_compiler() -> list[float]:
    """A list that receives the seconds of every compilation by XLA in this process."""
    import jax.monitoring

    seconds: list[float] = []

    def heard(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(heard)
    return seconds


def _forget_peak() -> None:
    """Start measuring peak memory anew, where the system can (Linux); loading is then not counted."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes() -> int:
    """Most resident memory of this process, since ``_forget_peak`` on Linux, since its start elsewhere."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
