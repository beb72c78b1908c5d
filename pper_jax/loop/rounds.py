"""The BTP loop (arXiv 2410.12236, Algorithm 1), round after round: Beam search, Test, Prioritized replay and training.

Reads from top to bottom like the algorithm. The same call resumes an interrupted run: what a phase has finished is
kept, nothing of a round is touched once its programs are stored, and training goes on from the last checkpoint with the
same draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pper_jax import evaluation, replay
from pper_jax.decode import BeamConfig
from pper_jax.errors import RunFailure
from pper_jax.execution import TestPool
from pper_jax.files import RunFolder, read_jsonl
from pper_jax.loop.checkpoint import Checkpoints
from pper_jax.loop.columns import with_columns
from pper_jax.loop.config import RunConfig
from pper_jax.loop.distributed import joined, programs_of, programs_of_the_first, verdicts_of
from pper_jax.loop.ending import finish, is_finished
from pper_jax.loop.entropy import measure_entropy
from pper_jax.loop.journal import Journal, Onlooker
from pper_jax.loop.mixture import SOURCE
from pper_jax.loop.opening import claimed, horizon_of, is_same, open_run
from pper_jax.loop.parts import Parts, build
from pper_jax.loop.sources import ModelSource
from pper_jax.loop.state import LoopState
from pper_jax.loop.store import replay_items
from pper_jax.models import rules_of
from pper_jax.programs import count_statuses, run_tests, sample_tasks
from pper_jax.programs.language_model import LanguageModel, laid_out
from pper_jax.report import write_report
from pper_jax.sharding import unfollowed
from pper_jax.tasks import Sample, Task, evaluation_task
from pper_jax.terminal import Interrupted, Progress, say

LOOK_EVERY = 5  # training steps between two looks at the device


def run(config: RunConfig, *, fresh: bool = False, given: Mapping[str, Path] | None = None, **seams: Any) -> RunFolder:
    """Run or resume the loop that ``config`` describes; returns the run's folder, finished.

    ``given``: programs and verdicts that a new run begins with, by their place in its folder: what it would otherwise
    have to make first, such as ``samples/round_001.jsonl``. ``seams``: what :func:`pper_jax.loop.parts.build`
    takes, such as an objective or a source of one's own.

    Raises:
        UserError: bad tasks or model, a prompt beyond the context, another asking's folder.
        RunFailure: a disk or the test pool failed, or training did not recover; calling again resumes.
    """
    folder = RunFolder(Path(config.out) / config.name)
    with joined(config.distributed) as team:
        if team.first_says(not fresh and is_finished(folder, config.rounds) and is_same(folder, config)):
            if team.leads:
                write_report([folder.path], folder.report)
            return folder
        # Bad tasks or a bad model are said before anything is written.
        horizon = team.first_says(0 if fresh else horizon_of(folder))
        parts, state = build(config, horizon=horizon, team=team, **seams)
        with ExitStack() as stack:
            if team.leads:
                stack.enter_context(claimed(folder))
                open_run(folder, parts, fresh=fresh, given=given or {})
            team.first_says(None)  # the folder is there
            _rounds(parts, state, folder, stack)
        if team.leads:
            write_report([folder.path], folder.report)
    return folder


def _rounds(parts: Parts, state: LoopState, folder: RunFolder, stack: ExitStack) -> None:
    """All rounds from where ``state`` or the folder's last checkpoint stands; what is opened goes on ``stack``."""
    config, team = parts.config, parts.team
    for sentence in unfollowed(state.train.params, parts.mesh, rules_of(parts.model.module)):
        say(sentence)
    checkpoints = stack.enter_context(Checkpoints(folder.checkpoints))
    opened = Journal if team.leads else Onlooker
    journal = stack.enter_context(opened(folder, steps=config.train.steps, tensorboard=config.tensorboard))
    state = resumed(checkpoints, state)
    journal.rewind(state.position(), config.rounds)
    journal.target_tokens = team.first_says(journal.target_tokens)
    pool = stack.enter_context(config.execution.pool())
    for index in range(int(state.round), config.rounds + 1):
        is_new = index > int(state.round)
        if is_new:
            samples = write(parts, state, journal, index)
            verdicts = test(parts, pool, samples, journal, index)
            state = store(parts, state, samples, verdicts, journal, index)
        if is_new or (index > 0 and int(state.step) < config.train.steps):
            state = learn(parts, state, journal, checkpoints, index)
        if index in (0, config.rounds) or index % config.evaluation.every == 0:
            rate = evaluate(parts, state, pool, journal, index)
            state = guard(parts, state, journal, index, rate)
    finish(parts, state, folder)


