"""A run's configuration: frozen dataclasses, composed of the options of each room."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pper_jax.decode import BeamConfig, SampleConfig, StochasticBeamConfig
from pper_jax.errors import UserError
from pper_jax.execution import TestPool, pool_class
from pper_jax.execution.limits import DAY_S, MEBIBYTE
from pper_jax.execution.rules import asked_of_pool
from pper_jax.loop.processes import DistributedSection
from pper_jax.models.config import Compute
from pper_jax.models.lora import LoraConfig
from pper_jax.ranges import SEEDS, check_file_name, check_number
from pper_jax.replay import PRESETS, ReplayConfig
from pper_jax.settings import apply_overrides, load_config
from pper_jax.terminal import check_interrupted
from pper_jax.text import profile_named
from pper_jax.train.objectives import ObjectiveConfig
from pper_jax.train.optimizer import OptimizerConfig
from pper_jax.train.step import Gather

# More is a slip of the keyboard: no machine holds the arrays, or the processes.
MOST_PROGRAMS, MOST_TOKENS, MOST_ROWS, MOST_WORKERS = 10_000, 1 << 20, 1 << 16, 10_000


@dataclass(frozen=True)
class TaskSetConfig:
    """Which tasks: ``source``: a tasks file, ``NAME:SRC`` of a published set (``apps:APPS/train``), or ``micro_python``
    or ``puzzles``; ``split`` filters; ``count`` 0: all of a file.

    ``seed`` chooses among a file's tasks, or those generated; None takes the run's seed. ``order``: as the source lists
    them, the other way round, or shuffled by that seed; it matters to a run of ``tasks_per_round``.
    """

    source: str = "micro_python"
    split: str | None = None
    count: int = 0
    seed: int | None = None
    order: Literal["listed", "reversed", "shuffled"] = "listed"

    def __post_init__(self) -> None:
        check_number("count", self.count, least=0, whole=True)
        if self.seed is not None:
            check_number("seed", self.seed, least=0, below=SEEDS, whole=True)


@dataclass(frozen=True)
class TasksConfig:
    """Tasks the loop samples, and held-out sets by name that are only ever evaluated.

    A held-out task that is among the others too is refused, unless ``allow_contamination``; two different ones of one
    id always are.
    """

    train: TaskSetConfig = field(default_factory=TaskSetConfig)
    eval: dict[str, TaskSetConfig] = field(default_factory=dict)
    allow_contamination: bool = False


@dataclass(frozen=True)
class BeamSection:
    """Beam search (phase B): ``width`` programs a task; ``batch_size`` prompts at once, of long ones a part of it.

    ``method``: in its place ``sample`` draws programs at random, and ``stochastic-beam`` different ones without
    replacement, both at ``temperature``.
    ``distinct``: search twice as wide and keep at most ``width`` programs that differ in more than comments and space.
    """

    width: int = 3
    max_new_tokens: int = 128
    length_penalty: float = 0.0
    batch_size: int = 16
    distinct: bool = False
    method: Literal["beam", "sample", "stochastic-beam"] = "beam"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name, most in (("width", MOST_PROGRAMS), ("max_new_tokens", MOST_TOKENS), ("batch_size", MOST_ROWS)):
            check_number(name, getattr(self, name), least=1, most=most, whole=True)
        check_number("length_penalty", self.length_penalty, least=0)
        check_number("temperature", self.temperature, above=0)
        if self.method == "beam" and self.temperature != 1:
            raise UserError(
                f"temperature is {self.temperature}, and method beam draws nothing; leave it out, or sample"
            )
        if self.method != "beam" and self.length_penalty:
            raise UserError(f"length_penalty is {self.length_penalty}, and method {self.method} has none; leave it out")

    def decoding(self) -> BeamConfig | SampleConfig | StochasticBeamConfig:
        """The method, as the decode room has it."""
        if self.method == "beam":
            return BeamConfig(width=self.width, max_new_tokens=self.max_new_tokens, length_penalty=self.length_penalty)
        kind = SampleConfig if self.method == "sample" else StochasticBeamConfig
        return kind(num_samples=self.width, max_new_tokens=self.max_new_tokens, temperature=self.temperature)


@dataclass(frozen=True)
class EvalSection:
    """Evaluation on held-out tasks: the best beam of ``width`` (1 = greedy) is the model's answer.

    ``entropy``: so many programs a task are also drawn at temperature 1, to measure the entropy of what the model
    writes (:mod:`pper_jax.loop.entropy`); 0 draws none.
    """

    width: int = 1
    every: int = 1
    entropy: int = 0

    def __post_init__(self) -> None:
        check_number("width", self.width, least=1, most=MOST_PROGRAMS, whole=True)
        check_number("every", self.every, least=1, whole=True)
        check_number("entropy", self.entropy, least=0, most=MOST_PROGRAMS, whole=True)


@dataclass(frozen=True)
class ExecutionSection:
    """Test pool (phase T). Times in seconds of CPU a test (``trusted_s``: for checking its answer), memory in MiB.

    ``timeout_s``, ``memory_mb`` and ``compare`` hold for every task where they are given; where they are not, what a
    task has of its own does, else 4 s, 1024 MiB and ``strict``.
    ``isolation: batch`` lets programs share a process that cannot disturb each other: faster for calls.
    ``require_isolation: strong`` refuses a machine that lacks too many layers of isolation. ``backend: ray`` spreads
    the workers over a Ray cluster.
    """

    workers: int = 2
    timeout_s: float | None = None
    memory_mb: int | None = None
    compare: Literal["strict", "tokens", "official"] | None = None
    isolation: Literal["program", "batch"] = "program"
    require_isolation: Literal["strong"] | None = None
    backend: Literal["local", "ray"] = "local"
    trusted_s: float = 2.0
    output_mb: int = 8

    def __post_init__(self) -> None:
        check_number("workers", self.workers, least=1, most=MOST_WORKERS, whole=True)
        if self.memory_mb is not None:
            check_number("memory_mb", self.memory_mb, least=64, most=1 << 30, whole=True)
        if self.timeout_s is not None:
            check_number("timeout_s", self.timeout_s, above=0, most=DAY_S)
        check_number("output_mb", self.output_mb, least=1, most=2048, whole=True)
        check_number("trusted_s", self.trusted_s, above=0, most=DAY_S)

    def pool(self) -> TestPool:
        """The pool, not open yet."""
        return pool_class(self.backend)(
            workers=self.workers,
            **asked_of_pool(
                self.compare,
                self.timeout_s,
                self.memory_mb,
                trusted_s=self.trusted_s,
                output_bytes=self.output_mb * MEBIBYTE,
            ),
            isolation=self.isolation,
            require_isolation=self.require_isolation,
            watch=check_interrupted,
        )


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
    """Fine-tuning: ``steps`` optimizer steps a round; ``max_length`` tokens a row, prompt included.

    A step whose loss or gradient is not finite changes nothing; ``stop_after_skipped`` of them in a row end the run.
    """

    steps: int = 40
    batch_size: int = 32
    accumulate: int = 1
    max_length: int = 256
    checkpoint_every: int = 200
    stop_after_skipped: int = 10

    def __post_init__(self) -> None:
        check_number("steps", self.steps, least=0, whole=True)
        for name in ("accumulate", "checkpoint_every", "stop_after_skipped"):
            check_number(name, getattr(self, name), least=1, whole=True)
        check_number("batch_size", self.batch_size, least=1, most=MOST_ROWS, whole=True)
        check_number("max_length", self.max_length, least=2, most=MOST_TOKENS, whole=True)
        if self.batch_size % self.accumulate:
            raise UserError(f"batch_size is {self.batch_size}; it must be a multiple of accumulate, {self.accumulate}")


@dataclass(frozen=True)
class LearnSection(TrainSection):
    """Fine-tuning on what replay draws, for the ``objective``.

    ``stop_after_unchanged`` steps in a row that learn nothing, since every gradient or every update was exactly 0, end
    the run. ``roll_back``: where the held-out pass rate falls by more than this share below its best, training goes on
    from the parameters and the optimizer's state of the best round.

    ``packing``: programs share rows, and no more rows are computed than they fill. ``scan_layers``, ``remat`` and
    ``lean_loss`` save memory, ``attention: cudnn`` time (see :class:`pper_jax.models.Compute`). ``gather: once``:
    weights split over fsdp are gathered once a step and not by each micro-batch, and their gradients added up once;
    it takes the memory of whole weights and of a whole gradient on every device.

    ``target_tokens``: tokens to learn from, a round: training of round r ends, before ``steps`` steps, when the run has
    learnt from r times as many, which its steps share evenly. So runs whose programs differ in length can learn from
    as much, to within a program.
    """

    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    stop_after_unchanged: int = 1
    roll_back: float | None = None
    packing: bool = True
    scan_layers: bool = False
    remat: Literal["none", "dots", "full"] = "none"
    lean_loss: bool = False
    attention: Literal["cudnn"] | None = None
    gather: Gather = "each"
    target_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_tokens is not None:
            check_number("target_tokens", self.target_tokens, least=1, whole=True)
        check_number("stop_after_unchanged", self.stop_after_unchanged, least=1, whole=True)
        if self.roll_back is not None:
            check_number("roll_back", self.roll_back, least=0, most=1)
        self.compute()
        if self.objective.pairs and self.batch_size // self.accumulate % 2:
            raise UserError(
                f"batch_size is {self.batch_size} with accumulate {self.accumulate}; the objective "
                f"{self.objective.name} learns from pairs, so each part must have an even number of programs"
            )

    def compute(self, given: Compute = Compute()) -> Compute:  # noqa: B008 (it is frozen)
        """How the model is computed in training: ``given`` with these options."""
        asked = {name: getattr(self, name) for name in ("scan_layers", "remat", "lean_loss", "attention")}
        return replace(given, **asked)


@dataclass(frozen=True)
class MeshSection:
    """Sizes of the mesh axes; -1 (at most one) takes the devices that are left."""

    data: int = -1
    fsdp: int = 1
    tp: int = 1


@dataclass(frozen=True)
class SourceSection:
    """One source of a round's programs, and its ``weight`` among several.

    ``kind``: ``self``, the model's own beams; ``samples``, a samples file or a folder of programs, ``path``;
    ``teacher``, the beams of another local model, ``path``, asked by ``profile`` (None: the run's).
    """

    kind: Literal["self", "samples", "teacher"] = "self"
    path: str | None = None
    weight: float = 1.0
    profile: str | None = None

    def __post_init__(self) -> None:
        check_number("weight", self.weight, above=0)
        if (self.path is None) != (self.kind == "self"):
            raise UserError(
                f"path is {self.path or 'missing'} with kind {self.kind}; kind samples needs a samples file or folder, "
                "kind teacher a model, and kind self takes none"
            )
        if self.profile is not None:
            if self.kind != "teacher":
                raise UserError(f"profile is {self.profile} with kind {self.kind}; only a teacher is asked by its own")
            profile_named(self.profile)


def check_objective(objective: ObjectiveConfig, rules: ReplayConfig) -> None:
    """Raise UserError where ``objective`` needs programs that the buffer never holds, or draws that it never makes."""
    most_failed = rules.store == "solved" or rules.min_pass_rate >= 1
    lacks = {
        "raft": "solved" if rules.store == "failed" else "",
        "dpo": "failed" if most_failed else "solved" if rules.store == "failed" else "",
        "unlikelihood": "failed" if most_failed or rules.min_pass_rate > 0 else "",
    }.get(objective.name)
    if lacks:
        raise UserError(
            f"train.objective is {objective.name}, which needs {lacks} programs, and the buffer holds none with "
            f"replay.store {rules.store} and replay.min_pass_rate {rules.min_pass_rate:g}; set replay.store: all and "
            "replay.min_pass_rate: 0, or take another objective"
        )
    if objective.pairs and (rules.fresh > 0 or not rules.replacement):
        raise UserError(
            f"train.objective is {objective.name}, which draws pairs with replacement from all that is stored; leave "
            "replay.fresh and replay.replacement out"
        )


@dataclass(frozen=True)
class RunConfig:
    """One BTP run (``pper run``).

    ``samples`` (a samples file, or a folder of programs), ``teacher`` (a model) or a mixture of ``sources`` by name
    give a round its programs in the place of the model's own beams. ``tasks_per_round``: a round takes only so many of
    ``tasks.train``, the next ones in their order and around; 0 takes all in every round. ``profile``: how the model is
    asked; ``examples``: the tasks file with what it shows (None: that of ``tasks.train``).
    """

    name: str
    model: str
    seed: int = 0
    rounds: int = 1
    tasks_per_round: int = 0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    out: str = "runs"
    tensorboard: bool = False
    samples: str | None = None
    teacher: str | None = None
    sources: dict[str, SourceSection] = field(default_factory=dict)
    profile: str = "base"
    examples: str | None = None
    tasks: TasksConfig = field(default_factory=TasksConfig)
    beam: BeamSection = field(default_factory=BeamSection)
    evaluation: EvalSection = field(default_factory=EvalSection)
    execution: ExecutionSection = field(default_factory=ExecutionSection)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: LearnSection = field(default_factory=LearnSection)
    lora: LoraConfig = field(default_factory=LoraConfig)
    mesh: MeshSection = field(default_factory=MeshSection)
    distributed: DistributedSection = field(default_factory=DistributedSection)

    def __post_init__(self) -> None:
        """Check what is the run's own; each section has judged its own numbers."""
        check_number("seed", self.seed, least=0, below=SEEDS, whole=True)
        check_number("rounds", self.rounds, least=0, most=999_999, whole=True)
        check_number("tasks_per_round", self.tasks_per_round, least=0, whole=True)
        check_file_name("name", self.name)
        for split in self.tasks.eval:
            check_file_name("a name of tasks.eval", split)
        self._check_sources()
        check_objective(self.train.objective, self.replay)
        if self.replay.fresh > 0 and not self.replay.fresh_draws(self.train.batch_size):
            raise UserError(
                f"replay.fresh is {self.replay.fresh}, which of a batch of {self.train.batch_size} is no program; "
                "raise it, or leave it out"
            )
        if self.train.roll_back is not None and not self.tasks.eval:
            raise UserError("train.roll_back goes by held-out tasks, and there are none; give some under tasks.eval")

    def _check_sources(self) -> None:
        given = [name for name in ("samples", "teacher", "sources") if getattr(self, name)]
        if len(given) > 1:
            raise UserError(
                f"{' and '.join(given)} are given, and each says where programs come from; name all under sources, "
                "each with its kind, path and weight"
            )
        for name in self.sources:
            check_file_name("a name of sources", name)
        if self.tasks_per_round and any(origin.kind == "teacher" for origin in self.origins().values()):
            raise UserError(
                f"tasks_per_round is {self.tasks_per_round}, and a teacher writes once in a run, for all tasks; leave "
                "one of them out"
            )
        if self.examples is not None and not profile_named(self.profile).shots:
            raise UserError(f"examples is {self.examples}, and profile {self.profile} shows none; leave it out")
        profile_named(self.profile)

    def origins(self) -> dict[str, SourceSection]:
        """The sources of a round's programs by name, whichever key gives them."""
        if self.samples is not None:
            return {"samples": SourceSection("samples", self.samples)}
        if self.teacher is not None:
            return {"teacher": SourceSection("teacher", self.teacher)}
        return self.sources or {"self": SourceSection()}
