"""``pper bench train``: the train step beside torch's on the same model and batch, and what it does on a mesh."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from pper_jax.bench import models
from pper_jax.bench.beam import tell
from pper_jax.bench.machine import describe_machine, faster, measure_rates
from pper_jax.bench.race import median_ratio
from pper_jax.bench.roofline import Rates, layer_weights
from pper_jax.bench.train_runners import STEPS, TrainJob, make_step, missing
from pper_jax.bench.worker import Turn, Worker
from pper_jax.errors import RunFailure, UserError
from pper_jax.models import ModelConfig, build_model, load_model, resolve_model, save_model

LOSSES_AGREE = 1e-3  # relative; more is another computation


@dataclass(frozen=True)
class Options:
    """What is raced.

    Attributes:
        models: names of ``bench.models.MODELS``.
        batches: ``(rows, tokens a row)``; a race for each.
        repeats: timed rounds.
        steps: optimizer steps a round.
        runners: names of ``train_runners.STEPS``.
        lean: our step in its lean setting.
    """

    models: tuple[str, ...] = ("gpt2-124m",)
    batches: tuple[tuple[int, int], ...] = ((4, 256),)
    repeats: int = 5
    steps: int = 1
    runners: tuple[str, ...] = tuple(STEPS)
    lean: bool = False

    def __post_init__(self) -> None:
        for name, given, known in (("model", self.models, models.MODELS), ("runner", self.runners, tuple(STEPS))):
            if unknown := [value for value in given if value not in known]:
                raise UserError(f"no {name} {unknown[0]!r}; use {', '.join(known)}.")
        if "pper" not in self.runners:
            raise UserError("--runners must name pper, which the others are compared with.")


def parse_batches(text: str) -> tuple[tuple[int, int], ...]:
    """``"4x256,8x1024"`` -> ``((4, 256), (8, 1024))``."""
    found = []
    for part in text.split(","):
        rows, _, length = part.partition("x")
        if not (rows.isdigit() and length.isdigit() and int(rows) > 0 and int(length) > 1):
            raise UserError(f"--batches is {text!r}; write rows x tokens with commas, such as 4x256,8x1024")
        found.append((int(rows), int(length)))
    return tuple(found)


def step_flops(config: ModelConfig, rows: int, length: int) -> float:
    """Floating-point operations that one step needs: forward once, backward twice, causal attention, all logits."""
    tokens = rows * length
    weights = layer_weights(config) + config.vocab_size * config.hidden_size
    seen = config.num_layers * config.num_heads * config.head_dim * rows * length * (length + 1)
    return 3 * (2 * tokens * weights + 2 * seen)


def bench_train(options: Options) -> dict[str, Any]:
    """Run all races and print each one's table as it ends; everything as plain data for JSON."""
    rates, ways = measure_rates("float32")
    races = []
    with tempfile.TemporaryDirectory(prefix="pper-bench-") as scratch:
        for name in options.models:
            folder, config = _model(name, Path(scratch) / name)
            for rows, length in options.batches:
                if length > config.max_positions:
                    raise UserError(f"{name} has a context of {config.max_positions}; it cannot read {length} tokens")
                job = TrainJob(folder, rows, length, config.vocab_size, options.steps, options.lean)
                lanes, left_out = _race(options, job)
                rates = faster(rates, measure_rates("float32")[0])
                race = {"model": name, "rows": rows, "length": length, "lean": options.lean, "left_out": left_out}
                races.append({**race, "runners": _figures(lanes, config, job, rates)})
                show(races[-1])
    machine = describe_machine()
    rated = {**asdict(rates), "measured": ways}
    return {"schema": 1, "machine": machine, "rates": rated, "options": asdict(options), "races": races}


def _model(name: str, folder: Path) -> tuple[Path, ModelConfig]:
    """A folder that every runner can load."""
    if name == "micro":
        path = Path(resolve_model("micro"))
        return path, load_model(path)[0].config
    config = models.shape_of(name)
    save_model(folder, build_model(config), models.random_params(config), models.number_tokenizer(config.vocab_size))
    return folder, config