def resumed(checkpoints: Checkpoints, state: LoopState) -> LoopState:
    """The state of the last checkpoint, or the one that the run begins with."""
    found = checkpoints.latest(state)
    if found is None:
        return state
    say(f"resuming after round {int(found.round)}, training step {int(found.step)}")
    return found


def write(parts: Parts, state: LoopState, journal: Journal, index: int) -> list[Sample]:
    """Phase B: programs for every task, by beam search or from wherever the source has them."""
    path = journal.samples(f"round_{index:03d}")
    with journal.phase(index, "sample") as clock:
        if parts.team.count == 1 and path.exists():
            samples = [Sample.from_json(row, f"{path}, a row") for row in read_jsonl(path)]
        else:
            samples = _written(parts, parts.writer(state), path, index)
    tokens = sum(sample.num_tokens or 0 for sample in samples)
    more = {}
    if parts.config.sources:
        more["sources"] = dict(Counter(sample.extra[SOURCE] for sample in samples))
    journal.log("sample", index, programs=len(samples), tokens=tokens, seconds=clock.seconds, **more)
    return samples


def _written(parts: Parts, model: LanguageModel, path: Path, index: int) -> list[Sample]:
    def own(tasks: Sequence[Task], path: Path) -> list[Sample]:
        return parts.source.write(model, tasks, path, round_index=index, label=f"round {index}: sample")

    if parts.team.count == 1 or isinstance(parts.source, ModelSource):
        return programs_of(parts.team, parts.tasks_of(index), path, own)
    return programs_of_the_first(parts.team, lambda: own(parts.tasks_of(index), path))


def test(parts: Parts, pool: TestPool, samples: Sequence[Sample], journal: Journal, index: int) -> list[dict[str, Any]]:
    """Phase T: every program runs on its task's tests, outside this process."""
    path = journal.verdicts(f"round_{index:03d}")
    with journal.phase(index, "test") as clock:
        rows = _tested(parts, pool, parts.tasks, samples, path, f"round {index}: test")
    judged = [row for row in rows if row["status"] != "infrastructure"]
    journal.log(
        "test",
        index,
        programs=len(rows),
        seconds=clock.seconds,
        statuses=count_statuses(rows),
        pass_rate=_mean([row["pass_rate"] for row in judged]),
        accuracy=_mean([row["pass_rate"] == 1 for row in judged]),
    )
    return rows


def _tested(
    parts: Parts, pool: TestPool, tasks: Sequence[Task], samples: Sequence[Sample], path: Path, label: str
) -> list[dict[str, Any]]:
    """The verdicts in ``path``, which are given where they are not there yet."""
    if parts.team.count == 1 and path.exists():
        return read_jsonl(path)
    return verdicts_of(parts.team, samples, path, lambda own, to: run_tests(pool, tasks, own, to, label=label))


