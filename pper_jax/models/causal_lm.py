"""What every model family shares: embed, run the blocks over a caller-owned cache, normalise, unembed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from pper_jax.models.attention import Seen
from pper_jax.models.config import LARGEST, Compute, ModelConfig
from pper_jax.models.layers import Int8Dense, residual
from pper_jax.models.masks import windowed
from pper_jax.types import KVCache, Params
from pper_kernels.project_topk import project_top_log_probs, top_log_probs

# What a scanned block keeps for the backward pass: all, its products with weights, or its input alone.
REMAT: dict[str, Callable[..., Any]] = {
    "none": lambda step: step,
    "dots": partial(jax.checkpoint, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable),
    "full": jax.checkpoint,
}
_float32_dot = partial(lax.dot_general, preferred_element_type=jnp.float32)


def _within(logits: jax.Array, tokens: int) -> jax.Array:
    return jnp.arange(logits.shape[-1]) < tokens


class CausalLM(nn.Module):
    """A decoder-only language model; a family is a subclass that names its block, its norm and its kind of positions.

    ``module.apply({"params": params}, tokens, positions, mask, cache=None, write_at=0)``:

    - ``tokens [B, S]`` int32, ``positions [B, S]`` int32, ``mask`` a ``Mask`` of key ranges (``models.masks``), or
      ``[B, S, C]`` bool for what ranges cannot say: query ``s`` may see key slot ``c``. Beams have a ``BeamMask``.
    - ``cache=None``: ``C == S`` and the keys are this call's. Otherwise this call's keys and values are first written
      to slots ``write_at .. write_at + S - 1`` (``write_at`` may be traced) and attention runs over all ``C`` slots.
    - returns ``(logits [B, S, V] float32, cache)``.

    ``method="hidden"`` stops before the logits and ``method="unembed"`` makes them, for callers that need few of them.
    """

    config: ModelConfig
    compute: Compute = Compute()

    block: ClassVar[type[nn.Module]]
    norm: ClassVar[Callable[..., nn.Module]]
    learned_positions: ClassVar[bool]

    def setup(self) -> None:
        """Declare the sub-modules; names are the parameter paths that checkpoints and sharding rules use."""
        cfg, compute = self.config, self.compute
        normal = nn.initializers.normal(0.02)
        embed = partial(nn.Embed, features=cfg.hidden_size, embedding_init=normal, dtype=compute.dtype)
        self.token_embedding = embed(cfg.vocab_size)
        if self.learned_positions:
            self.position_embedding = embed(cfg.max_positions)
        self.layers = [self.block(cfg, compute, name=f"layer_{i}") for i in range(cfg.num_layers)]
        self.final_norm = self.norm(cfg)
        if compute.quantized:
            self.lm_head: nn.Module = Int8Dense((cfg.vocab_size,), 1, cfg.head_bias, compute.dtype, jnp.float32)
        elif not self.tied:
            columns = compute.head_columns(cfg.vocab_size)
            self.lm_head = nn.Dense(columns, cfg.head_bias, dtype=compute.dtype, dot_general=_float32_dot)

    @property
    def tied(self) -> bool:
        """Whether logits are products with the token embedding; the layouts for decoding have a matrix of their own."""
        return self.config.tie_embeddings and not self.compute.own_head

    def hidden(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        mask: Seen,
        cache: KVCache | None = None,
        write_at: jax.Array | int = 0,
    ) -> tuple[jax.Array, KVCache | None]:
        """Final hidden states ``[B, S, M]`` after the last norm, and the extended cache."""
        x = self.embed(tokens, positions)
        if cache is None and self.compute.scan_layers and not self.is_initializing():
            return self._normed(self._scanned(x, positions, mask)), None
        extended, windows = [], self.config.windows or (0,) * self.config.num_layers
        for i, layer in enumerate(self.layers):
            seen = windowed(mask, windows[i]) if windows[i] else mask
            x, layer_cache = layer(x, positions, seen, None if cache is None else cache[i], write_at)
            x = residual(self.compute, x)
            extended.append(layer_cache)
        return self._normed(x), None if cache is None else tuple(extended)

    def _normed(self, x: jax.Array) -> jax.Array:
        return self.final_norm(x).astype(self.compute.dtype)

    def _scanned(self, x: jax.Array, positions: jax.Array, mask: Seen) -> jax.Array:
        """All blocks as one that is compiled once and run over their stacked weights."""
        block = self.block(self.config, self.compute, parent=None)
        weights = [layer.variables["params"] for layer in self.layers]
        sizes = jnp.asarray([window or LARGEST for window in self.config.windows]) if any(self.config.windows) else None

        def step(x: jax.Array, layer: tuple[Params, jax.Array | None]) -> tuple[jax.Array, None]:
            params, size = layer
            seen = mask if size is None else windowed(mask, size)
            x, _ = block.apply({"params": params}, x, positions, seen, None, 0)
            return residual(self.compute, x), None

        step = REMAT[self.compute.remat](step)
        return lax.scan(step, x, (jax.tree.map(lambda *each: jnp.stack(each), *weights), sizes))[0]

    def head(self) -> tuple[jax.Array, bool]:
        """The matrix that makes logits of what ``before_head`` gives, before a soft cap, and whether it is ``[V, M]``
        (an embedding) or ``[M, V]``; a bias is its last row.
        """
        if self.tied:
            return self.token_embedding.embedding, True
        leaves = self.lm_head.variables["params"]
        rows = [leaves["kernel"], leaves["bias"][None]] if self.config.head_bias else [leaves["kernel"]]
        return jnp.concatenate(rows)[:, : self.config.vocab_size], False

    def before_head(self, hidden: jax.Array) -> jax.Array:
        """Hidden states ``[..., M]``, with a 1 after them where ``head`` has a row for the bias."""
        one = [(0, 0)] * (hidden.ndim - 1) + [(0, 1)]
        return jnp.pad(hidden, one, constant_values=1) if self.config.head_bias else hidden

    def embed(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        """What the first block reads, ``[B, S, M]``."""
        placement = self.compute.placement
        if placement is None or self.is_initializing():
            x = self._scaled(self.token_embedding(tokens))
            return x + self.position_embedding(positions) if self.learned_positions else x
        x = self._scaled(jnp.take(self.table(), tokens, axis=0))
        if self.learned_positions:
            x = x + jnp.take(placement.whole(self.position_embedding.embedding), positions, axis=0).astype(x.dtype)
        return residual(self.compute, x)

    def _scaled(self, x: jax.Array) -> jax.Array:
        scale = self.config.embedding_scale
        return x if scale == 1 else x * jnp.asarray(scale, x.dtype)

    def table(self) -> jax.Array:
        """The token embedding ``[V, M]`` in the compute type; on a mesh with rows of zeros up to a multiple of tp."""
        placement, table = self.compute.placement, self.token_embedding.embedding.astype(self.compute.dtype)
        return table if placement is None else placement.table(table)

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """Logits ``[..., V]`` of hidden states ``[..., M]``, summed in float32 whatever the compute type.

        A layout or a mesh may round ``V`` up: what goes beyond the vocabulary is ``-inf``.
        """
        placement, tokens, cap = self.compute.placement, self.config.vocab_size, self.config.logit_cap
        if self.tied:
            logits = jnp.einsum("...m,vm->...v", hidden, self.table(), preferred_element_type=jnp.float32)
        elif placement is None or placement.columns(tokens) == tokens or self.compute.quantized:
            logits = self.lm_head(hidden)
        else:
            kernel, _ = self.head()
            table, hidden = placement.table(kernel.T.astype(self.compute.dtype)), self.before_head(hidden)
            logits = _float32_dot(hidden, table, (((hidden.ndim - 1,), (1,)), ((), ())))
        logits = logits if cap is None else cap * jnp.tanh(logits / cap)
        return logits if logits.shape[-1] == tokens else jnp.where(_within(logits, tokens), logits, -jnp.inf)

    def top(self, hidden: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        """The ``count`` best tokens of hidden states ``[..., M]`` through ``compute.kernels``, best first.

        Returns ``(log-probability [..., count] float32, token [..., count] int32)``; logits are never held whole, but
        for int8 weights, which the kernels of the projection do not read, and soft caps.
        """
        if self.compute.quantized or self.config.logit_cap is not None:
            return top_log_probs(self.unembed(hidden), count)
        table, tied = self.head()  # a layout may have added columns, which count for nothing
        rows = self.before_head(hidden.reshape(-1, hidden.shape[-1]))
        found = project_top_log_probs(rows, table, count, transposed=tied, implementation=self.compute.kernels)
        logprob, token = (x.reshape(*hidden.shape[:-1], -1) for x in found)
        return logprob, token

    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        mask: Seen,
        cache: KVCache | None = None,
        write_at: jax.Array | int = 0,
    ) -> tuple[jax.Array, KVCache | None]:
        """``(logits [B, S, V] float32, cache)``; see the class."""
        hidden, cache = self.hidden(tokens, positions, mask, cache, write_at)
        return self.unembed(hidden)[..., : self.config.vocab_size], cache
