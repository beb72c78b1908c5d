"""What a run is made of: built once from its configuration, and never changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax import replay
from pper_jax.decode import shared_prefix
from pper_jax.errors import UserError
from pper_jax.files import digest, digest_path, model_folder
from pper_jax.learn import LearnStep, make_learn_step
from pper_jax.loop.asking import Asking
from pper_jax.loop.config import RunConfig, TaskSetConfig
from pper_jax.loop.distributed import Team
from pper_jax.loop.keys import stream
from pper_jax.loop.leaks import refuse_leaks
from pper_jax.loop.origins import open_source, run_profile
from pper_jax.loop.sources import Source
from pper_jax.loop.state import LoopState, init_loop_state
from pper_jax.models import CausalLM, load_model, on_mesh, read_ends, resolve_model, rules_of
from pper_jax.models.lora import init_adapters, merge
from pper_jax.programs import LanguageModel, encode_prompts
from pper_jax.sharding import check_axes, check_batch, make_mesh, place
from pper_jax.tasks import Task, load_tasks
from pper_jax.train import init_train_state, make_objective, make_optimizer, target_logprobs
from pper_jax.types import Params, TrainBatch, TrainState

_merged = jax.jit(merge, static_argnames="config")


@dataclass(frozen=True)
class Parts:
    """The parts of a run.

    Attributes:
        config: what was asked.
        model: module and tokenizer, with no parameters: those are in the state.
        optimizer: the Optax chain.
        mesh: the devices.
        learn: the compiled draw -> train -> write back.
        base: the parameters below the adapters, where those are trained.
        reference: the parameters that the run begins with, where the objective looks at them.
        score: compiled ``(parameters, batch) -> [B, T]``, the log-probability of each target.
        rules: the replay room's options.
        tasks: those that are learnt from.
        prompts: their token ids, in the same order.
        held_out: sets that are only ever evaluated, by name.
        source: where a round's programs come from.
        asking: what a resume has to agree with.
        team: the processes that work on the run.
    """

    config: RunConfig
    model: LanguageModel
    optimizer: optax.GradientTransformation
    mesh: Mesh
    learn: LearnStep
    base: Params | None
    reference: Params | None
    score: Callable[[Params, TrainBatch], jax.Array]
    rules: replay.ReplayConfig
    tasks: Sequence[Task]
    prompts: Sequence[Sequence[int]]
    held_out: Mapping[str, Sequence[Task]]
    source: Source
    asking: Asking
    team: Team = Team()  # noqa: RUF009 (it is frozen)

    def tasks_of(self, index: int) -> Sequence[Task]:
        """The tasks of round ``index``, 1 for the first: all, or the next ``tasks_per_round``, around."""
        few = self.config.tasks_per_round or len(self.tasks)
        first = (index - 1) * few
        return [self.tasks[place % len(self.tasks)] for place in range(first, first + few)]

    def empty_buffer(self) -> replay.ReplayState:
        """A replay buffer without programs, a copy on every device: the learn step compiles for that alone."""
        width = self.config.train.max_length
        row = replay.example_row(width, column_shapes(self.config.train.objective.needs, width))
        return self.everywhere(replay.init(self.rules, row))

    def everywhere(self, tree: Any) -> Any:
        """Arrays that every process has, as copies on every device of the mesh."""
        whole = NamedSharding(self.mesh, PartitionSpec())
        return place(tree, jax.tree.map(lambda _: whole, tree))

    def weights(self, train: TrainState) -> Params:
        """The model's parameters: those that are trained, or the base with what is trained merged into it."""
        if self.base is None:
            return train.params
        return _merged(self.base, train.params, config=self.config.lora)

    def writer(self, state: LoopState) -> LanguageModel:
        """The model as it stands, under the name that goes into its samples."""
        rounds = int(state.round)
        name = self.config.model if rounds == 0 else f"{self.config.model}, after round {rounds}"
        return replace(self.model, params=self.team.params(self.weights(state.train)), name=name)


