"""One race: all runners on one job, in turns, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import jax

from pper_jax.bench.roofline import Counted, Rates
from pper_jax.bench.runners import Job, Program, missing_packages
from pper_jax.bench.worker import Prepared, Turn, Worker
from pper_jax.errors import RunFailure

Say = Callable[[str], None]


@dataclass
class Lane:
    """One runner's part of a race."""

    prepared: Prepared
    turns: list[Turn] = field(default_factory=list)
    programs: list[list[Program]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


def run_race(names: Sequence[str], job: Job, repeats: int, say: Say) -> tuple[dict[str, Lane], dict[str, str]]:
    """Prepare every runner in its own process, then let them run in turns, ``repeats`` rounds of A, B, C.

    Returns:
        ``(lanes by name, why a runner was left out)``.
    """
    workers: dict[str, Worker] = {}
    lanes: dict[str, Lane] = {}
    left_out: dict[str, str] = {}
    try:
        for name in names:
            if reason := _cannot_run(name, job):
                left_out[name] = reason
                continue
            say(f"prepare {name}")
            workers[name] = Worker(name)
            try:
                lanes[name] = Lane(workers[name].prepare(job))
            except RunFailure as error:
                left_out[name] = str(error)
                workers.pop(name).close()
        for turn in range(repeats):
            for name, lane in lanes.items():
                say(f"round {turn + 1} of {repeats}: {name}")
                lane.turns.append(workers[name].run())
        for name, lane in lanes.items():
            lane.programs, lane.details = workers[name].programs(), workers[name].details()
    finally:
        for worker in workers.values():
            worker.close()
    return lanes, left_out


def _cannot_run(name: str, job: Job) -> str:
    """Why a runner cannot take part; empty if it can."""
    if missing := missing_packages(name):
        return f"{name} needs {' and '.join(missing)}; install with pip install 'pper-jax[bench]'."
    if name.startswith("ctranslate2") and job.dtype != "float32":
        return f"{name} runs on CPU in float32 and int8 only."
    if name == "pper-kernels" and jax.default_backend() == "cpu":
        return f"{name} needs a GPU or a TPU."
    return ""


def reference_of(lanes: dict[str, Lane]) -> str:
    """What the others are compared with: this project's engine, or the first runner where it is not in the race."""
    return "pper" if "pper" in lanes else next(iter(lanes))


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over rounds of ``theirs / ours``: above 1 where ours took less."""
    return median(b / a for a, b in zip(ours, theirs, strict=True))


def agreement(ours: Sequence[Sequence[Program]], theirs: Sequence[Sequence[Program]]) -> dict[str, float]:
    """Share of prompts with the same best program, and of programs found by both; float ties may differ."""
    best = sum(a[0] == b[0] for a, b in zip(ours, theirs, strict=True)) / len(ours)
    both = sum(len({*a} & {*b}) for a, b in zip(ours, theirs, strict=True)) / sum(map(len, ours))
    return {"best": best, "programs": both}


def row_lengths(programs: Sequence[Sequence[Program]]) -> list[int]:
    """Tokens of the longest program of each prompt."""
    return [max(map(len, row)) for row in programs]


def lane_summary(lane: Lane, reference: Lane, counted: Counted, rates: Rates) -> dict[str, Any]:
    """The figures of one runner: seconds are medians over rounds, ratios medians of the rounds' ratios."""
    wall, cpu = [turn.wall_s for turn in lane.turns], [turn.cpu_s for turn in lane.turns]
    tokens = sum(len(program) for row in lane.programs for program in row)
    seconds = median(wall)
    return {
        "load_s": lane.prepared.load_s,
        "first_run_s": lane.prepared.first_run_s,
        "compile_s": lane.prepared.compile_s,
        "compilations": lane.prepared.compilations,
        "wall_s": seconds,
        "cpu_s": median(cpu),
        "rounds": [{"wall_s": turn.wall_s, "cpu_s": turn.cpu_s} for turn in lane.turns],
        "wall_ratio": median_ratio([turn.wall_s for turn in reference.turns], wall),
        "cpu_ratio": median_ratio([turn.cpu_s for turn in reference.turns], cpu),
        "tokens": tokens,
        "tokens_s": tokens / seconds,
        "peak_bytes": lane.details["peak_bytes"],
        "share_of_operations": counted.operations / seconds / rates.operations_s,
        "share_of_bandwidth": counted.bytes / seconds / rates.bytes_s,
        "share_of_bound": counted.bound_s(rates) / seconds,
        "agreement": agreement(reference.programs, lane.programs),
        "details": lane.details,
    }
