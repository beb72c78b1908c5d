"""Which axes of the mesh a collective runs over, from the groups of devices that the text states."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_LISTS = re.compile(r"replica_groups=\{(\{[\d,{} ]*\})\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((.*?)\))? ?\{([^}]*)\}")
_AXIS = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")
_PAIRS = re.compile(r"source_target_pairs=\{(\{[\d,{} ]*\})\}")


@dataclass(frozen=True)
class Group:
    """How many devices take part together, and the mesh's axes along which they differ."""

    size: int
    axes: tuple[str, ...]


def axes_of(group: Group) -> str:
    """The axes as one word."""
    return "+".join(group.axes) or "devices"


def continues(attributes: str) -> bool:
    """Whether this is a later part of a collective that a TPU spreads over several fusions; its first part counts."""
    found = re.search(r'"async_collective_fusion_config":\{"flag_start":"(-?\d+)"', attributes)
    return found is not None and found.group(1) != "-1"


def replica_group(attributes: str, axes: Mapping[str, int]) -> Group:
    """The groups of a collective, as lists, as a slice of a count, or as axes of a mesh of the compiler's own."""
    groups = _groups(attributes, axes)
    return Group(groups.shape[1], _varying(groups[0], axes))


def permuted(attributes: str, axes: Mapping[str, int]) -> Group:
    """The devices between which a permutation sends; of size 1 where each keeps what it has."""
    found = _PAIRS.search(attributes)
    pairs = _numbers(found.group(1)) if found else np.zeros((0, 2), int)
    varying = {axis for pair in pairs for axis in _varying(pair, axes)}
    moving = any(source != target for source, target in pairs)
    return Group(2 if moving else 1, tuple(axis for axis in axes if axis in varying))


def _groups(attributes: str, axes: Mapping[str, int]) -> np.ndarray:
    """``[groups, devices]``, numbers of devices in the order of the mesh."""
    if found := _LISTS.search(attributes):
        return _numbers(found.group(1))
    if found := _IOTA.search(attributes):
        shape, counted, order = (_ints(part) for part in found.groups())
        devices = np.arange(math.prod(counted)).reshape(counted)
        return (devices.transpose(order) if order else devices).reshape(shape[0], -1)
    if found := _MESH.search(attributes):
        return _mesh_groups(*found.groups())
    return np.arange(math.prod(axes.values()))[None]  # none stated: all


def _mesh_groups(mesh: str, order: str | None, chosen: str) -> np.ndarray:
    """Groups along the ``chosen`` axes, or parts ``(before)size`` of axes, of a mesh with axes ``'name'=size``."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)}
    devices = _ordered(order, math.prod(sizes.values()))
    dims: list[int] = []
    taken: list[int] = []
    parts = {name: (int(before or 1), int(size or 0)) for name, before, size in _AXIS.findall(chosen)}
    for name, size in sizes.items():
        before, part = parts.get(name, (size, 1))
        part = part or size
        taken += [len(dims) + 1] if name in parts else []
        dims += [before, part, size // (before * part)]
    rest = [axis for axis in range(len(dims)) if axis not in taken]
    moved = devices.reshape(dims).transpose([*rest, *taken])
    return moved.reshape(-1, math.prod(dims[axis] for axis in taken))


def _ordered(order: str | None, count: int) -> np.ndarray:
    """The devices of a mesh: counted, or as ``device_ids`` says."""
    found = re.search(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", f"replica_groups={order}") if order else None
    if found is None:
        stated = _ints(order) if order else ()
        return np.array(stated) if len(stated) == count else np.arange(count)
    _, counted, turned = (_ints(part) for part in found.groups())
    devices = np.arange(count).reshape(counted)
    return devices.transpose(turned) if turned else devices


def _numbers(text: str) -> np.ndarray:
    """``{0,1},{2,3}`` as an array; groups of unlike sizes are cut to the shortest."""
    rows = [_ints(row) for row in re.findall(r"\{([\d,]+)\}", text)]
    least = min(map(len, rows), default=0)
    return np.array([row[:least] for row in rows], int).reshape(len(rows), least)


def _ints(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text or ""))


def _varying(devices: np.ndarray, axes: Mapping[str, int]) -> tuple[str, ...]:
    sizes = tuple(axes.values())
    if not sizes or devices.size == 0 or devices.max() >= np.prod(sizes, dtype=int):
        return ()
    places = np.unravel_index(devices, sizes)
    return tuple(axis for axis, place in zip(axes, places, strict=True) if np.unique(place).size > 1)
