"""What comes next: the model's next-token log-probabilities, computed as far as a method asks for them."""

from __future__ import annotations

from collections.abc import Callable

import jax

from pper_jax.decode.cache import log_probs
from pper_kernels.project_topk import top_log_probs


class Outlook:
    """Next-token log-probabilities of every beam, made on demand from its final hidden state.

    Args:
        hidden: ``[B, K, M]``.
        unembed: maps ``[..., M]`` to logits ``[..., V or more]`` float32, ``-inf`` for tokens that do not exist.
        vocab_size: ``V``; None where ``unembed`` gives no more.
        top: maps ``[..., M]`` and a count to the best tokens, where a kernel does both at once.
    """

    def __init__(
        self,
        hidden: jax.Array,
        unembed: Callable[[jax.Array], jax.Array],
        vocab_size: int | None = None,
        top: Callable[[jax.Array, int], tuple[jax.Array, jax.Array]] | None = None,
    ) -> None:
        self._hidden, self._unembed, self._vocab_size, self._top = hidden, unembed, vocab_size, top

    def log_probs(self) -> jax.Array:
        """``[B, K, V]`` float32 natural log-probabilities; NaN logits count as ``-inf``."""
        return log_probs(self._unembed(self._hidden)[..., : self._vocab_size])

    def top(self, count: int) -> tuple[jax.Array, jax.Array]:
        """The ``count`` most probable tokens of each beam, best first, the lowest token among equals.

        Returns:
            ``(log-probability [B, K, count] float32, token [B, K, count] int32)``; ``count`` is cut to the vocabulary.
        """
        count = min(count, self._vocab_size or count)
        return self._top(self._hidden, count) if self._top else top_log_probs(self._unembed(self._hidden), count)
