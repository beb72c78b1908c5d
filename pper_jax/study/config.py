"""A study's configuration, and whether its arms may be compared at all: judged before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pper_jax.errors import UserError, shown
from pper_jax.loop.config import RunConfig, load_run_config
from pper_jax.ranges import SEEDS, check_file_name, check_number
from pper_jax.settings import from_dict, load_config, to_dict
from pper_jax.study.ledger import BUDGET, Amount

# What belongs to the study: an arm that set it would be judged otherwise than the others, or overwrite their runs.
OF_THE_STUDY = ("name", "out", "seed", "model", "dtype", "mesh", "distributed", "tasks.eval", "evaluation", "execution")


@dataclass(frozen=True)
class StudyConfig:
    """One study (``pper study``).

    Attributes:
        name: of the study and its folder below ``out``.
        hypothesis: what is expected, written before the runs.
        base: a run's YAML file, beside the study's or below it.
        arms: by name, ``key=value`` settings over the base.
        reference: the arm that the others are compared with.
        seeds: one run each for every arm; they choose the tasks that are learnt from, and the draws.
        settings: of all arms.
        part: which half of the held-out tasks judges: ``dev``, on which settings are chosen, or ``test``; ``all`` takes
            both, for a published set whose figures are to compare.
        task_seed: chooses the held-out tasks, the same for all runs.
        equal: the amounts of which arms must spend as much to be compared; programs may differ where arms that write
            programs of other lengths are to spend as many sampled tokens.
        out: where the study's folder is made.
    """

    name: str
    hypothesis: str
    base: str
    arms: dict[str, tuple[str, ...]]
    reference: str
    seeds: tuple[int, ...]
    settings: tuple[str, ...] = ()
    part: Literal["dev", "test", "all"] = "dev"
    task_seed: int = 0
    equal: tuple[Amount, ...] = BUDGET
    out: str = "runs"

    def __post_init__(self) -> None:
        check_file_name("name", self.name)
        if "target_tokens" not in self.equal:
            raise UserError(f"equal is {list(self.equal)}; arms are compared at equal target_tokens at least")
        check_number("task_seed", self.task_seed, least=0, below=SEEDS, whole=True)
        for seed in self.seeds:
            check_number("a seed of seeds", seed, least=0, below=SEEDS, whole=True)
        twice = sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1})
        if twice:
            raise UserError(f"seeds has {shown(twice[0])} twice; every seed is one run of an arm")
        if not self.seeds:
            raise UserError("seeds is empty; give at least one")
        if len(self.arms) < 2:
            raise UserError(f"arms has {len(self.arms)}; a comparison needs two, one of them the reference")
        if self.reference not in self.arms:
            raise UserError(f"reference is {shown(self.reference)}; it must be one of arms, {', '.join(self.arms)}")


@dataclass(frozen=True)
class Study:
    """A study with the run of each arm, which lacks its name, seed and held-out tasks.

    Attributes:
        config: what was asked.
        arms: each arm's configuration by its name.
    """

    config: StudyConfig
    arms: Mapping[str, RunConfig]

    @property
    def folder(self) -> Path:
        """Where all is written."""
        return Path(self.config.out) / self.config.name

    def run(self, arm: str, seed: int, held_out: Mapping[str, Path]) -> RunConfig:
        """The run of an arm for a seed, judged on the tasks of these files."""
        base = self.arms[arm]
        sets = {name: replace(spec, source=str(held_out[name]), split=None, count=0, seed=0)
                for name, spec in base.tasks.eval.items()}  # fmt: skip
        return replace(
            base,
            name=f"{arm}-{seed}",
            out=str(self.folder / "runs"),
            seed=seed,
            tasks=replace(base.tasks, eval=sets),
        )


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """The study that the YAML file ``path`` describes, with dotted ``overrides`` of its own keys.

    Raises:
        UserError: an unknown key, a value out of range, arms that differ in what must be equal.
    """
    config = load_config(StudyConfig, path, overrides)
    base = Path(path).parent / config.base
    arms = {}
    for name, settings in config.arms.items():
        _refuse_own_judge(name, settings)
        try:
            arms[name] = load_run_config(base, [*config.settings, *settings])
        except UserError as error:
            raise UserError(f"arm {name}: {error}") from None
    _refuse_unequal(config, arms)
    return Study(config, arms)


def _refuse_own_judge(arm: str, settings: Sequence[str]) -> None:
    for setting in settings:
        key = setting.partition("=")[0].strip()
        for mine in OF_THE_STUDY:
            if key == mine or key.startswith(f"{mine}."):
                raise UserError(
                    f"arm {arm} sets {key}, which must be equal for all arms; put it under settings, or leave it out"
                )


def planned(config: RunConfig) -> dict[str, int | None]:
    """The budget that a run is given: programs and target tokens of all rounds; None where the run says none."""
    count, tokens = config.tasks_per_round or config.tasks.train.count, config.train.target_tokens
    return {
        "programs": config.rounds * count * config.beam.width if count else None,
        "target_tokens": None if tokens is None else config.rounds * tokens,
    }


def _refuse_unequal(config: StudyConfig, arms: Mapping[str, RunConfig]) -> None:
    reference = arms[config.reference]
    if reference.train.target_tokens is None:
        raise UserError(
            "train.target_tokens is not given; give it under settings, so that all arms learn from as many tokens"
        )
    if not reference.tasks.eval:
        raise UserError(
            "the base has no held-out tasks; give it some under tasks.eval, for the arms are judged on them"
        )
    for name, arm in arms.items():
        for what, amount in planned(arm).items():
            if what in config.equal and amount != planned(reference)[what]:
                said = {"target_tokens": "target tokens (rounds * train.target_tokens)"}.get(what, what)
                raise UserError(
                    f"arm {name} is given {amount} {said}, and {config.reference} {planned(reference)[what]}; arms are "
                    "compared at equal budget: change rounds, beam.width, tasks.train.count or train.target_tokens"
                )


def asked(study: Study) -> dict[str, Any]:
    """What a study's folder must agree with: the settings of each arm, and the tasks that judge it.

    The reference, and how many arms and seeds there are, may change: they change no run.
    """
    common = {key: getattr(study.config, key) for key in ("name", "part", "task_seed")}
    return {**common, "arms": {name: _of_the_arm(arm) for name, arm in study.arms.items()}}


def asked_before(old: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`asked` gave when the study was begun; keys that were not known then have their defaults."""
    arms = {name: from_dict(RunConfig, {"name": "arm", **arm}) for name, arm in old.get("arms", {}).items()}
    common = {key: value for key, value in old.items() if key != "reference"}  # which earlier versions noted
    return {**common, "arms": {name: _of_the_arm(arm) for name, arm in arms.items()}}


def _of_the_arm(config: RunConfig) -> dict[str, Any]:
    plain = to_dict(config)
    return {key: plain[key] for key in plain if key not in ("name", "out", "seed")}  # which the study gives a run
