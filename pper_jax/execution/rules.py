"""By which limits and which comparison a job is judged: the pool's, or those that it has of its own."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from pper_jax.errors import UserError
from pper_jax.execution.cache import rules_key
from pper_jax.execution.limits import Limits, own_limits
from pper_jax.execution.verdict import OWN_LIMITS, Job

Found = tuple[Limits, str, str]  # limits, comparison, their part of a verdict's key


def asked_of_pool(compare: str | None, seconds: float | None, memory_mb: int | None, **limits: Any) -> dict[str, Any]:
    """Options of a pool for what a person asked: what is None is the job's own, else the default; the rest holds."""
    named: dict[str, Any] = {
        name: value
        for name, value in (("compare", compare), ("seconds", seconds), ("memory_mb", memory_mb))
        if value is not None
    }
    return {
        "limits": own_limits(Limits(**limits), named),
        "compare": compare or "strict",
        "overrule": tuple(named),
    }


class Rules:
    """The rules of a pool.

    overrule: which of ``"compare"``, ``"seconds"`` and ``"memory_mb"`` are the pool's for every job, whatever it has of
        its own; a job's rule for answers is never overruled. Raises UserError for another name.
    """

    def __init__(self, limits: Limits, compare: str, stop: str, isolation: str, overrule: Collection[str]) -> None:
        for name in overrule:
            if name not in ("compare", *OWN_LIMITS):
                known = ", ".join(("compare", *OWN_LIMITS))
                raise UserError(f"overrule names {name!r}, but it may name {known} alone.")
        self.limits, self.compare, self.stop, self.isolation = limits, compare, stop, isolation
        self.overrule = tuple(sorted(overrule))
        self._find = lru_cache(self._found)

    def of(self, job: Job) -> Found:
        """Return what holds for a job."""
        own = None if job.limits is None else tuple(sorted(job.limits.items()))
        compare = None if job.tests["kind"] != "answer" and "compare" in self.overrule else job.compare
        return self._find(own, compare)

    def _found(self, own: tuple[tuple[str, float], ...] | None, compare: str | None) -> Found:
        limits = own_limits(self.limits, dict(own or ()), self.overrule)
        rule = compare or self.compare
        return limits, rule, rules_key(limits, rule, self.stop, self.isolation)
