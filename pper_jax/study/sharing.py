"""What runs share, made once: the evaluation before the first round, and the first round's programs and verdicts.

Both are runs themselves, cut short, whose files the others begin with: so they are resumed, refused and reported as
any run is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pper_jax.files import RunFolder, digest
from pper_jax.loop.asking import FREE
from pper_jax.loop.config import RunConfig
from pper_jax.replay import ReplayConfig
from pper_jax.settings import to_dict
from pper_jax.study.config import Study
from pper_jax.train.objectives import ObjectiveConfig


@dataclass(frozen=True)
class Job:
    """One run to make.

    Attributes:
        config: the run.
        needs: runs to be finished before, and which files of theirs this one begins with, as patterns.
        arm, seed: which it is; None for what is shared.
    """

    config: RunConfig
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    arm: str | None = None
    seed: int | None = None

    @property
    def name(self) -> str:
        """Its folder's name, unique in the study."""
        return self.config.name

    @property
    def folder(self) -> RunFolder:
        """Where it is written."""
        return RunFolder(Path(self.config.out) / self.config.name)


def jobs_of(study: Study, held_out: Mapping[str, Path]) -> tuple[dict[str, Job], list[Job]]:
    """What is shared, by name, and the runs of all arms, the seeds one after the other."""
    shared: dict[str, Job] = {}
    runs = []
    for seed in study.config.seeds:
        for arm in study.arms:
            config = study.run(arm, seed, held_out)
            needs = {}
            for job, files in _shared_by(config, study.folder / "shared"):
                shared.setdefault(job.name, job)
                needs[job.name] = files
            runs.append(Job(config, needs, arm, seed))
    return shared, runs


def _shared_by(config: RunConfig, out: Path) -> list[tuple[Job, tuple[str, ...]]]:
    before = Job(_named(_untrained(config, rounds=0), out, "before"))
    found: list[tuple[Job, tuple[str, ...]]] = [(before, ("samples/*_000_*", "verdicts/*_000_*"))]
    if config.rounds:
        first = _untrained(config, rounds=1)
        first = replace(first, tasks=replace(first.tasks, eval={}))
        found.append((Job(_named(first, out, "first")), ("samples/round_001.*", "verdicts/round_001.*")))
    return found


def _untrained(config: RunConfig, rounds: int) -> RunConfig:
    """``config`` with all that plays no part before the first training step as it is by default."""
    plain = RunConfig(name="plain", model="plain")
    train = replace(
        plain.train, steps=0, max_length=config.train.max_length, batch_size=config.train.batch_size,
        accumulate=config.train.accumulate, objective=ObjectiveConfig(), target_tokens=None,
    )  # fmt: skip
    replay = ReplayConfig(mode="uniform", capacity=config.replay.capacity)
    found = replace(config, rounds=rounds, train=train, replay=replay, optimizer=plain.optimizer, lora=plain.lora)
    if rounds:
        return replace(found, evaluation=plain.evaluation)
    sampling = {key: getattr(plain, key) for key in ("samples", "teacher", "sources", "beam", "tasks_per_round")}
    beam = replace(plain.beam, max_new_tokens=config.beam.max_new_tokens, batch_size=config.beam.batch_size)
    tasks = replace(config.tasks, train=replace(config.tasks.train, count=1, seed=0, order="listed"))
    return replace(found, **{**sampling, "beam": beam}, tasks=tasks, seed=0)


def _named(config: RunConfig, out: Path, kind: str) -> RunConfig:
    plain = {key: value for key, value in to_dict(config).items() if key not in FREE}
    return replace(config, out=str(out), name=f"{kind}-{digest([plain])[:12]}")
