"""``pper bench beam``: races of beam search, their table and their JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from pper_jax.bench import models, race, roofline
from pper_jax.bench.machine import describe_machine, faster, measure_rates
from pper_jax.bench.race import run_race
from pper_jax.bench.runners import RUNNERS, Job, Program
from pper_jax.bench.table import print_race
from pper_jax.decode import pack_prompts, score
from pper_jax.errors import RunFailure, UserError
from pper_jax.files import write_atomic
from pper_jax.models import load_model
from pper_jax.terminal import check_interrupted
from pper_jax.types import Programs

WORKLOADS = ("no-eos", "eos")


@dataclass(frozen=True)
class Options:
    """What is raced.

    Attributes:
        models: names of ``bench.models.MODELS``.
        ks: beams; a race for each.
        workloads: ``"no-eos"`` (every program runs to the limit), ``"eos"`` (programs end at different times).
        prompts: how many.
        prompt_tokens: shortest and longest prompt of models with random weights.
        batch_size: prompts at once.
        max_new_tokens: length limit.
        repeats: timed rounds.
        runners: names of ``bench.runners.RUNNERS``.
        dtype: ``"float32"`` or ``"bfloat16"``.
    """

    models: tuple[str, ...] = ("gpt2-124m",)
    ks: tuple[int, ...] = (3,)
    workloads: tuple[str, ...] = ("no-eos",)
    prompts: int = 8
    prompt_tokens: tuple[int, ...] = (64, 128)
    batch_size: int = 8
    max_new_tokens: int = 64
    repeats: int = 3
    runners: tuple[str, ...] = tuple(RUNNERS)
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, given, known in (
            ("model", self.models, models.MODELS),
            ("workload", self.workloads, WORKLOADS),
            ("runner", self.runners, tuple(RUNNERS)),
            ("dtype", (self.dtype,), ("float32", "bfloat16")),
        ):
            if unknown := [value for value in given if value not in known]:
                raise UserError(f"no {name} {unknown[0]!r}; use {', '.join(known)}.")
            if not given:
                raise UserError(f"name at least one {name} of {', '.join(known)}.")
        low, high = self.prompt_tokens[0], self.prompt_tokens[-1]
        numbers = (*self.ks, self.prompts, low, self.batch_size, self.max_new_tokens, self.repeats)
        if min(numbers) < 1 or high < low or not self.ks:
            raise UserError("counts and lengths must be at least 1; lengths are shortest,longest.")


def bench_beam(options: Options) -> dict[str, Any]:
    """Run all races, print each one's table as it ends, and give everything as plain data for JSON.

    Raises:
        UserError: options that make no sense.
        RunFailure: no runner could run.
    """
    rates, ways = measure_rates(options.dtype)
    machine = describe_machine()
    races: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="pper-bench-") as scratch:
        for model in options.models:
            for workload in options.workloads:
                folder, prompts, eos_ids = models.set_up(
                    model,
                    workload,
                    Path(scratch) / f"{model}-{workload}",
                    count=options.prompts,
                    lengths=options.prompt_tokens,
                    limit=options.max_new_tokens,
                )
                for k in options.ks:
                    job = Job(folder, prompts, k, options.max_new_tokens, eos_ids, options.batch_size, options.dtype)
                    raced = run_race(options.runners, job, options.repeats, tell)
                    again, more = measure_rates(options.dtype)  # a shared machine may have been slow the first time
                    rates, ways = faster(rates, again), {way: max(ways[way], more[way]) for way in ways}
                    row = {"model": model, "workload": workload, **summarise(job, *raced, rates)}
                    print_race(row)
                    races.append(row)
    rated = {**asdict(rates), "measured": ways}
    return {"schema": 1, "machine": machine, "rates": rated, "options": asdict(options), "races": races}


def summarise(job: Job, lanes: dict[str, race.Lane], left_out: dict[str, str], rates: roofline.Rates) -> dict[str, Any]:
    """The figures of one race."""
    if not lanes:
        raise RunFailure("no runner could run: " + " ".join(left_out.values()))
    module, params, _ = load_model(job.folder)
    reference = race.reference_of(lanes)
    losses = score_losses(module, params, job, {name: lane.programs for name, lane in lanes.items()}, reference)
    lengths = race.row_lengths(lanes[reference].programs)
    prompt_lengths = [len(prompt) for prompt in job.prompts]
    counted = roofline.count(
        module.config, prompt_lengths, lengths, k=job.k, batch=job.batch_size, itemsize=np.dtype(job.dtype).itemsize
    )
    return {
        "k": job.k,
        "batch_size": job.batch_size,
        "max_new_tokens": job.max_new_tokens,
        "dtype": job.dtype,
        "prompts": len(job.prompts),
        "prompt_tokens": prompt_lengths,
        "row_lengths": lengths,
        "best_lengths": [len(row[0]) for row in lanes[reference].programs],
        "work": {**asdict(counted), "bound_s": counted.bound_s(rates)},
        "rates": asdict(rates),
        "reference": reference,
        "runners": {
            name: {**race.lane_summary(lane, lanes[reference], counted, rates), "score_loss": losses[name]}
            for name, lane in lanes.items()
        },
        "left_out": left_out,
    }


def score_losses(
    module: Any, params: Any, job: Job, found: dict[str, list[list[Program]]], reference: str
) -> dict[str, float]:
    """By how many nats each runner's best programs are less probable than those of ``reference``, on average.

    All are scored by plain float32 forward passes of the same model; below 0 where a runner found better ones.
    """
    prompts = pack_prompts(job.prompts, max(map(len, job.prompts)))
    best = {name: [row[0] for row in programs] for name, programs in found.items()}
    sums: dict[str, float] = {}
    for name in sorted(best, key=lambda name: name != reference):  # the reference first
        programs = best[name]
        if name == reference or programs != best[reference]:
            tokens = np.zeros((len(programs), 1, job.max_new_tokens), np.int32)
            for row, program in zip(tokens, programs, strict=True):
                row[0, : len(program)] = program
            length = jnp.array([[len(program)] for program in programs], jnp.int32)
            empty = jnp.zeros((len(programs), 1), jnp.float32)
            written = Programs(jnp.asarray(tokens), length, empty, jnp.zeros(tokens.shape), empty > 0)
            sums[name] = float(score(module, params, prompts, written).sum()) / len(programs)
        else:
            sums[name] = sums[reference]
    return {name: sums[reference] - value for name, value in sums.items()}


def tell(text: str) -> None:
    """Progress, on standard error."""
    check_interrupted()
    print(f"  {text}", file=sys.stderr, flush=True)


def write_json(result: dict[str, Any], path: Path) -> None:
    """The result as a file."""
    write_atomic(path, json.dumps(result, indent=2) + "\n")


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """``"1,3"`` -> ``(1, 3)``; ``UserError`` for anything else."""
    parts: Sequence[str] = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise UserError(f"{option} is {text!r}; write positive numbers with commas, such as 1,3,8")
    return tuple(int(part) for part in parts)
