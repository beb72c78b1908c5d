"""What a pool has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Statistics:
    """What a pool has done: jobs handed in, programs run for them, and why the numbers differ.

    Once all are done, ``jobs`` = ``executions`` + ``from_cache`` + ``shared`` (with a duplicate that was under way) +
    ``cancelled``. ``workers_lost`` counts processes that died or fell silent, ``infrastructure`` programs that could
    not be judged by a fault of ours.
    """

    jobs: int = 0
    executions: int = 0
    from_cache: int = 0
    shared: int = 0
    cancelled: int = 0
    workers_lost: int = 0
    infrastructure: int = 0
