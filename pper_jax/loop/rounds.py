"""The BTP loop (arXiv 2410.12236, Algorithm 1), round after round: Beam search, Test, Prioritized replay and training.

Reads from top to bottom like the algorithm. The same call resumes an interrupted run: every phase keeps what it has
finished, and training continues from the last checkpoint with the same draws.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pper_jax import evaluation, replay
from pper_jax.decode import BeamConfig
from pper_jax.errors import UserError
from pper_jax.execution import Limits, pool_class
from pper_jax.files import RunFolder, append_jsonl, dump_jsonl, read_jsonl, write_atomic, write_json
from pper_jax.learn import make_learn_step
from pper_jax.loop.checkpoint import Checkpoints
from pper_jax.loop.config import RunConfig, TaskSetConfig
from pper_jax.loop.metrics import MetricsWriter
from pper_jax.loop.opening import open_run
from pper_jax.loop.store import replay_items
from pper_jax.models import load_model, resolve_model, save_model
from pper_jax.programs import LanguageModel, count_statuses, encode_prompts, run_tests, sample_tasks
from pper_jax.replay import draw_reason, draw_rows
from pper_jax.report import write_report
from pper_jax.sharding import make_mesh
from pper_jax.tasks import Sample, Task, load_tasks, write_tasks
from pper_jax.terminal import Progress
from pper_jax.train import init_train_state, make_optimizer

REPLAYED_SHOWN = 10


def run(config: RunConfig, *, fresh: bool = False) -> RunFolder:
    """Run or resume the loop that ``config`` describes; returns the run's folder, finished.

    Raises:
        UserError: bad tasks or model, a prompt beyond the context, another configuration's folder.
        RunFailure: a disk or the test pool failed; calling again resumes.
    """
    folder = RunFolder(Path(config.out) / config.name)
    if fresh or not folder.finished:
        prepared = Run(config, folder)  # bad tasks or a bad model are said before anything is written
        open_run(config, fresh=fresh)
        with prepared as run:
            run.rounds()
            run.finish()
    else:
        open_run(config, fresh=False)
    write_report([folder.path], folder.report)
    return folder


@dataclass
class Position:
    """Where training stands: ``step`` optimizer steps of round ``round`` are done and saved."""

    round: int = 0
    step: int = 0


class Run:
    """The loop's state between rounds, and the effects (files, pool, progress) around the pure functions."""

    def __init__(self, config: RunConfig, folder: RunFolder) -> None:
        self.config, self.folder = config, folder
        self.tasks = task_set(config.tasks.train, config.seed, "tasks.train")
        self.held_out = {
            name: task_set(spec, config.seed, f"tasks.eval.{name}") for name, spec in config.tasks.eval.items()
        }
        _refuse_leaks(self.tasks, self.held_out)
        self.mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tp)
        self.module, params, self.tokenizer = load_model(
            resolve_model(config.model), dtype=compute_dtype(config.dtype), mesh=self.mesh
        )
        self._check_lengths()
        total_steps = config.rounds * config.train.steps
        self.optimizer = make_optimizer(config.optimizer, max(1, total_steps))
        self.replay_config = config.replay
        self.state = init_train_state(params, self.optimizer, jax.random.key(config.seed), self.mesh)
        self.buffer = replay.init(self.replay_config, max_length=config.train.max_length)
        self.position = Position()
        self.learn_step = make_learn_step(
            self.module,
            self.optimizer,
            self.state,
            self.mesh,
            self.replay_config,
            batch_size=config.train.batch_size,
            accumulate=config.train.accumulate,
        )

    def __enter__(self) -> Run:
        """Open the effects, and put the state where the last checkpoint left it."""
        limits = Limits(timeout_s=self.config.execution.timeout_s, memory_mb=self.config.execution.memory_mb)
        if not self.folder.tasks.exists():
            write_tasks(self.folder.tasks, [*self.tasks, *(t for tasks in self.held_out.values() for t in tasks)])
        self.checkpoints = Checkpoints(self.folder.checkpoints)
        restored = self.checkpoints.latest((self.state, replay.to_checkpoint(self.buffer)))
        if restored is not None:
            (self.state, saved), position = restored
            self.buffer = replay.from_checkpoint(saved)
            self.position = Position(**position)
            say(f"resuming after round {self.position.round}, training step {self.position.step}")
        self._rewind()
        self.metrics = MetricsWriter(
            self.folder.metrics, tensorboard=self.folder.path / "tensorboard" if self.config.tensorboard else None
        )
        self.pool = pool_class(self.config.execution.backend)(
            workers=self.config.execution.workers,
            limits=limits,
            compare=self.config.execution.compare,
            isolation=self.config.execution.isolation,
            require_isolation=self.config.execution.require_isolation,
        ).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Close pool, metrics and checkpoints, also after an interruption."""
        self.pool.__exit__(*error)
        self.metrics.close()
        self.checkpoints.close()

    # ---------------------------------------------------------------- the algorithm

    def rounds(self) -> None:
        """Evaluate, then for each round: sample, test, learn, evaluate."""
        for index in range(self.position.round, self.config.rounds + 1):
            if index > 0 and not self._learned(index):
                samples = self._sample(index)
                verdicts = self._test(index, samples)
                self._learn(index, samples, verdicts)
            if index in (0, self.config.rounds) or index % self.config.evaluation.every == 0:
                self._evaluate(index)

    def _sample(self, index: int) -> list[Sample]:
        """Phase B: ``beam.width`` programs a task, by beam search."""
        beam = self.config.beam
        config = BeamConfig(width=beam.width, max_new_tokens=beam.max_new_tokens, length_penalty=beam.length_penalty)
        path = self.folder.samples(f"round_{index:03d}")
        with self._phase(index, "sample") as clock:
            samples = sample_tasks(
                self._model(),
                self.tasks,
                path,
                config,
                batch_size=beam.batch_size,
                label=f"round {index}: sample",
                only_distinct=beam.distinct,
            )
        tokens = sum(sample.num_tokens or 0 for sample in samples)
        self._log("sample", index, programs=len(samples), tokens=tokens, seconds=clock.seconds)
        return samples

    def _test(self, index: int, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """Phase T: every program runs on its task's tests, outside this process."""
        path = self.folder.verdicts(f"round_{index:03d}")
        with self._phase(index, "test") as clock:
            rows = run_tests(self.pool, self.tasks, samples, path, label=f"round {index}: test")
        judged = [row for row in rows if row["status"] != "infrastructure"]
        self._log(
            "test",
            index,
            programs=len(rows),
            seconds=clock.seconds,
            statuses=count_statuses(rows),
            pass_rate=_mean([row["pass_rate"] for row in judged]),
            accuracy=_mean([row["pass_rate"] == 1 for row in judged]),
        )
        return rows

    def _learn(self, index: int, samples: Sequence[Sample], verdicts: Sequence[dict[str, Any]]) -> None:
        """Phase P: store the programs, draw by priority, fine-tune ``train.steps`` steps, checkpoint."""
        if self.position.round < index:
            self.position = Position(round=index, step=0)
            self._store(index, samples, verdicts)
        self._log_replay(index)
        train = self.config.train
        if int(self.buffer.filled.sum()) == 0:
            say(f"round {index}: the replay buffer is empty (nothing to store), so nothing is trained")
            self.position.step = train.steps
        pending: list[tuple[int, Any]] = []
        with (
            self._phase(index, "train"),
            Progress(f"round {index}: train", train.steps, done=self.position.step, unit="steps") as progress,
        ):
            for step in range(self.position.step, train.steps):
                self.state, self.buffer, metrics, draw, programs = self.learn_step(self.state, self.buffer)
                pending.append((step + 1, (metrics, draw, programs)))
                if len(pending) > 1 and step % 5 == 4:  # one step late: the newest step goes on meanwhile
                    progress.note(f"loss {self._write_steps(index, pending[:-1]):.4f}")
                    pending = pending[-1:]
                progress.update(1)
                if (step + 1) % train.checkpoint_every == 0 and step + 1 < train.steps:
                    self._write_steps(index, pending)
                    pending = []
                    self._checkpoint(index, step + 1)
            self._write_steps(index, pending)
        with self._phase(index, "save"):
            self._checkpoint(index, train.steps)

    def _evaluate(self, index: int) -> None:
        """The best program of a beam for every held-out task, tested: pass rate and accuracy with intervals."""
        section = self.config.evaluation
        config = BeamConfig(width=section.width, max_new_tokens=self.config.beam.max_new_tokens, num_return=1)
        with self._phase(index, "evaluate"):
            for name, tasks in self.held_out.items():
                label = f"round {index}: {name}"
                samples = sample_tasks(
                    self._model(),
                    tasks,
                    self.folder.samples(f"eval_{index:03d}_{name}"),
                    config,
                    batch_size=self.config.beam.batch_size,
                    label=f"{label} sample",
                )
                path = self.folder.verdicts(f"eval_{index:03d}_{name}")
                rates = _pass_rates(run_tests(self.pool, tasks, samples, path, label=f"{label} test"))
                figures = evaluation.summarise(rates, seed=self.config.seed)
                self._log("eval", index, split=name, **figures)
                say(
                    f"round {index}, {name}, {figures['tasks']} tasks: "
                    f"pass rate {100 * figures['pass_rate']:.1f} %, accuracy {100 * figures['accuracy']:.1f} %"
                )

    # ---------------------------------------------------------------- after the last round

    def finish(self) -> None:
        """Write the model, what was replayed most, and the summary: the run is finished when it is there."""
        save_model(self.folder.model, self.module, jax.device_get(self.state.params), self.tokenizer)
        write_json(self.folder.replayed, {"programs": self._most_replayed()})
        self._write_buffer()
        splits = {name: self._gain(name) for name in self.held_out}
        write_json(
            self.folder.summary,
            {
                "name": self.config.name,
                "seed": self.config.seed,
                "rounds": self.config.rounds,
                "splits": splits,
                "programs": self._programs_before(self.config.rounds + 1),
                "train_steps": int(self.state.step),
                "finished": True,
            },
        )

    def _gain(self, split: str) -> dict[str, Any]:
        """Before and after on one held-out split, with the paired difference and its bootstrap interval."""
        first, last = (
            _pass_rates(read_jsonl(self.folder.verdicts(f"eval_{index:03d}_{split}")))
            for index in (0, self.config.rounds)
        )
        return evaluation.compare(first, last, seed=self.config.seed)

    def _most_replayed(self) -> list[dict[str, Any]]:
        """The programs drawn most often, with the reason of their last draw."""
        draws: dict[int, dict[str, Any]] = {}
        times: dict[int, int] = {}
        for index in range(1, self.config.rounds + 1):
            path = self.folder.draws(index)
            for row in read_jsonl(path) if path.exists() else []:
                draws[row["program"]] = row
                times[row["program"]] = times.get(row["program"], 0) + 1
        prompts = {task.task_id: task.prompt for task in self.tasks}
        table = [(r, s) for r in range(1, self.config.rounds + 1) for s in self._programs(r)]
        top = sorted(times, key=lambda program: (-times[program], program))[:REPLAYED_SHOWN]
        return [
            {
                "task_id": table[program][1].task_id,
                "prompt": prompts[table[program][1].task_id],
                "completion": table[program][1].completion,
                "round": table[program][0],
                "times_drawn": times[program],
                **{key: draws[program][key] for key in ("possibility", "pass_rate", "p2value", "rank", "probability")},
                "reason": draw_reason(draws[program], self.replay_config),
            }
            for program in top
        ]

    # ---------------------------------------------------------------- pieces

    def _model(self) -> LanguageModel:
        return LanguageModel(self.module, self.state.params, self.tokenizer, self.config.model)

    def _learned(self, index: int) -> bool:
        return self.position.round == index and self.position.step == self.config.train.steps

    def _programs(self, index: int) -> list[Sample]:
        return [Sample.from_json(row) for row in read_jsonl(self.folder.samples(f"round_{index:03d}"))]

    def _programs_before(self, index: int) -> int:
        return sum(len(self._programs(r)) for r in range(1, index))

    def _check_lengths(self) -> None:
        limit = min(self.config.train.max_length, self.module.config.max_positions)
        model = LanguageModel(self.module, None, self.tokenizer, "")
        for task, tokens in zip(self.tasks, encode_prompts(model, self.tasks), strict=True):
            if len(tokens) + self.config.beam.max_new_tokens > limit:
                raise UserError(
                    f"task {task.task_id} has a prompt of {len(tokens)} tokens, which with beam.max_new_tokens="
                    f"{self.config.beam.max_new_tokens} is beyond {limit} (the smaller of train.max_length and the "
                    "model's context); raise train.max_length or leave the task out"
                )

    def _store(self, index: int, samples: Sequence[Sample], verdicts: Sequence[dict[str, Any]]) -> None:
        items = replay_items(
            self.tasks,
            encode_prompts(self._model(), self.tasks),
            samples,
            verdicts,
            round_index=index,
            first_program=self._programs_before(index),
            eos=self._model().eos_ids,
            max_length=self.config.train.max_length,
        )
        self.buffer = replay.add(self.buffer, items, self.replay_config)

    def _log_replay(self, index: int) -> None:
        figures = replay.describe(self.buffer, self.replay_config)
        self._log("replay", index, **figures)
        for warning in figures["warnings"]:
            say(f"round {index}: {warning}")
        self._write_buffer()

    def _write_buffer(self) -> None:
        """The buffer as `pper replay inspect` shows it."""
        rows = replay.table(self.buffer)
        named = [{**row, "task": self.tasks[row["task"]].task_id} for row in rows]
        write_atomic(self.folder.buffer, dump_jsonl(named))

    def _write_steps(self, index: int, steps: Sequence[tuple[int, Any]]) -> float:
        """Append metrics and draws of finished steps; returns the last loss."""
        loss = float("nan")
        for step, arrays in steps:
            metrics, draw, programs = jax.device_get(arrays)
            loss = float(metrics.loss)
            self._log("train", index, step=step, loss=loss, grad_norm=float(metrics.grad_norm))
            append_jsonl(self.folder.draws(index), [{"step": step, **row} for row in draw_rows(draw, programs)])
        return loss

    def _checkpoint(self, index: int, step: int) -> None:
        self.position = Position(round=index, step=step)
        self.checkpoints.save((self.state, replay.to_checkpoint(self.buffer)), {"round": index, "step": step})

    def _rewind(self) -> None:
        """Forget metrics and draws beyond the checkpoint: the resumed run writes the same ones again."""
        here = (self.position.round, self.position.step)
        MetricsWriter.rewrite(
            self.folder.metrics,
            lambda row: row.get("event") != "train" or (row.get("round", 0), row.get("step", 0)) <= here,
        )
        for index in range(max(1, self.position.round), self.config.rounds + 1):
            last = self.position.step if index == self.position.round else 0
            MetricsWriter.rewrite(self.folder.draws(index), partial(_not_after, last))

    @contextmanager
    def _phase(self, index: int, phase: str) -> Iterator[Clock]:
        clock = Clock(time.monotonic())
        yield clock
        clock.seconds = time.monotonic() - clock.began
        self._log("phase", index, phase=phase, seconds=clock.seconds)

    def _log(self, event: str, index: int, **figures: Any) -> None:
        self.metrics.write({"event": event, "round": index, **figures})