def store(
    parts: Parts,
    state: LoopState,
    samples: Sequence[Sample],
    verdicts: Sequence[dict[str, Any]],
    journal: Journal,
    index: int,
) -> LoopState:
    """Put a round's programs into the buffer; from here on they stand."""
    items = replay_items(
        parts.tasks,
        parts.prompts,
        samples,
        verdicts,
        round_index=index,
        first_program=int(state.programs),
        eos=parts.model.eos_ids,
        max_length=parts.config.train.max_length,
        tests=parts.rules.tests,
    )
    items = with_columns(parts, state, items, index)
    buffer = parts.empty_buffer() if parts.config.replay.mode == "none" else state.buffer
    rows = 1 << (len(samples) - 1).bit_length()  # few sizes, so that adding is compiled once
    items = replay.pad_items(items, rows)
    buffer = replay.add(buffer, items if parts.team.count == 1 else parts.everywhere(items), parts.rules)
    figures = replay.describe(buffer, parts.rules)
    journal.log("replay", index, **figures)
    for warning in figures["warnings"]:
        say(f"round {index}: {warning}")
    journal.buffer(named_rows(parts, buffer))
    return replace(state.at(index, 0), buffer=buffer, programs=state.programs + len(samples))


def named_rows(parts: Parts, buffer: replay.ReplayState) -> list[dict[str, Any]]:
    """The buffer's rows with the names of their tasks."""
    return [{**row, "task": parts.tasks[row["task"]].task_id} for row in replay.table(buffer)]


def learn(parts: Parts, state: LoopState, journal: Journal, checkpoints: Checkpoints, index: int) -> LoopState:
    """Phase P: draw by priority, fine-tune up to ``train.steps`` steps, and save."""
    options, first = parts.config.train, int(state.step)
    steps = Steps(journal, index, options.stop_after_skipped, options.stop_after_unchanged)
    if lacking := nothing_to_learn(parts, state):
        say(f"round {index}: {lacking}, so nothing is trained")
        journal.log("nothing_to_learn", index, reason=lacking)
        first = options.steps
    step, budget = first, (options.target_tokens or math.inf) * index
    with (
        journal.phase(index, "train"),
        Progress(
            f"round {index}: train", options.steps, done=first, unit="steps", check=parts.team.check(parts.mesh)
        ) as progress,
    ):
        try:
            while step < options.steps and (left := budget - steps.learnt_from(limited=budget < math.inf)) > 0:
                limit = () if left == math.inf else (np.float32(left),)
                train, buffer, *measured = parts.learn(state.train, state.buffer, *limit)
                state, step = replace(state, train=train, buffer=buffer), step + 1
                steps.took(step, measured)
                if len(steps.pending) > LOOK_EVERY:  # one step late: the newest step goes on meanwhile
                    progress.note(f"loss {steps.write(keep=1):.4f}")
                if step % options.checkpoint_every == 0 and step < options.steps:
                    steps.write()
                    checkpoints.save(state.at(index, step))
                progress.update(1)
        except Interrupted:
            steps.write()
            checkpoints.save(state.at(index, step))
            raise
        steps.write()
    state = state.at(index, options.steps)
    with journal.phase(index, "save"):
        checkpoints.save(state)
    return state


def nothing_to_learn(parts: Parts, state: LoopState) -> str:
    """What the replay buffer lacks, in words; empty where there is something to draw."""
    if not bool(state.buffer.filled.any()):
        return "the replay buffer is empty (nothing to store)"
    if parts.config.train.objective.pairs and not bool(replay.has_pairs(state.buffer)):
        return "no task has both a solved and a failed program in the replay buffer"
    return ""


