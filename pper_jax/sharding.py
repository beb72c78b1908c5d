"""The device mesh and one table of rules, parameter-path pattern -> PartitionSpec.

``jax.jit`` with :class:`NamedSharding` is what used to be called pjit. Axes are ``("data", "fsdp", "tp")``: batches are
split over data and fsdp, weights over fsdp (their rows) and tp (heads, MLP columns, vocabulary).
"""

from __future__ import annotations

import math
import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pper_jax.errors import UserError
from pper_jax.ranges import check_number
from pper_jax.types import Params

AXES = ("data", "fsdp", "tp")
BATCH_SPEC = PartitionSpec(("data", "fsdp"))

# First match wins; the pattern is searched in "layer_0/attention/query/kernel". No match: replicated.
RULES: tuple[tuple[str, PartitionSpec], ...] = (
    (r"token_embedding/embedding$", PartitionSpec("tp", "fsdp")),  # [V, M]
    (r"position_embedding/embedding$", PartitionSpec(None, "fsdp")),  # [positions, M]
    (r"attention/(query|key|value)/kernel$", PartitionSpec("fsdp", "tp", None)),  # [M, H, D]
    (r"attention/(query|key|value)/bias$", PartitionSpec("tp", None)),  # [H, D]
    (r"attention/out/kernel$", PartitionSpec("tp", None, "fsdp")),  # [H, D, M]
    (r"(up|gate)/kernel$", PartitionSpec("fsdp", "tp")),  # [M, F]
    (r"(up|gate)/bias$", PartitionSpec("tp")),  # [F]
    (r"down/kernel$", PartitionSpec("tp", "fsdp")),  # [F, M]
    (r"lm_head/kernel$", PartitionSpec("fsdp", "tp")),  # [M, V]
    # Adapters (models/lora.py): A [*inputs, rank] and B [rank, *outputs] are split as their weight.
    (r"(query|key|value|up|gate|lm_head)/kernel/lora_a$", PartitionSpec("fsdp", None)),
    (r"(query|key|value)/kernel/lora_b$", PartitionSpec(None, "tp", None)),
    (r"(up|gate|lm_head)/kernel/lora_b$", PartitionSpec(None, "tp")),
    (r"attention/out/kernel/lora_a$", PartitionSpec("tp", None, None)),
    (r"(down/kernel|token_embedding/embedding)/lora_a$", PartitionSpec("tp", None)),
    (r"(out/kernel|down/kernel|_embedding/embedding)/lora_b$", PartitionSpec(None, "fsdp")),
)


def make_mesh(data: int = -1, fsdp: int = 1, tp: int = 1, devices: list[Any] | None = None) -> Mesh:
    """Mesh over ``devices`` (default: all) with axes ``("data", "fsdp", "tp")``; one size may be -1.

    Raises:
        UserError: sizes that are no whole numbers, or do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [data, fsdp, tp]
    for axis, size in zip(AXES, sizes, strict=True):
        check_number(f"mesh.{axis}", size, whole=True, least=-1)
    known = math.prod(s for s in sizes if s != -1)
    if sizes.count(-1) == 1 and known > 0 and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if any(s < 1 for s in sizes) or math.prod(sizes) != len(devices):
        raise UserError(
            f"mesh data={data} fsdp={fsdp} tp={tp} does not fit the {len(devices)} devices here; "
            "the sizes must multiply to that number, and at most one may be -1"
        )
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def _path_text(path: tuple[Any, ...]) -> str:
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def spec_for(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """PartitionSpec of one array. An axis whose size does not divide its dimension is left out (replicated there)."""
    for pattern, spec in RULES:
        if re.search(pattern, path) and len(spec) == len(shape):
            fits = [
                axis if axis and dim % mesh.shape[axis] == 0 else None for axis, dim in zip(spec, shape, strict=True)
            ]
            return PartitionSpec(*fits)
    return PartitionSpec()


def tree_shardings(tree: Any, mesh: Mesh) -> Any:
    """NamedSharding for every array of ``tree`` (params, optimizer state: its moments end in the parameter's path)."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, spec_for(_path_text(path), tuple(np.shape(leaf)), mesh)), tree
    )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays whose first dimension is the batch."""
    return NamedSharding(mesh, BATCH_SPEC)


def batch_devices(mesh: Mesh) -> int:
    """How many parts :func:`batch_sharding` makes of a batch; its rows must be a multiple of it."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def shard_params(params: Params, mesh: Mesh) -> Params:
    """Place ``params`` on ``mesh`` by the rules table."""
    return jax.device_put(params, tree_shardings(params, mesh))