@dataclass
class Clock:
    """Seconds of wall clock that a phase took."""

    began: float
    seconds: float = 0.0


def _not_after(last: int, row: dict[str, Any]) -> bool:
    return bool(row["step"] <= last)


def say(sentence: str) -> None:
    """One line for the person who watches."""
    print(sentence, flush=True)


def task_set(spec: TaskSetConfig, run_seed: int, where: str) -> list[Task]:
    """The tasks that a ``TaskSetConfig`` names, in a fixed order."""
    seed = run_seed if spec.seed is None else spec.seed
    tasks = load_tasks(spec.source, split=spec.split, count=spec.count, seed=seed)
    if not tasks:
        raise UserError(f"{where} selects no task from {spec.source} (split {spec.split}); check source and split")
    return tasks


def _refuse_leaks(train: Sequence[Task], held_out: dict[str, list[Task]]) -> None:
    ids = {task.task_id for task in train}
    for name, tasks in held_out.items():
        shared = [task.task_id for task in tasks if task.task_id in ids]
        if shared:
            raise UserError(f"{len(shared)} tasks of tasks.eval.{name}, such as {shared[0]}, are in tasks.train too")


def compute_dtype(name: str) -> str:
    """``auto``: bfloat16 on accelerators, float32 on the CPU (where bfloat16 is slower)."""
    if name != "auto":
        return name
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"


def _pass_rates(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Pass rate of each task's program, ``[tasks]``; a fault of ours is NaN and left out of every figure."""
    return np.array([np.nan if row["status"] == "infrastructure" else row["pass_rate"] for row in rows])


def _mean(values: Sequence[Any]) -> float | None:
    return float(np.mean(values)) if values else None
