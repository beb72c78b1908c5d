"""The device mesh and one table of rules, parameter-path pattern -> PartitionSpec.

``jax.jit`` with :class:`NamedSharding` is what used to be called pjit. Axes are ``("data", "fsdp", "tp")``: batches are
split over data and fsdp, weights over fsdp (their rows) and tp (heads, MLP columns, vocabulary).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pper_jax.errors import UserError
from pper_jax.ranges import check_number
from pper_jax.types import Params

AXES = ("data", "fsdp", "tp")
BATCH_SPEC = PartitionSpec(("data", "fsdp"))

# A pattern, searched in "layer_0/attention/query/kernel", and specs by preference: the first that the shape
# follows whole counts. Where it follows none, the axes of the first that do not divide their dimension are left out.
# No match: replicated.
Rule = tuple[str, tuple[PartitionSpec, ...]]


def rule(pattern: str, *specs: tuple[Any, ...]) -> Rule:
    """One line of the table."""
    return pattern, tuple(PartitionSpec(*spec) for spec in specs)


RULES: tuple[Rule, ...] = (
    rule(r"token_embedding/embedding$", ("tp", "fsdp"), (None, ("fsdp", "tp"))),  # [V, M]
    rule(r"position_embedding/embedding$", (None, "fsdp")),  # [positions, M]
    rule(r"attention/(query|key|value)/kernel$", ("fsdp", "tp", None), ("fsdp", None, "tp")),  # [M, H, D]
    rule(r"attention/(query|key|value)/bias$", ("tp", None), (None, "tp")),  # [H, D]
    rule(r"attention/out/kernel$", ("tp", None, "fsdp"), (None, "tp", "fsdp")),  # [H, D, M]
    rule(r"(up|gate)/kernel$", ("fsdp", "tp")),  # [M, F]
    rule(r"(up|gate)/bias$", ("tp",)),  # [F]
    rule(r"down/kernel$", ("tp", "fsdp")),  # [F, M]
    rule(r"lm_head/kernel$", ("fsdp", "tp"), (("fsdp", "tp"), None)),  # [M, V]
    rule(r"lm_head/bias$", ("tp",)),  # [V]
    # Adapters (models/lora.py): A [*inputs, rank] and B [rank, *outputs] are split as their weight.
    rule(r"(query|key|value|up|gate|lm_head)/kernel/lora_a$", ("fsdp", None)),
    rule(r"(query|key|value)/kernel/lora_b$", (None, "tp", None)),
    rule(r"(up|gate|lm_head)/kernel/lora_b$", (None, "tp")),
    rule(r"attention/out/kernel/lora_a$", ("tp", None, None)),
    rule(r"(down/kernel|token_embedding/embedding)/lora_a$", ("tp", None)),
    rule(r"(out/kernel|down/kernel|_embedding/embedding)/lora_b$", (None, "fsdp")),
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


def _axes(part: Any) -> tuple[str, ...]:
    return () if part is None else (part,) if isinstance(part, str) else tuple(part)


def rule_for(path: str, dimensions: int, rules: Sequence[Rule] = ()) -> Rule | None:
    """The rule of ``path``: one of ``rules``, a family's exceptions, or else of ``RULES``; None: it is replicated.

    Raises:
        UserError: two rules of one table claim the path, or a spec of the rule names a mesh axis twice or none of ours.
    """
    for table in (rules, RULES):
        hits = [one for one in table if re.search(one[0], path) and len(one[1][0]) == dimensions]
        if len(hits) > 1:
            raise UserError(
                f"the sharding rules {hits[0][0]!r} and {hits[1][0]!r} both claim {path}; narrow one of the patterns"
            )
        for pattern, specs in hits:
            for spec in specs:
                _check_spec(pattern, spec)
            return pattern, specs
    return None


def _check_spec(pattern: str, spec: PartitionSpec) -> None:
    named = [axis for part in spec for axis in _axes(part)]
    for axis in named:
        if axis not in AXES:
            raise UserError(f"the sharding rule {pattern!r} names the axis {axis!r}; a mesh has {', '.join(AXES)}")
        if named.count(axis) > 1:
            raise UserError(f"the sharding rule {pattern!r} splits two dimensions over {axis}; one axis splits one")


def _divides(part: Any, size: int, mesh: Mesh) -> bool:
    return size % math.prod(mesh.shape[axis] for axis in _axes(part)) == 0


def spec_for(path: str, shape: tuple[int, ...], mesh: Mesh, rules: Sequence[Rule] = ()) -> PartitionSpec:
    """PartitionSpec of one array. An axis whose size does not divide its dimension is left out (replicated there).

    ``rules``: a family's exceptions, which go before the table. Raises UserError as :func:`rule_for`.
    """
    found = rule_for(path, len(shape), rules)
    if found is None:
        return PartitionSpec()
    for spec in found[1]:
        if all(_divides(part, size, mesh) for part, size in zip(spec, shape, strict=True)):
            return spec
    parts = zip(found[1][0], shape, strict=True)
    return PartitionSpec(*(part if _divides(part, size, mesh) else None for part, size in parts))


def tree_shardings(tree: Any, mesh: Mesh, rules: Sequence[Rule] = ()) -> Any:
    """NamedSharding for every array of ``tree`` (params, optimizer state: its moments end in the parameter's path)."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, spec_for(_path_text(path), tuple(np.shape(leaf)), mesh, rules)), tree
    )