class Steps:
    """Training steps that were taken and are not written yet."""

    def __init__(self, journal: Journal, index: int, most_skipped: int, most_unchanged: int) -> None:
        self.journal, self.index = journal, index
        self.most_skipped, self.most_unchanged = most_skipped, most_unchanged
        self.pending: list[tuple[int, Any]] = []
        self.skipped = self.unchanged = 0  # in a row

    def took(self, step: int, measured: Sequence[Any]) -> None:
        """Note a step and what it measured, still on the device."""
        self.pending.append((step, measured))

    def learnt_from(self, *, limited: bool) -> float:
        """Target tokens of all steps so far; 0 where no limit asks for them, which would wait for the device."""
        if not limited:
            return 0
        self.write()
        return self.journal.target_tokens

    def write(self, keep: int = 0) -> float:
        """Write all but the last ``keep`` steps; returns the last loss. Raises RunFailure after too many bad ones."""
        ready, self.pending = self.pending[: len(self.pending) - keep], self.pending[len(self.pending) - keep :]
        loss = float("nan")
        for step, arrays in ready:
            metrics, draw, programs = jax.device_get(arrays)
            loss, skipped = float(metrics.loss), bool(metrics.skipped)
            figures = {"loss": loss, "grad_norm": float(metrics.grad_norm), "skipped": skipped}
            figures |= {"tokens": int(metrics.tokens)}
            figures |= {"unchanged": True} if metrics.unchanged else {}
            self.journal.log("train", self.index, step=step, **figures)
            self.journal.draws(self.index, step, draw, programs)
            self.skipped = self.skipped + 1 if skipped else 0
            self.unchanged = self.unchanged + 1 if metrics.unchanged else 0
            if self.unchanged >= self.most_unchanged:
                raise RunFailure(
                    f"round {self.index}, training step {step} changed nothing ({self.unchanged} such in a row): every "
                    "gradient or every update was exactly 0. Either no program that was drawn counts for "
                    "train.objective, or optimizer.learning_rate is too small to move a parameter; "
                    "train.stop_after_unchanged says how many such steps are borne"
                )
            if self.skipped >= self.most_skipped:
                raise RunFailure(
                    f"round {self.index}, training step {step}: the loss or its gradient was NaN or infinite in "
                    f"{self.skipped} steps in a row, which were skipped; the parameters before them are kept in the "
                    "last checkpoint. Lower optimizer.learning_rate, or look at the programs drawn in the last steps"
                )
        return loss


def evaluate(parts: Parts, state: LoopState, pool: TestPool, journal: Journal, index: int) -> float | None:
    """The best program of a beam for every held-out task, tested: pass rate and accuracy with intervals.

    Returns the mean pass rate of all that could be judged.
    """
    config, rates = parts.config, list[float]()
    method = BeamConfig(width=config.evaluation.width, max_new_tokens=config.beam.max_new_tokens, num_return=1)
    with journal.phase(index, "evaluate"):
        model = laid_out(parts.writer(state))
        for name, tasks in parts.held_out.items():
            label, file = f"round {index}: {name}", f"eval_{index:03d}_{name}"
            path = journal.verdicts(file)
            if parts.team.count == 1 and path.exists():
                rows = read_jsonl(path)
            else:
                write_own = partial(
                    sample_tasks, model, config=method, batch_size=config.beam.batch_size, label=f"{label} sample"
                )
                samples = programs_of(parts.team, tasks, journal.samples(file), write_own)
                rows = _tested(parts, pool, [*map(evaluation_task, tasks)], samples, path, f"{label} test")
            found, _ = evaluation.answers(evaluation.outcomes([task.task_id for task in tasks], rows).values(), "beam")
            rates += found[np.isfinite(found)].tolist()
            figures = evaluation.summarise(found, seed=config.seed)
            journal.log("eval", index, split=name, **figures)
            shown = ", ".join(
                f"{what.replace('_', ' ')} {evaluation.percent(figures[what])}" for what in ("pass_rate", "accuracy")
            )
            say(f"round {index}, {name}, {figures['tasks']} tasks: {shown}")
        measure_entropy(parts, model, journal, index)
    return _mean(rates)


def guard(parts: Parts, state: LoopState, journal: Journal, index: int, rate: float | None) -> LoopState:
    """The state to go on from, given the held-out pass ``rate`` that was found after round ``index``."""
    most = parts.config.train.roll_back
    if most is None or rate is None or state.best is None:
        return state
    state, best = state.guarded(state.best, rate, most)
    if (back := int(best.stands)) != index:
        journal.log("roll_back", index, to=back, pass_rate=rate, best=float(best.pass_rate))
        say(
            f"round {index}: the held-out pass rate fell to {100 * rate:.1f} %, so that the parameters of round {back} "
            f"({100 * float(best.pass_rate):.1f} %) are taken again"
        )
    return state


def _mean(values: Sequence[Any]) -> float | None:
    return float(np.mean(values)) if values else None
