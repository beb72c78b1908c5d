"""LoRA (Hu et al., 2106.09685): low-rank adapters that are trained in the place of the weights that they change.

Pure: adapters are a tree of arrays beside the base's, and a model with them is the base model of the merged weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from pper_jax.errors import UserError, shown
from pper_jax.ranges import check_number
from pper_jax.types import Params

MATRICES = ("kernel", "embedding")  # names of the parameters that have adapters
TWO_INPUT_AXES = r"attention/out/kernel$"  # [H, D, M]; every other matrix is [inputs, *outputs]


@dataclass(frozen=True)
class LoraConfig:
    """Which weights have adapters, and of what rank; hashable.

    Attributes:
        rank: columns of ``A`` and rows of ``B``; 0 trains the weights themselves.
        alpha: the change of a weight is ``alpha / rank * A B``.
        targets: a regular expression, searched in paths such as ``layer_0/attention/query/kernel``,
            ``layer_0/up/kernel``, ``lm_head/kernel`` and ``token_embedding/embedding``.
    """

    rank: int = 0
    alpha: float = 16.0
    targets: str = "attention/(query|key|value|out)|/(up|gate|down)/"

    def __post_init__(self) -> None:
        """Judge the numbers and the expression."""
        check_number("rank", self.rank, least=0, most=1 << 16, whole=True)
        check_number("alpha", self.alpha, above=0, below=1e38)
        if not self.rank and (self.alpha, self.targets) != (LoraConfig.alpha, LoraConfig.targets):
            raise UserError("rank is 0, so that no adapters are trained and alpha and targets do nothing; set a rank")
        try:
            re.compile(self.targets)
        except (re.error, OverflowError, RecursionError) as error:
            raise UserError(f"targets is {shown(self.targets)}, which is no regular expression: {error}") from None

    @property
    def scale(self) -> float:
        """What ``A B`` is multiplied by."""
        return self.alpha / self.rank


def init_adapters(config: LoraConfig, params: Params, key: jax.Array) -> Params:
    """Adapters for the weights of ``params`` that ``config.targets`` names: ``{..., kernel: {lora_a, lora_b}}``.

    For a weight ``[*inputs, *outputs]``, ``lora_a [*inputs, rank]`` is normal with variance 1 / inputs and
    ``lora_b [rank, *outputs]`` is 0, both float32, so that the model begins as the base (section 4.1). ``key`` is
    typed; of ``params`` only shapes count.

    Raises:
        UserError: nothing is named, or a weight's smaller side is not above the rank.
    """
    matrices = {path: leaf for path, leaf in flatten_dict(params).items() if path[-1] in MATRICES}
    found = {path: leaf for path, leaf in matrices.items() if re.search(config.targets, "/".join(path))}
    if not found:
        raise UserError(
            f"lora.targets is {shown(config.targets)}, which matches no weight of the model; its weights are such as "
            f"{', '.join('/'.join(path) for path in list(matrices)[:8])}"
        )
    adapters: dict[tuple[str, ...], Any] = {}
    for number, (path, leaf) in enumerate(sorted(found.items())):
        inputs, outputs = _sides("/".join(path), leaf.shape)
        rows, columns = math.prod(inputs), math.prod(outputs)
        if config.rank >= min(rows, columns):
            raise UserError(
                f"lora.rank is {config.rank}, and the weight {'/'.join(path)} is {rows} x {columns}; take a rank below "
                f"{min(rows, columns)}, or lora.targets that leave it out"
            )
        noise = jax.random.normal(jax.random.fold_in(key, number), (*inputs, config.rank), jnp.float32)
        adapters[(*path, "lora_a")] = noise / jnp.sqrt(rows)
        adapters[(*path, "lora_b")] = jnp.zeros((config.rank, *outputs), jnp.float32)
    return unflatten_dict(adapters)


def _sides(path: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of a weight's inputs, and that of its outputs."""
    split = 2 if re.search(TWO_INPUT_AXES, path) else 1
    return shape[:split], shape[split:]


def merge(base: Params, adapters: Params, config: LoraConfig) -> Params:
    """``base`` with ``alpha / rank * A B`` added where there are adapters, in the base's types; the rest as it is."""
    if "lora_a" in adapters:
        change = jnp.tensordot(adapters["lora_a"], adapters["lora_b"], axes=1)
        return base + (config.scale * change).astype(base.dtype)
    return {name: merge(leaf, adapters[name], config) if name in adapters else leaf for name, leaf in base.items()}


@dataclass(frozen=True, eq=False)
class Adapted:
    """``module`` with the frozen parameters ``base``, whose ``apply`` takes adapters; for use within a traced step."""

    module: Any
    base: Params
    lora: LoraConfig

    def apply(self, variables: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """``module.apply`` with the merged parameters; ``variables["params"]`` are the adapters."""
        return self.module.apply({"params": merge(self.base, variables["params"], self.lora)}, *args, **options)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the module's."""
        return getattr(self.module, name)
