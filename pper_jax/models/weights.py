"""The names and layouts of every weight, once for both directions: ours, Hugging Face's and GGUF's.

A family's table lists modules; ``stored_tensors`` expands it over layers and over the leaves that the module at hand
really has. Stored weights have at most two axes; ours split heads apart; one stored tensor may hold several of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from pper_jax.errors import UserError
from pper_jax.models.config import ModelConfig
from pper_jax.models.families import build_model, family_named
from pper_jax.models.stated import same_layers

Shapes = Mapping[str, tuple[int, ...]]  # our path, e.g. "layer_0/attention/query/kernel" -> shape
Source = Mapping[str, Callable[[], np.ndarray]]  # stored name -> a function that reads the tensor

LEAVES = {"embedding": "weight", "scale": "weight", "kernel": "weight", "bias": "bias"}  # our leaf -> the stored one


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a checkpoint and the parameters of ours that it holds.

    ``[out, in]`` (torch's ``Linear``) when ``transposed``, else ``[in, out]`` (``Conv1D``, embeddings) or ``[n]``.
    """

    hf: str
    gguf: str
    ours: tuple[str, ...]
    leaf: str
    hf_transposed: bool
    groups: int = 1  # into which the outputs of each parameter are cut, those of one group side by side

    def transposed(self, layout: str) -> bool:
        """Whether ``layout`` (``"hf"`` or ``"gguf"``) stores the output axis first."""
        return self.leaf == "kernel" and (layout == "gguf" or self.hf_transposed)

    def name(self, layout: str) -> str:
        """The tensor's name in ``layout``."""
        return self.hf if layout == "hf" else self.gguf


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every parameter of the model, without allocating any."""
    tokens, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1, 1), bool)
    variables = jax.eval_shape(lambda: build_model(config).init(jax.random.key(0), tokens, tokens, mask))
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(variables["params"], sep="/").items()}


def stored_tensors(config: ModelConfig, shapes: Shapes) -> list[StoredTensor]:
    """All tensors that a checkpoint of the model consists of."""
    tensors, family = [], family_named(config.family, "model config")
    for hf, gguf, ours in family.modules:
        for i in range(config.num_layers if "{i}" in ours else 1):
            for leaf, stored in LEAVES.items():
                paths = tuple(f"{module.format(i=i)}/{leaf}" for module in ours.split("+"))
                if all(path in shapes for path in paths):
                    names = [f"{name.format(i=i)}.{stored}" for name in (hf, gguf)]
                    groups = family.fused_groups(config) if len(paths) > 1 else 1
                    tensors.append(StoredTensor(names[0], names[1], paths, leaf, not family.conv1d(hf), groups))
    return tensors


def _flat_shape(path: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Shape with the axes of inputs merged into one and those of outputs into another; biases become one axis."""
    if path.endswith("/bias"):
        return (math.prod(shape),)
    inputs = len(shape) - 1 if path.endswith("attention/out/kernel") else 1
    return (math.prod(shape[:inputs]), math.prod(shape[inputs:])) if len(shape) > 1 else tuple(shape)


def pack(tensor: StoredTensor, flat: Mapping[str, Any], layout: str) -> np.ndarray:
    """The stored form of one tensor from our parameters (``path -> array``)."""
    parts = [np.asarray(flat[path]).reshape(_flat_shape(path, flat[path].shape)) for path in tensor.ours]
    if len(parts) > 1:
        lead = parts[0].shape[:-1]
        parts = [part.reshape(*lead, tensor.groups, -1) for part in parts]
        parts = [np.concatenate(parts, axis=-1).reshape(*lead, -1)]
    array = parts[0]
    return np.ascontiguousarray(array.T if tensor.transposed(layout) else array)


def stored_shape(tensor: StoredTensor, shapes: Shapes, layout: str) -> tuple[int, ...]:
    """The shape that a tensor must have in a checkpoint."""
    flat = [_flat_shape(path, shapes[path]) for path in tensor.ours]
    shape = (*flat[0][:-1], sum(part[-1] for part in flat))
    return shape[::-1] if tensor.transposed(layout) else shape


def unpack(tensor: StoredTensor, array: np.ndarray, shapes: Shapes, layout: str) -> dict[str, np.ndarray]:
    """Our parameters, float32, from one stored tensor; the inverse of ``pack``."""
    array = np.asarray(array, dtype=np.float32)
    array = array.T if tensor.transposed(layout) else array
    widths = [_flat_shape(path, shapes[path])[-1] for path in tensor.ours]
    parts, groups = [array], tensor.groups
    if len(widths) > 1:
        grouped = array.reshape(*array.shape[:-1], groups, -1)
        parts = np.split(grouped, np.cumsum([width // groups for width in widths])[:-1], axis=-1)
    return {path: part.reshape(shapes[path]) for path, part in zip(tensor.ours, parts, strict=True)}


def assemble(
    config: ModelConfig,
    source: Source,
    layout: str,
    where: object,
    put: Callable[[str, np.ndarray], Any] = lambda path, array: array,
) -> dict[str, Any]:
    """The parameter tree (plain nested dict, float32 NumPy) read from ``source``, one stored tensor after the other.

    ``put`` says what becomes of each parameter, so that none of them need be held beside it.

    Missing, unexpected and misshapen tensors are ``UserError``s that name the first of them; ``where`` is the file.
    """
    same_layers(config.num_layers, source, where)
    shapes = parameter_shapes(config)
    tensors = stored_tensors(config, shapes)
    names = {tensor.name(layout) for tensor in tensors}
    for problem, found in (("lacks", names - source.keys()), ("has unexpected", source.keys() - names)):
        if found:
            raise UserError(
                f"{where}: the checkpoint {problem} {len(found)} tensor(s) for a {config.family} model of "
                f"{config.num_layers} layers, first {min(found)!r}; check config.json against the weights."
            )
    flat: dict[str, Any] = {}
    for tensor in tensors:
        name, wanted = tensor.name(layout), stored_shape(tensor, shapes, layout)
        array = source[name]()
        if array.shape != wanted:
            raise UserError(
                f"{where}: tensor {name!r} has shape {list(array.shape)} where its configuration asks for "
                f"{list(wanted)}; check the configuration against the weights."
            )
        flat.update({path: put(path, part) for path, part in unpack(tensor, array, shapes, layout).items()})
    return traverse_util.unflatten_dict(flat, sep="/")
