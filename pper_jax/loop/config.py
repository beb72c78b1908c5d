"""A run's configuration: frozen dataclasses, composed of the options of each room."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pper_jax.errors import UserError
from pper_jax.replay import PRESETS, ReplayConfig
from pper_jax.settings import apply_overrides, load_config
from pper_jax.train.optimizer import OptimizerConfig


@dataclass(frozen=True)
class TaskSetConfig:
    """Which tasks: ``source``: ``micro_python`` or a tasks file; ``split`` filters; ``count`` 0: all of a file.

    ``seed`` chooses among a file's tasks, or those generated; None takes the run's seed.
    """

    source: str = "micro_python"
    split: str | None = None
    count: int = 0
    seed: int | None = None


@dataclass(frozen=True)
class TasksConfig:
    """Tasks the loop samples, and held-out sets by name that are only ever evaluated."""

    train: TaskSetConfig = field(default_factory=TaskSetConfig)
    eval: dict[str, TaskSetConfig] = field(default_factory=dict)


@dataclass(frozen=True)
class BeamSection:
    """Beam search (phase B): ``width`` programs a task; ``batch_size`` prompts at once.

    ``distinct``: search twice as wide and keep at most ``width`` programs that differ in more than comments and space.
    """

    width: int = 3
    max_new_tokens: int = 128
    length_penalty: float = 0.0
    batch_size: int = 16
    distinct: bool = False


@dataclass(frozen=True)
class EvalSection:
    """Evaluation on held-out tasks: the best beam of ``width`` (1 = greedy) is the model's answer."""

    width: int = 1
    every: int = 1


@dataclass(frozen=True)
class ExecutionSection:
    """Test pool (phase T). Times in seconds of CPU a test, memory in MiB a program.

    ``isolation: batch`` lets programs share a process that cannot disturb each other: faster for calls.
    ``require_isolation: strong`` refuses a machine that lacks too many layers of isolation. ``backend: ray`` spreads
    the workers over a Ray cluster.
    """

    workers: int = 2
    timeout_s: float = 4.0
    memory_mb: int = 1024
    compare: Literal["strict", "tokens", "official"] = "strict"
    isolation: Literal["program", "batch"] = "program"
    require_isolation: Literal["strong"] | None = None
    backend: Literal["local", "ray"] = "local"


def _with_preset(overrides: Sequence[str]) -> list[str]:
    """Overrides with the keys that their ``replay.preset`` names put in front of them.

    So a preset given there stands below what else is given there, and above what the file says: the later asking
    counts. (A preset in the file, or in Python, stands below the keys beside it: see ``ReplayConfig``.)
    """
    section = apply_overrides({}, overrides).get("replay")
    preset = section.get("preset") if isinstance(section, Mapping) else None
    keys = PRESETS.get(preset, {}) if isinstance(preset, str) else {}
    return [*(f"replay.{key}={json.dumps(value)}" for key, value in keys.items()), *overrides]


def load_run_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The run's configuration in the YAML file ``path``, with dotted ``overrides``.

    Raises:
        UserError: as :func:`pper_jax.settings.load_config`.
    """
    return load_config(RunConfig, path, _with_preset(overrides))


@dataclass(frozen=True)
class TrainSection:
    """Fine-tuning: ``steps`` optimizer steps a round; ``max_length`` tokens a row, prompt included."""

    steps: int = 40
    batch_size: int = 32
    accumulate: int = 1
    max_length: int = 256
    checkpoint_every: int = 200


@dataclass(frozen=True)
class MeshSection:
    """Sizes of the mesh axes; -1 (at most one) takes the devices that are left."""

    data: int = -1
    fsdp: int = 1
    tp: int = 1


@dataclass(frozen=True)
class RunConfig:
    """One BTP run (``pper run``)."""

    name: str
    model: str
    seed: int = 0
    rounds: int = 1
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    out: str = "runs"
    tensorboard: bool = False
    tasks: TasksConfig = field(default_factory=TasksConfig)
    beam: BeamSection = field(default_factory=BeamSection)
    evaluation: EvalSection = field(default_factory=EvalSection)
    execution: ExecutionSection = field(default_factory=ExecutionSection)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainSection = field(default_factory=TrainSection)
    mesh: MeshSection = field(default_factory=MeshSection)

    def __post_init__(self) -> None:
        """Check ranges; the sentences name the key as the YAML does."""
        _at_least(self, 0, "seed", "rounds", "train.steps", "beam.length_penalty")
        _at_least(self, 0, "optimizer.warmup_steps", "optimizer.weight_decay", "tasks.train.count")
        _at_least(
            self, 1, "beam.width", "beam.max_new_tokens", "beam.batch_size", "evaluation.width", "train.batch_size"
        )
        _at_least(self, 1, "evaluation.every", "execution.workers", "execution.memory_mb")
        _at_least(self, 1, "train.accumulate", "train.checkpoint_every")
        _at_least(self, 2, "train.max_length")
        for path in ("optimizer.b1", "optimizer.b2"):
            if not 0 <= _get(self, path) <= 1:
                raise UserError(f"{path} is {_get(self, path)}; it must lie between 0 and 1")
        for path in ("execution.timeout_s", "optimizer.learning_rate", "optimizer.clip_norm"):
            if not _get(self, path) > 0:
                raise UserError(f"{path} is {_get(self, path)}; it must be above 0")
        if self.train.batch_size % self.train.accumulate:
            raise UserError(
                f"train.batch_size must be a multiple of train.accumulate, which is {self.train.accumulate}"
            )
        if not self.name or "/" in self.name:
            raise UserError(f"name is {self.name!r}; it names the run's folder, so give it letters and no slash")


def _get(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = getattr(config, key)
    return config


def _at_least(config: Any, low: int, *paths: str) -> None:
    for path in paths:
        if _get(config, path) < low:
            raise UserError(f"{path} is {_get(config, path)}; it must be at least {low}")
