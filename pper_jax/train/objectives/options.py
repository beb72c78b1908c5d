"""Objectives by name, with their few numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from pper_jax.errors import UserError, shown
from pper_jax.ranges import check_number
from pper_jax.train.objectives import policy, reference, supervised
from pper_jax.train.objectives.contract import Objective

Name = Literal[
    "cross_entropy",
    "pass_rate",
    "raft",
    "unlikelihood",
    "advantage",
    "grpo",
    "importance",
    "dpo",
]

# What each reads of a batch beside its programs.
NEEDS: dict[str, frozenset[str]] = {
    "cross_entropy": frozenset(),
    "pass_rate": frozenset({"pass_rate"}),
    "raft": frozenset({"pass_rate"}),
    "unlikelihood": frozenset({"pass_rate"}),
    "advantage": frozenset({"advantage"}),
    "grpo": frozenset({"advantage", "sampler_logprobs"}),
    "importance": frozenset({"advantage", "sampler_logprobs"}),
    "dpo": frozenset({"reference_logprobs"}),
}
_READ_BY = {
    "clip": ("grpo",),
    "truncate": ("importance",),
    "beta": ("dpo",),
    "coefficient": ("unlikelihood",),
    "normalize": ("advantage", "grpo", "importance"),
    "kl": tuple(name for name in NEEDS if name != "dpo"),  # which holds to the reference by itself
}


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a step makes smaller. A number that the named objective does not read must keep its default.

    Attributes:
        name: ``cross_entropy`` (the paper's), ``pass_rate`` (cross-entropy weighted by the pass rate), ``raft`` (of
            solved programs alone), ``unlikelihood`` (that pushes away what passes nothing), ``advantage``, ``grpo``,
            ``importance`` (policy gradients), ``dpo`` (solved against failed programs of a task).
        kl: weight of the distance to the model that the run begins with; 0 switches it off.
        clip: GRPO's bound of the ratio, 1 - clip to 1 + clip.
        truncate: greatest ratio of ``importance``.
        beta: DPO's.
        coefficient: weight of the unlikelihood of programs that pass nothing.
        normalize: divide a group's advantages by their standard deviation, as GRPO does.
    """

    name: Name = "cross_entropy"
    kl: float = 0.0
    clip: float = 0.2
    truncate: float = 2.0
    beta: float = 0.1
    coefficient: float = 1.0
    normalize: bool = False

    def __post_init__(self) -> None:
        """Judge the name and the numbers."""
        if self.name not in get_args(Name):
            raise UserError(f"name is {shown(self.name)}; choose one of {', '.join(get_args(Name))}")
        check_number("kl", self.kl, least=0, below=1e38)
        check_number("clip", self.clip, above=0, below=1)
        for number in ("truncate", "beta", "coefficient"):
            check_number(number, getattr(self, number), above=0, below=1e38)
        if not isinstance(self.normalize, bool):
            raise UserError(f"normalize is {shown(self.normalize)}; it must be true or false")
        for field in fields(self):
            readers = _READ_BY.get(field.name)
            if readers and self.name not in readers and getattr(self, field.name) != field.default:
                raise UserError(
                    f"{field.name} is {getattr(self, field.name)}, which the objective {self.name} does not read; "
                    f"leave it out, or take one of {', '.join(readers)}"
                )

    @property
    def needs(self) -> frozenset[str]:
        """What it reads of a batch beside its programs: names as in ``objectives.column``."""
        return NEEDS[self.name] | ({"reference_logprobs"} if self.kl > 0 else frozenset())

    @property
    def pairs(self) -> bool:
        """Whether it learns from (solved, failed) pairs."""
        return self.name == "dpo"


def make_objective(config: ObjectiveConfig) -> Objective:
    """The objective that ``config`` names."""
    if config.name == "dpo":
        return reference.dpo(config.beta)
    found: Objective = {
        "cross_entropy": supervised.cross_entropy,
        "raft": supervised.cross_entropy,
        "pass_rate": supervised.pass_rate_weighted,
        "unlikelihood": supervised.unlikelihood(config.coefficient),
        "advantage": policy.advantage_weighted,
        "grpo": policy.grpo(config.clip),
        "importance": policy.importance_weighted(config.truncate),
    }[config.name]
    if config.kl > 0:
        found = reference.with_kl(found, config.kl)
    return supervised.solved_only(found) if config.name == "raft" else found
