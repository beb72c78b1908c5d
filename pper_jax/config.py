"""Run configuration: frozen dataclasses, strict YAML, dotted overrides such as ``beam.width=5``.

An unknown key, a value of the wrong type or a value out of range is a :class:`UserError` that names its path
(``train.learning_rate``) and, for unknown keys, the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from pper_jax.errors import UserError

T = TypeVar("T")


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


@dataclass(frozen=True)
class ReplaySection:
    """Replay (phase P): see ``pper_jax.replay.p2value``. ``beta`` 0 switches importance weights off."""

    mode: Literal["pper", "uniform", "none"] = "pper"
    capacity: int = 4096
    alpha: float = 0.5
    omega: float = 0.7
    beta: float = 0.0
    possibility: Literal["geomean", "joint", "percentile", "task_softmax"] = "geomean"
    scheme: Literal["rank", "proportional", "uniform"] = "rank"
    uniform_mix: float = 0.0
    store: Literal["all", "failed", "solved"] = "all"
    target: Literal["exact", "dithered"] = "exact"
    age_decay: float = 0.0
    replacement: bool = True
    dedup: bool = False
    task_cap: int = 0
    evict: Literal["oldest", "lowest"] = "oldest"
    preset: Literal["none", "paper", "safe"] = "none"


# What a preset says where a configuration does not: the paper's algorithm as published, and one that avoids what is
# known to go wrong with it (few programs drawn, copies, one task above all).
REPLAY_PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "paper": {"possibility": "joint", "scheme": "rank", "omega": 1.0, "uniform_mix": 0.0, "beta": 0.0, "store": "all"},
    "safe": {
        "possibility": "geomean",
        "scheme": "rank",
        "omega": 0.7,
        "uniform_mix": 0.1,
        "beta": 0.5,
        "dedup": True,
        "task_cap": 16,
        "store": "all",
    },
}


def with_preset(data: Mapping[str, Any]) -> dict[str, Any]:
    """A run's plain data with the keys that ``replay.preset`` names filled in below those that are given."""
    section = data.get("replay")
    preset = REPLAY_PRESETS.get(str(section.get("preset"))) if isinstance(section, Mapping) else None
    return {**data, "replay": {**preset, **section}} if preset and isinstance(section, Mapping) else dict(data)


@dataclass(frozen=True)
class OptimizerSection:
    """AdamW with clipping by global norm and linear warm-up, then ``schedule`` over the whole run."""

    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: int = 10
    weight_decay: float = 0.01
    b1: float = 0.9
    b2: float = 0.95
    clip_norm: float = 1.0


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
    replay: ReplaySection = field(default_factory=ReplaySection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    train: TrainSection = field(default_factory=TrainSection)
    mesh: MeshSection = field(default_factory=MeshSection)

    def __post_init__(self) -> None:
        """Check ranges; the sentences name the key as the YAML does."""
        _at_least(self, 0, "seed", "rounds", "train.steps", "beam.length_penalty", "replay.omega", "replay.beta")
        _at_least(self, 0, "replay.age_decay", "replay.task_cap")
        _at_least(self, 0, "optimizer.warmup_steps", "optimizer.weight_decay", "tasks.train.count")
        _at_least(
            self, 1, "beam.width", "beam.max_new_tokens", "beam.batch_size", "evaluation.width", "train.batch_size"
        )
        _at_least(self, 1, "evaluation.every", "execution.workers", "execution.memory_mb", "replay.capacity")
        _at_least(self, 1, "train.accumulate", "train.checkpoint_every")
        _at_least(self, 2, "train.max_length")
        for path in ("replay.alpha", "replay.uniform_mix", "optimizer.b1", "optimizer.b2"):
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


def to_dict(config: Any) -> dict[str, Any]:
    """The resolved configuration as plain data, ready for YAML."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], data: Any, path: str = "") -> T:
    """Build dataclass ``cls`` from plain data; strict about keys and types."""
    if not isinstance(data, Mapping):
        raise UserError(f"{path or 'the configuration'} must be a mapping of keys to values, not {data!r}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UserError(_unknown_key(f"{path}{key}", str(key), list(fields), path))
    values = {key: _convert(hints[key], value, f"{path}{key}") for key, value in data.items()}
    for name, spec in fields.items():
        required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UserError(f"the key {path}{name} is missing from the configuration")
    return cls(**values)


def _unknown_key(full: str, key: str, known: Sequence[str], path: str) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"did you mean {path}{near[0]}?" if near else f"known keys here: {', '.join(known)}"
    return f"unknown configuration key {full}; {hint}"


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, f"{path}.")
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{path} must be a mapping of names to values, not {value!r}")
        return {str(k): _convert(typing.get_args(hint)[1], v, f"{path}.{k}") for k, v in value.items()}
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise UserError(f"{path} is {value!r}; choose one of {', '.join(map(str, choices))}")
        return value
    if origin in (types.UnionType, typing.Union):
        options = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return None if value is None else _convert(options[0], value, path)
    return _scalar(hint, value, path)


def _scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise UserError(f"{path} is {value!r}; it must be of type {hint.__name__}")


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return ``data`` with each ``dotted.key=value`` set; values are read as YAML (``none`` modes stay strings)."""
    result = _deep_copy(data)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(f"cannot read the override {override!r}; write it as key=value, such as beam.width=5")
        node = result
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"the override {override!r} goes below {parent}, which is a value and not a section")
        node[last] = _parse_yaml(text, f"the override {override!r}")
    return result


def _deep_copy(data: Any) -> Any:
    return {k: _deep_copy(v) for k, v in data.items()} if isinstance(data, dict) else data


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line} is not valid YAML: {getattr(error, 'problem', error)}") from None


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping; one-sentence errors otherwise."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"cannot read the configuration {path}: {reason}") from None
    data = _parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no configuration: its top level must be keys and values")
    return data


def load_config(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Read YAML at ``path`` into dataclass ``cls``, with dotted ``overrides`` applied.

    Raises:
        UserError: unreadable file, bad YAML (with its line), unknown key (with its path), wrong type, out of range.
    """
    return from_dict(cls, with_preset(apply_overrides(load_yaml(path), overrides)))


def dump_yaml(config: Any) -> str:
    """The resolved configuration as YAML text, keys in declared order."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)
