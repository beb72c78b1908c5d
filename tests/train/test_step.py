import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pper_jax.models import GPT2, ModelConfig
from pper_jax.sharding import make_mesh
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, make_train_step
from pper_jax.train.optimizer import decay_mask, learning_rate_schedule
from pper_jax.types import TrainBatch

CONFIG = ModelConfig("gpt2", 32, 16, 2, 2, 2, 8, 32, 32, attention_bias=True, mlp_bias=True)
MODULE = GPT2(CONFIG)


def new_params():
    tokens = jnp.zeros((1, 4), jnp.int32)
    return MODULE.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]


def new_batch(rows=8):
    rng = np.random.default_rng(0)
    mask = np.arange(12)[None, :] < rng.integers(4, 12, (rows, 1))
    tokens = rng.integers(1, 32, (rows, 12)).astype(np.int32)
    return TrainBatch(tokens, mask.astype(np.int32), mask, np.ones(rows, np.float32))


def steps(n, *, accumulate=1, devices=1, **axes):
    mesh = make_mesh(**axes, devices=jax.devices()[:devices])
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup_steps=2), total_steps=10)
    state = init_train_state(new_params(), optimizer, jax.random.key(1), mesh)
    step = make_train_step(MODULE, optimizer, state, mesh, accumulate=accumulate)
    losses = []
    for _ in range(n):
        state, metrics = step(state, new_batch())
        losses.append(float(metrics.loss))
    return state, losses, metrics


def assert_same_params(got, want):
    """Equal within 1e-5 of each array's largest entry.

    Key biases are left out: softmax cancels them, so their true gradient is 0 and Adam only scales its rounding noise.
    """
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True):
        name = jax.tree_util.keystr(path)
        if not name.endswith("['key']['bias']"):
            scale = np.abs(b).max()
            np.testing.assert_allclose(np.asarray(a) / scale, np.asarray(b) / scale, rtol=0, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def reference():
    return steps(3)


def test_the_loss_falls_and_every_parameter_moves(reference):
    state, losses, _ = reference
    assert losses[-1] < losses[0]
    moved = jax.tree.map(lambda new, old: bool((new != old).any()), state.params, new_params())
    assert all(jax.tree.leaves(moved)), moved
    assert state.step == 3


@pytest.mark.parametrize(
    "axes", [{"data": 8}, {"data": 1, "fsdp": 8}, {"data": 2, "fsdp": 2, "tp": 2}], ids=["data", "fsdp", "all"]
)
def test_eight_devices_give_what_one_gives(reference, axes):
    state, losses, metrics = steps(3, devices=8, **axes)
    expected, expected_losses, expected_metrics = reference
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(metrics.row_logprob, expected_metrics.row_logprob, rtol=1e-5)
    assert_same_params(state.params, expected.params)


def test_weights_and_their_moments_are_really_split():
    state, _, _ = steps(1, devices=8, data=2, fsdp=2, tp=2)
    kernel = state.params["layer_0"]["up"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (8, 16)
    moment = state.opt_state[1][0].mu["layer_0"]["up"]["kernel"]
    assert moment.sharding == kernel.sharding


def test_micro_batches_give_the_same_step(reference):
    state, losses, metrics = steps(3, accumulate=4)
    expected, expected_losses, expected_metrics = reference
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(metrics.row_logprob, expected_metrics.row_logprob, rtol=1e-5)
    assert_same_params(state.params, expected.params)


def test_the_same_seed_gives_the_same_bytes(reference):
    again, _, _ = steps(3)
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), again.params, reference[0].params)
    assert all(jax.tree.leaves(same))


def test_warm_up_then_constant_or_decay():
    section = OptimizerConfig(learning_rate=1.0, warmup_steps=4)
    constant = learning_rate_schedule(section, 100)
    assert [float(constant(i)) for i in (0, 3, 4, 99)] == pytest.approx([0.25, 0.8125, 1.0, 1.0])
    cosine = learning_rate_schedule(OptimizerConfig(learning_rate=1.0, warmup_steps=4, schedule="cosine"), 100)
    assert float(cosine(100)) == pytest.approx(0.1)


def test_only_matrices_decay():
    mask = decay_mask(new_params())
    assert mask["layer_0"]["up"] == {"kernel": True, "bias": False}
    assert mask["final_norm"] == {"scale": False, "bias": False}
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.5, warmup_steps=0), 10)
    params = copy.deepcopy(new_params())
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    assert optax.tree.norm(updates["final_norm"]) == 0
    assert optax.tree.norm(updates["layer_0"]["up"]["kernel"]) > 0
