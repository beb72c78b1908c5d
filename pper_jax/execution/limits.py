"""What one program may use while it is tested."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pper_jax.errors import UserError, shown

MEBIBYTE = 1 << 20
WALL_FACTOR, WALL_EXTRA_S = 2.0, 1.0
DAY_S = 86_400.0  # the longest limit of time
MOST = {
    "memory_mb": 1 << 30,
    "output_bytes": 1 << 31,
    "file_bytes": 1 << 50,
    "processes": 1 << 22,
    "open_files": 1 << 20,
}
BUSY = 10.0  # how much longer than its limit a program is waited for that does not get a core


@dataclass(frozen=True)
class Limits:
    """Limits of one program under test; every number must be positive, and at most a day or what MOST says.

    Time is CPU time first: a busy machine makes a program slow, not wrong. Wall-clock time is the backstop, for
    programs that sleep or wait.

    timeout_s: seconds for loading the program, and again for each test: of CPU time, unless ``cpu_s`` is given.
    program_timeout_s: CPU seconds for all tests of one program (and wall-clock seconds: twice that and one more); tests
        that have not begun by then are ``not_run``.
    trusted_s: CPU seconds that the trusted side may add to a test for its own work (checking an answer).
    memory_mb: address space of each process of the program, in MiB (RLIMIT_AS).
    output_bytes: the most a program may print in a ``stdio`` test, and the most one answer may take on the wire.
    file_bytes: the largest file a program may write.
    processes: processes and threads of the program together (RLIMIT_NPROC: binds where the program does not run as
        root, which is everywhere but on a machine where root cannot change user).
    open_files: open file descriptors of each process.
    cpu_s: CPU seconds for loading, and again for each test; ``timeout_s`` if None.
    wall_s: wall-clock seconds for the same; twice ``timeout_s`` and one more if None.
    """

    timeout_s: float = 4.0
    program_timeout_s: float = 60.0
    trusted_s: float = 2.0
    memory_mb: int = 1024
    output_bytes: int = 8 * MEBIBYTE
    file_bytes: int = 16 * MEBIBYTE
    processes: int = 64
    open_files: int = 256
    cpu_s: float | None = None
    wall_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("timeout_s", "program_timeout_s", "trusted_s", "cpu_s", "wall_s"):
            if name not in ("cpu_s", "wall_s") or getattr(self, name) is not None:
                require_positive(f"limits.{name}", getattr(self, name), whole=False, most=DAY_S)
        for name, most in MOST.items():
            require_positive(f"limits.{name}", getattr(self, name), whole=True, most=most)
        if self.open_files < 16:
            raise UserError(f"limits.open_files is {self.open_files}, but Python needs 16: raise it.")
        if self.memory_mb < 64:
            raise UserError(f"limits.memory_mb is {self.memory_mb}, but Python alone needs 64: raise it.")

    @property
    def test_cpu_s(self) -> float:
        """CPU seconds of one test."""
        return self.timeout_s if self.cpu_s is None else self.cpu_s

    @property
    def test_wall_s(self) -> float:
        """Wall-clock seconds of one test."""
        return backstop(self.timeout_s) if self.wall_s is None else self.wall_s

    @property
    def silence_s(self) -> float:
        """The longest that a worker in good order says nothing, on a machine as busy as can be (see BUSY)."""
        return BUSY * (3 * self.test_wall_s + 2 * backstop(self.trusted_s))


def own_limits(limits: Limits, own: Mapping[str, float], kept: Collection[str] = ()) -> Limits:
    """``limits`` with a job's own ``seconds`` and ``memory_mb``, but for those named in ``kept``."""
    changes: dict[str, Any] = {}
    if "seconds" in own and "seconds" not in kept:
        changes |= {"timeout_s": own["seconds"], "cpu_s": None, "wall_s": None}
    if "memory_mb" in own and "memory_mb" not in kept:
        changes["memory_mb"] = own["memory_mb"]
    return replace(limits, **changes)


def backstop(seconds: float) -> float:
    """Return the wall-clock seconds that stand behind so many of CPU time."""
    return WALL_FACTOR * seconds + WALL_EXTRA_S


def require_positive(name: str, value: object, *, whole: bool, most: float = float("inf")) -> None:
    """Raise UserError unless ``value`` is a finite positive number (an integer where ``whole``), at most ``most``."""
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < float("inf") or value > most:
        kind = "positive whole number" if whole else "positive number"
        bound = f" of at most {most:.0f}" if most < float("inf") else ""
        raise UserError(f"{name} is {shown(value)}, but it must be a {kind}{bound}.")


def require_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise UserError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise UserError(f"{name} is {value!r}, but it must be one of {', '.join(map(str, choices))}.")