def build(
    config: RunConfig,
    *,
    source: Source | None = None,
    horizon: int = 0,
    team: Team = Team(),  # noqa: B008 (it is frozen)
    **learn_options: Any,
) -> tuple[Parts, LoopState]:
    """The parts of a run and the state that it begins with; nothing is written.

    Args:
        config: the run's configuration.
        source: where programs come from, in the place of what the configuration says.
        horizon: optimizer steps that the schedule is laid out for; 0 takes those of the configuration's rounds.
        team: the processes that work on the run.
        learn_options: handed to :func:`pper_jax.learn.make_learn_step`, such as ``objective``.

    Raises:
        UserError: bad tasks or model, held-out tasks among those of the training, a prompt beyond the context, a mesh
            that does not fit the devices or does not divide the batch.
    """
    tasks = task_set(config.tasks.train, config.seed, "tasks.train")
    if config.tasks_per_round > len(tasks):
        raise UserError(f"tasks_per_round is {config.tasks_per_round}, and tasks.train has {len(tasks)}; lower it")
    held_out = {name: task_set(spec, config.seed, f"tasks.eval.{name}") for name, spec in config.tasks.eval.items()}
    refuse_leaks(tasks, held_out, allowed=config.tasks.allow_contamination)
    sets = {"train": tasks, **{f"eval.{name}": chosen for name, chosen in held_out.items()}}
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tp)
    check_batch(config.train.batch_size, config.train.accumulate, mesh, "train.batch_size")
    digests: dict[str, str] = {}
    if source is None:
        source, digests = open_source(config, tasks, compute_dtype(config.dtype), team.mesh(mesh))
    path = model_folder(resolve_model(config.model))
    module, params, tokenizer = load_model(path, dtype=compute_dtype(config.dtype), mesh=mesh)
    ends, profile = read_ends(path, tokenizer), run_profile(config, config.profile)
    model = LanguageModel(module, None, tokenizer, config.model, ends, mesh=team.mesh(mesh), profile=profile)
    check_axes(params, mesh, rules_of(module))
    prompts = encode_prompts(model, tasks)
    _check_lengths(config, module.config.max_positions, tasks, prompts)
    horizon = horizon or max(1, config.rounds * config.train.steps)
    optimizer = make_optimizer(config.optimizer, horizon)
    base, trained = None, params
    if config.lora.rank:
        base, trained = params, init_adapters(config.lora, params, stream(config.seed, "lora"))
    train = init_train_state(trained, optimizer, stream(config.seed, "replay"), mesh, rules_of(module))
    reference = None
    if "reference_logprobs" in config.train.objective.needs:  # the trained parameters themselves are given away
        reference = jax.tree.map(jnp.copy, params) if base is None else base
    parts = Parts(
        config=config,
        model=model,
        optimizer=optimizer,
        mesh=mesh,
        learn=_learn_step(config, module, optimizer, train, mesh, base, prompts, learn_options),
        base=base,
        reference=reference,
        score=jax.jit(
            partial(target_logprobs, on_mesh(module, mesh)), out_shardings=NamedSharding(mesh, PartitionSpec())
        ),
        rules=config.replay,
        tasks=tasks,
        prompts=prompts,
        held_out=held_out,
        source=source,
        asking=Asking(
            tasks={name: digest([task.to_json() for task in chosen]) for name, chosen in sets.items()},
            model=digest_path(path),
            horizon=horizon,
            sources=digests,
        ),
        team=team,
    )
    return parts, init_loop_state(train, parts.empty_buffer(), keep_best=config.train.roll_back is not None)


def column_shapes(needs: Set[str], max_length: int) -> dict[str, Any]:
    """Shape and dtype of a row's columns by name: of those that an objective needs and not every row has anyway."""
    number, tokens = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((), (max_length,)))
    shapes = {"advantage": number, "sampler_logprobs": tokens, "reference_logprobs": tokens}
    return {name: shape for name, shape in shapes.items() if name in needs}


def _learn_step(
    config: RunConfig,
    module: CausalLM,
    optimizer: optax.GradientTransformation,
    train: TrainState,
    mesh: Mesh,
    base: Params | None,
    prompts: Sequence[Sequence[int]],
    given: Mapping[str, Any],
) -> LearnStep:
    options: dict[str, Any] = {
        "batch_size": config.train.batch_size,
        "accumulate": config.train.accumulate,
        "objective": make_objective(config.train.objective),
        "pairs": config.train.objective.pairs,
        "base": base,
        "lora": config.lora,
        "packing": config.train.packing,
        "shared": len(shared_prefix(prompts)),
        "gather": config.train.gather,
        "limited": config.train.target_tokens is not None,
    }
    module = module.clone(compute=config.train.compute(module.compute))
    return make_learn_step(module, optimizer, train, mesh, config.replay, **{**options, **given})


def task_set(spec: TaskSetConfig, run_seed: int, where: str) -> list[Task]:
    """The tasks that a ``TaskSetConfig`` names, in a fixed order."""
    seed = run_seed if spec.seed is None else spec.seed
    tasks = load_tasks(spec.source, split=spec.split, count=spec.count, seed=seed)
    if not tasks:
        raise UserError(f"{where} selects no task from {spec.source} (split {spec.split}); check source and split")
    if spec.order == "shuffled":
        random.Random(f"order {seed}").shuffle(tasks)
    return tasks[::-1] if spec.order == "reversed" else tasks


def compute_dtype(name: str) -> str:
    """``auto``: bfloat16 on accelerators, float32 on the CPU (where bfloat16 is slower)."""
    if name != "auto":
        return name
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"


def _check_lengths(config: RunConfig, context: int, tasks: Sequence[Task], prompts: Sequence[Sequence[int]]) -> None:
    limit = min(config.train.max_length, context)
    for task, tokens in zip(tasks, prompts, strict=True):
        if len(tokens) + config.beam.max_new_tokens > limit:
            raise UserError(
                f"task {task.task_id[:100]} has a prompt of {len(tokens)} tokens, which with beam.max_new_tokens="
                f"{config.beam.max_new_tokens} is beyond {limit} (the smaller of train.max_length and the "
                "model's context); raise train.max_length or leave the task out"
            )