def place(tree: Any, shardings: Any) -> Any:
    """``jax.device_put``, and also onto devices of other processes, each of which gives the same whole arrays."""
    if all(sharding.is_fully_addressable for sharding in jax.tree.leaves(shardings)):
        return jax.device_put(tree, shardings)
    return jax.tree.map(_place, tree, shardings)


def _place(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_place(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def unfollowed(tree: Any, mesh: Mesh, rules: Sequence[Rule] = ()) -> list[str]:
    """A sentence about each rule that an array of ``tree`` is too odd to follow, with the memory that this costs."""
    found: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name, shape = _path_text(path), tuple(np.shape(leaf))
        claimed = rule_for(name, len(shape), rules)
        if claimed is not None and spec_for(name, shape, mesh, rules) not in claimed[1]:
            found.setdefault((claimed[0], shape), []).append(name)
    return [_unfollowed(names, shape, mesh, rules) for (_, shape), names in found.items()]


def check_axes(tree: Any, mesh: Mesh, rules: Sequence[Rule] = ()) -> None:
    """Raise UserError where an axis of the mesh that is there for weights splits none of ``tree``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    specs = [spec_for(_path_text(path), tuple(np.shape(leaf)), mesh, rules) for path, leaf in leaves]
    used = {axis for spec in specs for part in spec for axis in _axes(part)}
    for axis in ("fsdp", "tp"):
        if mesh.shape[axis] > 1 and axis not in used:
            raise UserError(
                f"mesh.{axis} is {mesh.shape[axis]}, which divides no weight of this model; take a smaller {axis}, or "
                "leave it 1 and let data have the devices"
            )


def _unfollowed(names: list[str], shape: tuple[int, ...], mesh: Mesh, rules: Sequence[Rule]) -> str:
    claimed, spec = rule_for(names[0], len(shape), rules), spec_for(names[0], shape, mesh, rules)
    assert claimed is not None
    odd = [
        f"{'*'.join(_axes(part))}={math.prod(mesh.shape[axis] for axis in _axes(part))} does not divide {size}"
        for part, kept, size in zip(claimed[1][0], spec, shape, strict=True)
        if part != kept
    ]
    copies = math.prod(mesh.shape.values()) // math.prod(mesh.shape[a] for part in spec for a in _axes(part))
    others = f" and {len(names) - 1} like it" if len(names) > 1 else ""
    return f"{names[0]} {list(shape)}{others}: {', '.join(odd)}, so there are {copies} copies of each part on the mesh"


def without_fsdp(sharding: NamedSharding) -> NamedSharding:
    """The same sharding with whole copies along ``fsdp``: for decoding, which reads every weight at every step."""
    parts = [tuple(axis for axis in _axes(part) if axis != "fsdp") or None for part in sharding.spec]
    return NamedSharding(sharding.mesh, PartitionSpec(*parts))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays whose first dimension is the batch."""
    return NamedSharding(mesh, BATCH_SPEC)


def batch_devices(mesh: Mesh) -> int:
    """How many parts :func:`batch_sharding` makes of a batch; its rows must be a multiple of it."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def whole_rows(rows: int, mesh: Mesh | None) -> int:
    """``rows``, rounded up to what :func:`batch_sharding` can split."""
    parts = 1 if mesh is None else batch_devices(mesh)
    return -(-rows // parts) * parts


def check_batch(rows: int, accumulate: int, mesh: Mesh, name: str = "batch_size") -> None:
    """Raise UserError unless every device has its share of every micro-batch of a batch of ``rows``."""
    parts = batch_devices(mesh) * accumulate
    if rows % parts:
        data, fsdp = mesh.shape["data"], mesh.shape["fsdp"]
        raise UserError(
            f"{name} is {rows}; it must be a multiple of {parts}, which is mesh data {data} * fsdp {fsdp} * "
            f"accumulate {accumulate}, so that every device has its share of every micro-batch"
        )


def shard_params(params: Params, mesh: Mesh, rules: Sequence[Rule] = ()) -> Params:
    """Place ``params`` on ``mesh`` by the rules table."""
    return place(params, tree_shardings(params, mesh, rules))


@dataclass(frozen=True)
class Placement:
    """Where a model's intermediate values lie on a mesh; hashable. The model asks at few places.

    XLA chooses well between two such places, and badly without any: with weights split over fsdp it moves activations.

    Attributes:
        mesh: the devices.
        rows: the mesh axes that rows are split over.
    """

    mesh: Mesh
    rows: tuple[str, ...] = ("data", "fsdp")

    def _put(self, x: jax.Array, *parts: Any) -> jax.Array:
        return lax.with_sharding_constraint(x, NamedSharding(self.mesh, PartitionSpec(*parts)))

    def _rows(self, count: int, *more: str) -> tuple[str, ...] | None:
        """The axes that split ``count`` rows; None where they do not divide them."""
        axes = (*self.rows, *more)
        return axes if _divides(axes, count, self.mesh) else None

    def residual(self, x: jax.Array) -> jax.Array:
        """The residual stream ``[B, S, M]``: rows split, hidden width whole."""
        return self._put(x, self._rows(x.shape[0]))

    def columns(self, tokens: int) -> int:
        """The vocabulary, rounded up to what tp divides."""
        return -(-tokens // self.mesh.shape["tp"]) * self.mesh.shape["tp"]

    def table(self, embedding: jax.Array) -> jax.Array:
        """``[V, M]`` as it is looked up and multiplied by: ``[columns(V), M]``, tokens split over tp, M whole."""
        spare = self.columns(embedding.shape[0]) - embedding.shape[0]
        if spare:  # it is split by columns, which XLA turns into rows in two steps, and not in one
            by_columns = "tp" if _divides("tp", embedding.shape[1], self.mesh) else None
            embedding = jnp.pad(self._put(embedding, None, by_columns), ((0, spare), (0, 0)))
        return self._put(embedding, "tp", None)

    def whole(self, x: jax.Array) -> jax.Array:
        """A small array, the same on every device."""
        return self._put(x)

    def attended(self, kv_heads: int, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        """Queries, keys and values ``[B, S, H, D]``: heads split over tp, or rows where tp does not divide them."""
        if _divides("tp", kv_heads, self.mesh):
            return tuple(self._put(x, self._rows(x.shape[0]), None, "tp", None) for x in arrays)
        return tuple(self._put(self.mixed(x), self._rows(x.shape[0], "tp")) for x in arrays)

    def mixed(self, x: jax.Array) -> jax.Array:
        """``[B, S, H, D]`` between projections and attention, split as the projections are."""
        whole_heads = _divides("tp", x.shape[2], self.mesh)
        split = ("tp", None) if whole_heads else (None, "tp" if _divides("tp", x.shape[3], self.mesh) else None)
        return self._put(x, self._rows(x.shape[0]), None, *split)
