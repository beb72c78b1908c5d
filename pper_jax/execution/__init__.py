"""Testing programs: a pool of sandboxed processes that costs a bad program its own verdict and nothing else.

Standard library only; the JAX process never forks. See ``pool`` for the processes, ``checks`` for what runs where.
"""

from __future__ import annotations

from pper_jax.execution.cache import VerdictCache
from pper_jax.execution.limits import Limits
from pper_jax.execution.pool import TestPool
from pper_jax.execution.shard import merge_shards, shard
from pper_jax.execution.tally import Statistics
from pper_jax.execution.ticket import Ticket
from pper_jax.execution.verdict import STATUSES, Job, TestResult, Verdict

__all__ = [
    "STATUSES",
    "Job",
    "Limits",
    "Statistics",
    "TestPool",
    "TestResult",
    "Ticket",
    "Verdict",
    "VerdictCache",
    "merge_shards",
    "pool_class",
    "shard",
]


def pool_class(backend: str) -> type[TestPool]:
    """Return the class of pools of a backend, ``"local"`` or ``"ray"``."""
    if backend == "ray":
        from pper_jax.execution.ray_pool import RayTestPool

        return RayTestPool
    return TestPool
