"""What a model is (``ModelConfig``) and how it is computed (``Compute``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from pper_jax.errors import UserError, shown
from pper_jax.ranges import check_number
from pper_jax.sharding import Placement

ACTIVATIONS = {
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "relu": jax.nn.relu,
    "gelu_fast": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
}


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched for contexts longer than those of pretraining.

    ``kind`` is ``"linear"`` (all frequencies divided by ``factor``), ``"llama3"`` (Llama 3.1: only the slow ones,
    which turn fewer than ``low_freq_factor`` times in ``original_max_positions``, with a ramp up to
    ``high_freq_factor`` turns), ``"yarn"`` (2309.00071: the same idea, with a ramp over the numbers of frequencies),
    ``"longrope"`` (2402.13753: each divided by one of ``divisors``; beyond ``original_max_positions`` by
    ``long_divisors``, which is not done: the context ends there) or ``"dynamic"`` (frequencies change beyond the
    context that the model states, where it ends here). ``attention_factor`` multiplies what was rotated.
    """

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192
    attention_factor: float = 1.0
    truncate: bool = True
    divisors: tuple[float, ...] = ()
    long_divisors: tuple[float, ...] = ()


LARGEST, MOST_HEAD_DIM = 2**31 - 1, 2**16  # of any size of a model, and of a head's width
SIZES = ("vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "mlp_size", "max_positions")
LANES = 128  # rows of a matrix that begin at a multiple of this are read fastest
REMATS = ("none", "dots", "full")
COMPUTE_TYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ModelConfig:
    """What a causal LM is, apart from how it is computed (``Compute``); hashable, so that jitted functions may close
    over it.

    ``family`` is a key of ``MODEL_FAMILIES``; a family obeys what it has.

    Attributes:
        attention_bias: of query, key and value, and of the output where ``out_bias`` does not say otherwise.
        mlp_bias: Llama's MLP (GPT-2's always has biases).
        head_bias: of the output projection to the vocabulary.
        rotary_dim: leading dimensions of each head that are rotated; 0: all.
        local_rope_theta: ``rope_theta`` of the layers that have a window; None: the same.
        windows: of each layer, how many keys a query sees at most, itself included; 0, or none at all: all keys.
        attention_scale: what queries are multiplied by; None: ``head_dim ** -0.5``.
        attention_cap: scores ``s`` become ``cap * tanh(s / cap)``.
        logit_cap: likewise logits.
        embedding_scale: what token embeddings are multiplied by.
        parallel_residual: whether attention and MLP read the same input, where a family has both kinds.
    """

    family: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_size: int
    max_positions: int
    norm_eps: float = 1e-5
    activation: str = "gelu_new"
    tie_embeddings: bool = True
    attention_bias: bool = False
    mlp_bias: bool = False
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    out_bias: bool | None = None
    head_bias: bool = False
    rotary_dim: int = 0
    local_rope_theta: float | None = None
    windows: tuple[int, ...] = ()
    attention_scale: float | None = None
    attention_cap: float | None = None
    logit_cap: float | None = None
    embedding_scale: float = 1.0
    parallel_residual: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that are none, and names that nobody knows."""
        for name in ("local_rope_theta", "attention_scale", "attention_cap", "logit_cap"):
            if (value := getattr(self, name)) is not None:
                check_number(name, value, above=0)
        check_number("embedding_scale", self.embedding_scale, above=0)
        check_number("rotary_dim", self.rotary_dim, least=0, most=self.head_dim, whole=True)
        if self.rotary_dim % 2:
            raise UserError(f"rotary_dim is {self.rotary_dim}; rotary positions need an even number.")
        if self.windows and len(self.windows) != self.num_layers:
            raise UserError(f"windows has {len(self.windows)} numbers for {self.num_layers} layers; it needs as many.")
        for window in self.windows:
            check_number("windows", window, least=0, most=LARGEST, whole=True)
        for name in SIZES:
            check_number(name, getattr(self, name), least=1, most=LARGEST, whole=True)
        check_number("head_dim", self.head_dim, least=1, most=MOST_HEAD_DIM, whole=True)
        for name in ("norm_eps", "rope_theta"):
            check_number(name, getattr(self, name), above=0)
        if self.num_heads % self.num_kv_heads:
            raise UserError(f"{self.num_heads} heads cannot share {self.num_kv_heads} key/value heads evenly.")
        if self.activation not in ACTIVATIONS:
            raise UserError(f"activation {self.activation!r} is not supported; known are {', '.join(ACTIVATIONS)}.")


@dataclass(frozen=True)
class Compute:
    """How a model is computed, apart from what it is (``ModelConfig``); hashable.

    Attributes:
        dtype: the compute type, by any of its spellings; norms, softmax and logits stay float32, and parameters keep
            their own type.
        kernels: the implementation (of ``pper_kernels``) of decode attention and of the projection to the best tokens;
            None takes the best known for the platform.
        column_blocks: arrays of columns that each kernel is held in (``models.layout``).
        quantized: whether kernels are held in int8 (``models.quantize``).
        attention: ``"cudnn"`` takes cuDNN's fused attention where there is no cache of beams; None is XLA's.
        scan_layers: blocks as one that runs over their stacked weights, where there is no cache: compiled once.
        remat: what a scanned block keeps for the backward pass: ``"none"``: all of it, ``"dots"``: its products with
            weights, ``"full"``: its input alone, so that the block is computed again.
        lean_loss: make logits again in the backward pass instead of keeping them.
        placement: where intermediate values lie on a mesh of several devices; None says nothing about it.
    """

    dtype: Any = jnp.float32
    kernels: str | None = None
    column_blocks: int = 1
    quantized: bool = False
    placement: Placement | None = None
    attention: str | None = None
    scan_layers: bool = False
    remat: str = "none"
    lean_loss: bool = False

    def __post_init__(self) -> None:
        """Give the compute type its one spelling, so that equal options compare equal; refuse what is none."""
        object.__setattr__(self, "dtype", _compute_type(self.dtype))
        if self.attention not in (None, "cudnn"):
            raise UserError(f"attention is {shown(self.attention)}; it is cudnn, or not given")
        if self.remat not in REMATS:
            raise UserError(f"remat is {shown(self.remat)}; choose one of {', '.join(REMATS)}")
        if self.remat != "none" and not self.scan_layers:
            raise UserError(
                f"remat is {self.remat}, which takes scan_layers (XLA undoes it where layers are not scanned)"
            )
        check_number("column_blocks", self.column_blocks, least=1, most=LARGEST, whole=True)

    @property
    def own_head(self) -> bool:
        """Whether the output projection is a matrix of its own even where the model ties it to its embeddings."""
        return self.quantized or self.column_blocks > 1

    def head_columns(self, vocab_size: int) -> int:
        """Columns of the output projection: ``vocab_size``, in ``decode_layout`` rounded up to a multiple of 128."""
        rounded = self.column_blocks > 1 and not self.quantized
        return -(-vocab_size // LANES) * LANES if rounded else vocab_size


def _compute_type(dtype: Any) -> Any:
    """``jnp.float32``, ``jnp.bfloat16`` or ``jnp.float16``, from any spelling."""
    try:
        name = jnp.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in COMPUTE_TYPES:
        raise UserError(f"dtype: {name!r} is not a compute type; use float32, bfloat16 or float16.")
    return getattr(jnp, name)
