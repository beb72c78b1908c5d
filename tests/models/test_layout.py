from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax.models import GPT2, Llama, ModelConfig, decode_layout
from pper_jax.models.layers import block_widths


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("family", "module"), [("gpt2", GPT2), ("llama", Llama)])
def test_the_layout_changes_shapes_not_results(family: str, module: type, tied: bool):
    gpt2 = family == "gpt2"
    config = ModelConfig(
        family, 97, 32, 2, 4, 4 if gpt2 else 2, 8, 56, 64, attention_bias=gpt2, tie_embeddings=tied,
        activation="gelu_new" if gpt2 else "silu",
    )  # fmt: skip
    tokens = jnp.arange(10).reshape(2, 5)
    call = (tokens, jnp.tile(jnp.arange(5), (2, 1)), jnp.tril(jnp.ones((2, 5, 5), bool)))
    plain = module(config)
    params = plain.init(jax.random.key(1), *call)["params"]
    laid_out, columns = decode_layout(plain, params, blocks=3)
    expected, _ = plain.apply({"params": params}, *call)
    found, _ = laid_out.apply({"params": columns}, *call)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    own = jax.eval_shape(laid_out.init, jax.random.key(1), *call)["params"]
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, columns)  # what the module itself would make


def test_block_widths_cover_the_columns():
    assert block_widths(768, 2) == [384, 384]
    assert block_widths(50, 2) == [32, 18]
    assert block_widths(8, 4) == [8]
    for columns in range(1, 200):
        assert sum(block_widths(columns, 3)) == columns
        assert len(block_widths(columns, 3)) <= 3
