"""The share of programs that each host of a multi-host run tests, with a pool of its own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shard(
    items: Sequence[T], index: int, count: int, together: Callable[[T], Hashable] | None = None
) -> list[tuple[int, T]]:
    """Return the share of host ``index`` of ``count`` (``jax.process_index()`` of ``jax.process_count()``).

    Items are dealt in turn, so that shares differ by at most one. ``together(item)`` deals groups instead: items with
    the same value, such as the programs of one task, of which many are alike, go to the same host and its cache.
    Each item comes with its place in ``items``, by which ``merge_shards`` puts the results of all hosts in order.
    Raises ValueError where ``index`` is not in ``0..count - 1``.
    """
    if not 0 <= index < count:
        raise ValueError(f"there is no host {index} among {count}")
    places: dict[Hashable, int] = {}
    share = []
    for place, item in enumerate(items):
        turn = place if together is None else places.setdefault(together(item), len(places))
        if turn % count == index:
            share.append((place, item))
    return share


def merge_shards(shares: Sequence[Sequence[tuple[int, T]]]) -> list[T]:
    """Return the results of all hosts, each with its place, in order. Raises ValueError where one is missing."""
    placed = sorted(((place, result) for share in shares for place, result in share), key=lambda pair: pair[0])
    if [place for place, _ in placed] != list(range(len(placed))):
        raise ValueError("the shares do not make a whole: a place is missing or comes twice")
    return [result for _, result in placed]
