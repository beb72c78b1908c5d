"""Where decoding keeps its weights and its batch: in a layout for one CPU, or over a mesh."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax.decode.segments import Batch
from pper_jax.models import CausalLM, decode_layout, on_mesh, rules_of
from pper_jax.sharding import batch_sharding, tree_shardings, without_fsdp
from pper_jax.types import Params


def lay_out(module: nn.Module, params: Params, mesh: Mesh | None = None) -> tuple[nn.Module, Params]:
    """The model as ``decode_prompts`` wants it: on a mesh placed there, on CPU in ``decode_layout``, else as it is.

    On a mesh weights are split over ``tp`` and whole along ``data`` and ``fsdp``, for a step reads them all.
    ``decode_prompts`` does this on each call; who calls it often with the same weights may do it once. Twice does no
    harm.
    """
    if mesh is not None:
        shardings = tree_shardings(params, mesh, rules_of(module))
        return on_mesh(module, mesh), jax.device_put(params, jax.tree.map(without_fsdp, shardings))
    if jax.default_backend() != "cpu":
        return module, params
    if not isinstance(module, CausalLM) or module.compute.column_blocks > 1:
        return module, params
    model, weights = decode_layout(module, jax.tree.map(np.asarray, params))  # on the host: nothing to compile
    return model, jax.device_put(jax.tree.map(np.ascontiguousarray, weights))


def batch_shardings(batch: Batch, mesh: Mesh) -> Any:
    """Rows over data and fsdp, and of the cache the heads over tp where that divides them."""

    def split(axis: str) -> bool:  # named as XLA names it again, also of arrays without elements, or it compiles again
        return mesh.shape[axis] > 1

    rows = tuple(filter(split, batch_sharding(mesh).spec[0])) or None

    def of(x: Any, heads: str | None = None) -> NamedSharding:
        parts = ((rows, heads) if heads else (rows,)) if math.prod(x.shape) > 1 and (rows or heads) else ()
        return NamedSharding(mesh, PartitionSpec(*parts))

    whole = jax.tree.map(of, batch)
    cache = jax.tree.map(
        lambda x: of(x, "tp" if split("tp") and x.shape[1] % mesh.shape["tp"] == 0 else None), batch.cache
    )
    return replace(whole, cache=cache)
