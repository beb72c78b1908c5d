"""Log-probabilities in blocks: the reference's values and gradients, for any sizes, and little memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax.sharding import make_mesh
from pper_kernels.linear_log_probs import (
    Split,
    api,
    linear_log_probs,
    linear_log_probs_reference,
    linear_log_probs_sharded,
    sharded,
)


def case(rows, vocabulary, transposed, width=8, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(rows + vocabulary), 4)
    hidden = jax.random.normal(keys[0], (rows, width), dtype)
    table = jax.random.normal(keys[1], (vocabulary, width) if transposed else (width, vocabulary))
    tokens = jax.random.randint(keys[2], (rows,), 0, vocabulary)
    return hidden, table, tokens, jax.random.normal(keys[3], (rows,))


@partial(jax.jit, static_argnames=("transposed", "lean", "implementation", "cap"))
def value_and_grads(hidden, table, tokens, given, live, **options):
    def total(hidden, table):
        found = linear_log_probs(hidden, table, tokens, live, **options)
        return jnp.sum(found * given), found

    (_, found), grads = jax.value_and_grad(total, (0, 1), has_aux=True)(hidden, table)
    return found, *grads


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize(
    ("rows", "vocabulary", "live"), [(5, 50, 5), (300, 50, 0), (300, 50, 129), (7, 45, 4), (40, 33, 40)]
)
def test_values_and_gradients_are_those_of_all_logits(monkeypatch, transposed, lean, rows, vocabulary, live):
    monkeypatch.setattr(api, "WHOLE", 40)
    monkeypatch.setattr(api, "COLUMNS", 16)  # the last block reaches back over the one before
    *arrays, given = case(rows, vocabulary, transposed)
    live = jnp.int32(live)
    want = value_and_grads(*arrays, given, live, transposed=transposed, implementation="reference")
    got = value_and_grads(*arrays, given, live, transposed=transposed, lean=lean, implementation="blocks")
    for ours, theirs in zip(got, want, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("lean", [True, False])
def test_capped_logits_have_the_references_values_and_gradients(monkeypatch, lean):
    monkeypatch.setattr(api, "WHOLE", 40)
    monkeypatch.setattr(api, "COLUMNS", 16)
    *arrays, given = case(7, 45, True)
    options = {"transposed": True, "cap": 1.5}
    want = value_and_grads(*arrays, given, jnp.int32(6), implementation="reference", **options)
    got = value_and_grads(*arrays, given, jnp.int32(6), lean=lean, implementation="blocks", **options)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert not np.allclose(got[0], value_and_grads(*arrays, given, jnp.int32(6), transposed=True)[0], atol=1e-2)


def test_bfloat16_states_give_float32_log_probabilities():
    hidden, table, tokens, given = case(6, 50, True, dtype=jnp.bfloat16)
    want = value_and_grads(hidden, table, tokens, given, jnp.int32(6), transposed=True, implementation="reference")
    got = value_and_grads(hidden, table, tokens, given, jnp.int32(6), transposed=True, implementation="blocks")
    assert got[0].dtype == jnp.float32
    assert got[1].dtype == jnp.bfloat16
    assert got[2].dtype == jnp.float32
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours.astype(np.float32), theirs.astype(np.float32), atol=0.05)


def test_lean_never_holds_the_logits():
    hidden, table, tokens, given = case(1024, 20_000, True)
    lowered = partial(value_and_grads.lower, hidden, table, tokens, given, jnp.int32(1024), transposed=True)
    logits = 4 * 1024 * 20_000
    lean, whole = (lowered(lean=lean).compile().memory_analysis().temp_size_in_bytes for lean in (True, False))
    assert lean < logits / 8
    assert whole >= logits


def test_an_unknown_implementation_is_refused():
    hidden, table, tokens, _ = case(2, 5, True)
    with pytest.raises(ValueError, match="'magic' does not exist; there are blocks and reference"):
        linear_log_probs(hidden, table, tokens, transposed=True, implementation="magic")


@pytest.mark.parametrize(
    ("rows", "cap"), [(("fsdp",), None), ((), None), (("data", "fsdp"), None), (("data", "fsdp"), 1.5)], ids=str
)
def test_on_a_mesh_values_and_gradients_are_those_of_one_device(monkeypatch, rows, cap):
    """Rows and columns in several blocks a device, the last ones filled up; 49 tokens, which tp splits as 25 and 24."""
    monkeypatch.setattr(sharded, "ROWS", 5)
    monkeypatch.setattr(sharded, "COLUMNS", 10)
    hidden, table, tokens, given = case(32, 49, True)
    padded, mesh = jnp.pad(table, ((0, 1), (0, 0)), constant_values=9.0), make_mesh(2, 2, 2)
    split = Split(mesh, rows, "tp", 49, cap)

    def total(log_probs, hidden, table):
        found = log_probs(hidden, table, tokens)
        return jnp.sum(found * given), found

    def of(log_probs):
        return jax.jit(jax.value_and_grad(partial(total, log_probs), (0, 1), has_aux=True))

    def expected(hidden, table, tokens):
        return linear_log_probs_reference(hidden, table[:49], tokens, 32, transposed=True, cap=cap)

    (_, found), grads = of(partial(linear_log_probs_sharded, split))(hidden, padded)
    (_, whole), right = of(expected)(hidden, padded)
    for ours, theirs in zip((found, *grads), (whole, *right), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not grads[1][49:].any()
