"""A loop over a method's own functions in which the rows of one batch are at different steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from decode_stand_ins import TableLM

from pper_jax.decode.method import Method, freeze
from pper_jax.decode.outlook import Outlook
from pper_jax.types import Programs, Prompts


def decode_staggered(
    module: TableLM, params: Any, prompts: Prompts, keys: jax.Array | None, method: Method, delays: list[int]
) -> Programs:
    """Row ``r`` of the batch begins ``delays[r]`` steps late; ``module`` knows the last token and its place alone."""
    state = method.start(prompts, keys)
    last = jnp.take_along_axis(prompts.tokens, prompts.length[:, None] - 1, axis=1)
    advance = jax.jit(lambda state, hidden: method.advance(state, Outlook(hidden, module.unembed)))
    for tick in range(method.max_new_tokens + max(delays)):
        begun = state.step[:, None] > 0
        at = prompts.length[:, None] + state.step[:, None] - 1
        hidden = params["table"][at, jnp.where(begun, state.token, last)]
        state = freeze(jnp.asarray(delays) > tick, state, advance(state, hidden))
    assert np.all(state.done)
    return method.results(state)