def _race(options: Options, job: TrainJob) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Every runner in a process of its own, in turns."""
    workers: dict[str, Worker] = {}
    lanes: dict[str, dict[str, Any]] = {}
    left_out = {name: f"{name} needs {' and '.join(missing(name))}" for name in options.runners if missing(name)}
    try:
        for name in options.runners:
            if name not in left_out:
                tell(f"prepare {name}")
                workers[name] = Worker(name, make_step)
                lanes[name] = {"prepared": workers[name].prepare(job), "turns": [], "losses": []}
        for turn in range(options.repeats):
            for name, lane in lanes.items():
                tell(f"round {turn + 1} of {options.repeats}: {name}")
                lane["turns"].append(workers[name].run())
                lane["losses"] += workers[name].programs()
        for name, lane in lanes.items():
            lane["details"] = workers[name].details()
    finally:
        for worker in workers.values():
            worker.close()
    return lanes, left_out


def _figures(lanes: dict[str, dict[str, Any]], config: ModelConfig, job: TrainJob, rates: Rates) -> dict[str, Any]:
    """Seconds are medians over rounds, a step each; ratios medians of the rounds' ratios."""
    ours: list[Turn] = lanes["pper"]["turns"]
    flops = step_flops(config, job.rows, job.length)
    found = {}
    for name, lane in lanes.items():
        wall, cpu = ([getattr(turn, kind) / job.steps for turn in lane["turns"]] for kind in ("wall_s", "cpu_s"))
        found[name] = {
            "wall_s": median(wall),
            "cpu_s": median(cpu),
            "wall_ratio": median_ratio([turn.wall_s / job.steps for turn in ours], wall),
            "cpu_ratio": median_ratio([turn.cpu_s / job.steps for turn in ours], cpu),
            "tokens_s": job.rows * job.length / median(wall),
            "targets_s": job.rows * (job.length - 1) / median(wall),
            "share_of_operations": flops / median(wall) / rates.operations_s,
            "peak_bytes": lane["details"]["peak_bytes"],
            "compile_s": lane["prepared"].compile_s,
            "losses": lane["losses"],
            "rounds": [asdict(turn) for turn in lane["turns"]],
            "details": lane["details"],
        }
    return found


def show(race: dict[str, Any], console: Console | None = None) -> None:
    """The table of one race."""
    console = console or Console(width=max(120, Console().width))
    lean = ", lean" if race["lean"] else ""
    table = Table(
        title=f"{race['model']}, {race['rows']} x {race['length']} tokens, float32{lean}", title_justify="left"
    )
    for column in ("runner", "wall s", "CPU s", "wall ×", "CPU ×", "tokens/s", "% FLOP/s", "MiB", "of them temporary"):
        table.add_column(column, justify="left" if column == "runner" else "right", no_wrap=True)
    for name, lane in race["runners"].items():
        temporary = lane["details"].get("temporary_bytes")
        table.add_row(
            name,
            f"{lane['wall_s']:.3f}",
            f"{lane['cpu_s']:.3f}",
            f"{lane['wall_ratio']:.2f}",
            f"{lane['cpu_ratio']:.2f}",
            f"{lane['tokens_s']:,.0f}",
            f"{100 * lane['share_of_operations']:.0f}",
            f"{lane['peak_bytes'] / 2**20:,.0f}",
            "-" if temporary is None else f"{temporary / 2**20:,.0f}",
        )
    console.print(table)
    for line in remarks(race):
        console.print(line)


def remarks(race: dict[str, Any]) -> list[str]:
    """Sentences under the table."""
    out = ["× = its time over that of pper, median of the rounds' ratios: above 1, it is slower."]
    out += [f"left out: {reason}" for reason in race["left_out"].values()]
    ours = race["runners"]["pper"]["losses"]
    for name, lane in race["runners"].items():
        apart = max(abs(a - b) / abs(a) for a, b in zip(ours, lane["losses"], strict=True))
        if name != "pper":
            wrong = "WRONG? " if apart > LOSSES_AGREE else ""
            out.append(
                f"{wrong}losses of {name}: at most {apart:.1e} (relative) from those of pper in {len(ours)} steps."
            )
    return out


def scaling(devices: tuple[int, ...] = (1, 2, 4, 8)) -> list[dict[str, Any]]:
    """What one learning step of the demo model does on simulated devices, each count in a process of its own."""
    rows = []
    for count in devices:
        tell(f"{count} devices")
        done = subprocess.run(
            [sys.executable, "-m", "pper_jax.bench.train_scaling", str(count)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RunFailure(f"the step on {count} devices could not be compiled: {done.stderr.strip()[-300:]}")
        rows += json.loads(done.stdout)
    return rows


def show_scaling(rows: list[dict[str, Any]], console: Console | None = None) -> None:
    """One line a mesh: losses, products a device and their ideal, bytes of collectives and their ideal."""
    console = console or Console(width=max(120, Console().width))
    table = Table(title="micro, 32 x 64 tokens: a step on simulated devices", title_justify="left")
    columns = ("data,fsdp,tp", "loss", "GFLOP a device", "ideal", "collectives MiB", "ideal", "MiB a device")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["mesh"],
            f"{row['loss']:.6f}",
            f"{row['flops'] / 1e9:.3f}",
            f"{rows[0]['flops'] / row['devices'] / 1e9:.3f}",
            f"{row['collective_bytes'] / 2**20:.2f}",
            f"{row['ideal_bytes'] / 2**20:.2f}",
            f"{row['bytes'] / 2**20:.0f}",
        )
    console.print(table)
