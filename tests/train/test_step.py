import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pper_jax.errors import UserError
from pper_jax.models import GPT2, ModelConfig
from pper_jax.sharding import make_mesh
from pper_jax.train import (
    OptimizerConfig,
    cross_entropy,
    init_train_state,
    make_optimizer,
    make_train_step,
)
from pper_jax.train.optimizer import decay_mask, learning_rate_schedule
from pper_jax.types import TrainBatch

CONFIG = ModelConfig("gpt2", 32, 16, 2, 2, 2, 8, 32, 32, attention_bias=True, mlp_bias=True)
MODULE = GPT2(CONFIG)


def new_params():
    tokens = jnp.zeros((1, 4), jnp.int32)
    return MODULE.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]


MESHES = pytest.mark.parametrize(
    "axes", [{"data": 8}, {"data": 1, "fsdp": 8}, {"data": 2, "fsdp": 2, "tp": 2}], ids=["data", "fsdp", "all"]
)


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


@MESHES
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


@MESHES
def test_micro_batches_on_a_mesh_give_the_same_step_with_rows_in_order(axes):
    def descend(accumulate, devices, **axes):  # plain descent: Adam would scale the rounding noise of small gradients
        mesh, optimizer = make_mesh(**axes, devices=jax.devices()[:devices]), optax.sgd(0.1)
        state = init_train_state(new_params(), optimizer, jax.random.key(1), mesh)
        return make_train_step(MODULE, optimizer, state, mesh, accumulate=accumulate)(state, new_batch(32))

    (state, metrics), (expected, expected_metrics) = descend(4, 8, **axes), descend(1, 1)
    np.testing.assert_allclose(metrics.loss, expected_metrics.loss, rtol=1e-5)
    np.testing.assert_allclose(metrics.row_logprob, expected_metrics.row_logprob, rtol=1e-5)
    assert_same_params(state.params, expected.params)


def infinite_loss(logprobs, batch):
    total, count, programs = cross_entropy(logprobs, batch)
    return total + jnp.inf * logprobs.sum(), count, programs


def finite_loss_without_a_gradient(logprobs, batch):
    total, count, programs = cross_entropy(logprobs, batch)
    return total + jnp.sqrt(0 * logprobs.sum()), count, programs


SMALL = GPT2(ModelConfig("gpt2", 32, 8, 1, 1, 1, 8, 16, 32, attention_bias=True, mlp_bias=True))


def small(rate=1e-2, **options):
    """A fresh state of a small model, and its step."""
    mesh = make_mesh(devices=jax.devices()[:1])
    tokens = jnp.zeros((1, 4), jnp.int32)
    params = SMALL.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]
    optimizer = make_optimizer(OptimizerConfig(learning_rate=rate, warmup_steps=3), 10)
    state = init_train_state(params, optimizer, jax.random.key(1), mesh)
    return state, make_train_step(SMALL, optimizer, state, mesh, **options)


@pytest.fixture(scope="module")
def good_step():
    return small()[1]


def assert_same_bytes(got, want):
    same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), got, want)
    assert all(jax.tree.leaves(same)), same


@pytest.mark.parametrize(
    ("objective", "rate", "accumulate"),
    [
        (infinite_loss, 1e-2, 1),
        (finite_loss_without_a_gradient, 1e-2, 4),
        (cross_entropy, 1e30, 1),  # the gradient is finite, what is made of it is not
    ],
)
def test_a_step_that_is_not_finite_moves_nothing_but_the_counter(good_step, objective, rate, accumulate):
    state, metrics = good_step(small()[0], new_batch())  # moments that are not 0
    assert not metrics.skipped
    before = jax.device_get((state.params, state.opt_state))
    state, metrics = small(rate, objective=objective, accumulate=accumulate)[1](state, new_batch())
    assert metrics.skipped
    assert state.step == 2
    assert_same_bytes((state.params, state.opt_state), before)


def test_one_bad_row_costs_its_step_and_no_other(good_step):
    batch = new_batch()
    bad = np.where(np.arange(8) == 3, np.nan, batch.weight).astype(np.float32)
    outcomes = []
    for weights in ([batch.weight, batch.weight], [batch.weight, bad, batch.weight]):
        state, _ = small()
        for weight in weights:
            state, _ = good_step(state, batch.replace(weight=weight))
        assert state.step == len(weights)
        outcomes.append((state.params, state.opt_state))
    assert_same_bytes(*outcomes)


def test_a_batch_that_micro_batches_on_the_mesh_do_not_divide_is_one_sentence():
    with pytest.raises(UserError, match="batch_size is 8; it must be a multiple of 32, which is mesh data 8"):
        steps(1, accumulate=4, devices=8, data=8)


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


def test_a_horizon_that_is_given_does_not_move_when_the_run_is_extended():
    def rate(total_steps, **options):
        optimizer = make_optimizer(OptimizerConfig(schedule="linear", warmup_steps=0, **options), total_steps)
        params = {"bias": jnp.ones(1)}
        state = optimizer.init(params)
        for _ in range(5):
            updates, state = optimizer.update({"bias": jnp.ones(1)}, state, params)
        return float(updates["bias"][0])

    assert rate(10) != rate(20)
    assert rate(10) == rate(10, horizon_steps=10) == rate(20, horizon_steps=10)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("learning_rate", "clip_norm") for value in (0.0, -1.0, float("nan"), float("inf"))]
    + [(name, value) for name in ("b1", "b2") for value in (1.0, -0.1, float("nan"), True)]
    + [("weight_decay", -1.0), ("weight_decay", float("nan")), ("warmup_steps", 1.5), ("warmup_steps", -1)]
    + [("horizon_steps", -1), ("horizon_steps", 2.0), ("schedule", "sine"), ("learning_rate", "1")],
)
def test_options_of_the_optimizer_judge_themselves(name, value):
    with pytest.raises(UserError, match=rf"^{name} is"):
        OptimizerConfig(**{name: value})


def test_only_matrices_decay():
    mask = decay_mask(new_params())
    assert mask["layer_0"]["up"] == {"kernel": True, "bias": False}
    assert mask["final_norm"] == {"scale": False, "bias": False}
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.5, warmup_steps=0), 10)
    params = copy.deepcopy(new_params())
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    assert optax.tree.norm(updates["final_norm"]) == 0
    assert optax.tree.norm(updates["layer_0"]["up"]["kernel"]) > 0
