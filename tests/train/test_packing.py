"""Packed programs: rows that are full and do not overlap, and the step that the same programs give alone."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.learn import rows_at_once
from pper_jax.models import GPT2, ModelConfig
from pper_jax.sharding import make_mesh
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, pack, program_batch, train_step
from pper_jax.train.packing import MOST, first_fit

MODULE = GPT2(ModelConfig("gpt2", 32, 16, 2, 2, 2, 8, 32, 32, attention_bias=True, mlp_bias=True))
WIDTH = 12


def programs(lengths, seed=0, shared=0):
    """Programs of ``lengths`` tokens in all, of which the first half are a prompt, and ``shared`` before each."""
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths, np.int32)
    tokens = rng.integers(1, 32, (len(lengths), shared + WIDTH)).astype(np.int32)
    tokens[:, :shared] = tokens[0, :shared]
    weight = jnp.asarray(rng.random(len(lengths)))
    batch = program_batch(
        jnp.asarray(tokens), jnp.asarray(shared + lengths // 2), jnp.asarray(shared + lengths), weight
    )
    return replace(
        batch,
        sampler_logprobs=jnp.asarray(rng.normal(size=tokens.shape), jnp.float32),
        extras={"pass_rate": jnp.asarray(rng.random(len(lengths)), jnp.float32)},
    )


@given(st.lists(st.integers(0, WIDTH), min_size=1, max_size=24), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_rows_hold_what_they_can_and_programs_do_not_overlap(lengths, most):
    row, start, number = map(np.asarray, first_fit(jnp.asarray(lengths, jnp.int32), WIDTH, most))
    held = {}
    for r, s, n, length in sorted(zip(row, start, number, lengths, strict=True), key=lambda x: (x[0], x[2])):
        end, count = held.get(r, (0, 0))
        assert (s, n) == (end, count)
        held[r] = end + length, count + 1
    assert all(end <= WIDTH and count <= most for end, count in held.values())
    assert sorted(held) == list(range(len(held)))
    if most >= len(lengths):  # no two rows could have been one
        ends = sorted(end for end, _ in held.values())
        assert len(ends) < 2 or ends[0] + ends[1] > WIDTH


@given(st.lists(st.integers(2, WIDTH), min_size=4, max_size=4), st.sampled_from([1, 2, 4]))
@settings(deadline=None, max_examples=20)
def test_everything_of_a_program_stands_where_its_place_says(lengths, rows):
    batch = programs(lengths)
    packed = pack(batch, rows)
    assert packed.batch.tokens.shape == (4 // rows, rows, WIDTH)
    most = min(MOST, 4)
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(4, *x.shape[2:]), packed.batch)
    for program, place in enumerate(np.asarray(packed.place)):
        row, number = divmod(int(place), most)
        here = flat.segment_ids[row] == number + 1
        assert here.sum() == lengths[program]
        for name in ("tokens", "loss_mask", "sampler_logprobs"):
            alone = np.asarray(getattr(batch, name))[program, : lengths[program]]
            np.testing.assert_array_equal(getattr(flat, name)[row][here], alone)
        assert flat.weight[row, number] == batch.weight[program]
        assert flat.extras["pass_rate"][row, number] == batch.extras["pass_rate"][program]
    assert (flat.segment_ids > 0).sum() == sum(lengths)
    assert not (flat.segment_ids[int(packed.used) * rows :] > 0).any()
    assert (flat.segment_ids[(int(packed.used) - 1) * rows :] > 0).any()


def one_step(batch, mesh, accumulate=1):
    tokens = jnp.zeros((1, 4), jnp.int32)
    params = MODULE.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup_steps=0), 10)
    state = init_train_state(params, optimizer, jax.random.key(1), mesh)
    return jax.jit(lambda s, b: train_step(MODULE, optimizer, accumulate, s, b, mesh=mesh))(state, batch)


def test_what_programs_share_stands_once_in_a_row():
    batch = programs([3, 7, 12, 2, 5, 5], shared=4)
    packed = pack(batch, 2, shared=4)
    nothing = jax.tree.map(lambda x: x.at[0].set(jnp.zeros_like(x[0])), batch)  # a draw without a program
    np.testing.assert_array_equal(pack(nothing, 2, shared=4).batch.tokens[0, 0, :4], batch.tokens[1, :4])
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(6, *x.shape[2:]), packed.batch)
    assert int(packed.used) == 2  # 34 tokens of their own in 3 rows of 12; rows of 16 hold one program each alone
    np.testing.assert_array_equal(flat.tokens[:, :4], np.broadcast_to(batch.tokens[0, :4], (6, 4)))
    for program, place in enumerate(np.asarray(packed.place)):
        row, number = divmod(int(place), 6)
        here = flat.segment_ids[row] == number + 1
        length = int((np.asarray(batch.segment_ids[program]) > 0).sum())
        np.testing.assert_array_equal(flat.tokens[row][here], np.asarray(batch.tokens)[program, 4:length])
    assert not flat.loss_mask[:, :4].any()
    assert flat.loss_mask.sum() == np.asarray(batch.loss_mask).sum()


@pytest.mark.parametrize(("devices", "rows", "shared"), [(1, 1, 0), (1, 8, 0), (4, 4, 0), (1, 2, 5), (4, 4, 5)])
def test_a_packed_step_is_the_step_of_the_same_programs_alone(devices, rows, shared):
    batch = programs([3, 7, 12, 2, 5, 5, 4, 9], shared=shared)
    mesh = make_mesh(data=-1, fsdp=2 if devices == 4 else 1, devices=jax.devices()[:devices])
    state, metrics = one_step(batch, make_mesh(devices=jax.devices()[:1]))
    packed_state, packed = one_step(pack(batch, rows, shared), mesh)
    assert float(packed.tokens) == float(metrics.tokens)
    np.testing.assert_allclose(packed.loss, metrics.loss, rtol=1e-5)
    np.testing.assert_allclose(packed.grad_norm, metrics.grad_norm, rtol=1e-5)
    np.testing.assert_allclose(packed.row_logprob, metrics.row_logprob, atol=1e-5)
    moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), packed_state.params, state.params)
    for name in ("query", "key", "value"):  # softmax cancels a key's bias: Adam scales its rounding noise
        for layer in ("layer_0", "layer_1"):
            moved[layer]["attention"][name].pop("bias")
    assert max(jax.tree.leaves(moved)) < 2e-4  # of steps of 1e-2


def test_micro_batches_are_shared_by_all_devices():
    meshes = {n: make_mesh(devices=jax.devices()[:n]) for n in (1, 4)}
    assert rows_at_once(32, 192, 10**6, meshes[1]) == 2
    assert rows_at_once(32, 192, 10**9, meshes[1]) == 8
    assert rows_at_once(32, 192, 10**6, meshes[4]) == 8
    assert rows_at_once(4, 5000, 10**6, meshes[4]) == 4
