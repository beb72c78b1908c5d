"""How fast a beam search could be: operations and bytes that it needs, counted, over the rates of the machine.

Useful work alone is counted: prompts once for all their beams, logits only where a token is chosen, no padding, every
beam of a row until the row's longest program has ended. Let ``N`` be the parameters of all matrices in the layers,
``V x M`` the output projection, ``L`` layers of ``H`` query heads and ``G`` key/value heads of width ``D``, ``P`` the
length of a prompt, ``n`` the tokens of a row's longest program and ``k`` the beams.

Reading one prompt (a query sees its own and earlier keys; two operations a multiply-add, for QK and for PV)::

    operations = 2 N P + 4 L H D (P (P + 1) / 2) + 2 V M
    bytes      = 2 L G D P s                                   keys and values written, s bytes a number

The first token comes from that; each of the ``n - 1`` others takes a model step of ``k`` beams, the ``t``-th of which
(``t = 1 ...``) sees the prompt and ``t`` generated tokens::

    operations = k (2 N + 2 V M + 4 L H D (P + t))
    bytes      = 2 L G D s (P + k t) + 2 L G D s k             the prompt's cache read once for all beams, k new slots

The cache of generated tokens is counted as if each beam had tokens of its own, which is the most that a shared cache
holds. On top come the weights, ``(N + V M) s`` bytes a pass over a batch: one to read a batch of prompts, and one for
each step of a batch. With ``B`` rows at once no schedule needs fewer than ``max(longest, sum of (n - 1) / B)`` steps.
Biases, norms, embedding look-ups, softmax and the choice of tokens are left out (below 1 percent).

A phase takes at least ``max(operations / rate, bytes / bandwidth)``; the bound is the sum over the two phases
(Williams, Waterman, Patterson 2009, "Roofline").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pper_jax.models import ModelConfig
from pper_jax.models.weights import parameter_shapes


@dataclass(frozen=True)
class Work:
    """Floating-point operations (a multiply-add is two) and bytes moved."""

    operations: float
    bytes: float

    def bound_s(self, rates: Rates) -> float:
        """The least seconds that it takes."""
        return max(self.operations / rates.operations_s, self.bytes / rates.bytes_s)


@dataclass(frozen=True)
class Rates:
    """What the machine does in a second: operations in a large matrix product, bytes of a large read."""

    operations_s: float
    bytes_s: float


@dataclass(frozen=True)
class Counted:
    """The work of decoding all prompts: reading them, and the model steps after that."""

    prefill: Work
    steps: Work
    step_count: int

    def bound_s(self, rates: Rates) -> float:
        """The least seconds for both."""
        return self.prefill.bound_s(rates) + self.steps.bound_s(rates)

    @property
    def operations(self) -> float:
        """Of both phases."""
        return self.prefill.operations + self.steps.operations

    @property
    def bytes(self) -> float:
        """Of both phases."""
        return self.prefill.bytes + self.steps.bytes


def layer_weights(config: ModelConfig) -> int:
    """``N``: numbers in the matrices of all layers."""
    shapes = parameter_shapes(replace(config, num_layers=1))
    kernels = (math.prod(shape) for path, shape in shapes.items() if path.startswith("layer_0/") and "/kernel" in path)
    return config.num_layers * sum(kernels)


def count(
    config: ModelConfig, prompts: Sequence[int], lengths: Sequence[int], *, k: int, batch: int, itemsize: int
) -> Counted:
    """The work of one beam search over all prompts (the formula is above).

    Args:
        config: the model.
        prompts: tokens of each prompt.
        lengths: tokens of the longest program of each prompt, EOS included, each at least 1.
        k: beams.
        batch: prompts at once.
        itemsize: bytes a number of weights and cache.
    """
    weights, project = layer_weights(config), config.vocab_size * config.hidden_size
    attend = 4 * config.num_layers * config.num_heads * config.head_dim  # operations a query and key
    slot = 2 * config.num_layers * config.num_kv_heads * config.head_dim * itemsize  # bytes a token of cache
    passes = (weights + project) * itemsize

    read_ops = sum(2 * weights * p + attend * p * (p + 1) / 2 + 2 * project for p in prompts)
    read_bytes = slot * sum(prompts) + math.ceil(len(prompts) / batch) * passes
    step_ops = step_bytes = 0.0
    for p, n in zip(prompts, lengths, strict=True):
        fed = n - 1
        seen = fed * (fed + 1) / 2
        step_ops += k * (fed * (2 * weights + 2 * project + attend * p) + attend * seen)
        step_bytes += slot * (fed * p + k * seen + fed * k)
    count = max([math.ceil(sum(n - 1 for n in lengths) / batch), *(n - 1 for n in lengths)])
    return Counted(Work(read_ops, read_bytes), Work(step_ops, step_bytes + count * passes), count)
