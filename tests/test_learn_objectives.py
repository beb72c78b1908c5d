"""The learn step with adapters over a frozen base, with stored columns, and on pairs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pper_jax import replay
from pper_jax.errors import UserError
from pper_jax.learn import make_learn_step
from pper_jax.models import GPT2, LoraConfig, ModelConfig
from pper_jax.models.lora import init_adapters, merge
from pper_jax.sharding import make_mesh, shard_params
from pper_jax.train import (
    ObjectiveConfig,
    OptimizerConfig,
    init_train_state,
    make_objective,
    make_optimizer,
    program_batch,
    target_logprobs,
    train_step,
)

MODULE = GPT2(ModelConfig("gpt2", 32, 16, 1, 2, 2, 8, 32, 24, attention_bias=True, mlp_bias=True))
CONFIG = replay.ReplayConfig(capacity=8, omega=0.0)
LORA = LoraConfig(rank=2, alpha=4.0)
WIDTH, COUNT = 8, 8
ALONE = {"data": 1, "devices": jax.devices()[:1]}


@pytest.fixture(scope="module")
def params():
    tokens = jnp.zeros((1, 4), jnp.int32)
    return MODULE.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]


def rows():
    """Eight programs of two tasks, half of them solved."""
    rng = np.random.default_rng(0)
    whole = np.full(COUNT, WIDTH, np.int32)
    return replay.Items(
        tokens=rng.integers(1, 32, (COUNT, WIDTH)).astype(np.int32),
        prompt_length=whole // 4,
        length=whole - np.arange(COUNT, dtype=np.int32) % 3,
        logprob=np.full(COUNT, -1.0, np.float32),
        pass_rate=np.array([1, 0, 1, 0.5, 0, 1, 0, 1], np.float32),
        task_index=np.arange(COUNT, dtype=np.int32) // 4,
        round=np.ones(COUNT, np.int32),
        program_id=np.arange(COUNT, dtype=np.int32),
        valid=np.ones(COUNT, bool),
    )


def logprobs_of(params):
    items = rows()
    batch = program_batch(*map(jnp.asarray, (items.tokens, items.prompt_length, items.length)), jnp.ones(COUNT))
    return jax.jit(lambda params: target_logprobs(MODULE, params, batch))(params)


def learner(
    params, objective=None, *, base=None, mesh=None, learning_rate=1e-2, batch_size=16, columns=None, **options
):
    """A state, a filled buffer and the compiled step."""
    mesh = make_mesh(**(mesh or ALONE))
    items = replace(rows(), extras=columns or {})
    width = {name: jax.ShapeDtypeStruct(column.shape[1:], column.dtype) for name, column in items.extras.items()}
    buffer = replay.add(replay.init(CONFIG, replay.example_row(WIDTH, width)), items, CONFIG)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=learning_rate, warmup_steps=0, weight_decay=0.0), 10)
    state = init_train_state(jax.tree.map(jnp.array, params), optimizer, jax.random.key(3), mesh)
    given = {"base": base if base is None else shard_params(base, mesh), "lora": LORA}
    objective = {} if objective is None else {"objective": make_objective(objective)}
    step = make_learn_step(
        MODULE, optimizer, state, mesh, CONFIG, batch_size=batch_size, **given, **objective, **options
    )
    return state, buffer, step


@pytest.fixture(scope="module")
def adapted(params):
    """Adapters, a learner of them, and what six steps gave."""
    kept, adapters = jax.tree.map(np.array, params), init_adapters(LORA, params, jax.random.key(1))
    state, buffer, step = learner(adapters, base=params)
    moments = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    measured = []
    for _ in range(6):
        state, buffer, metrics, *_ = step(state, buffer)
        measured.append(metrics)
    return kept, adapters, moments, state, measured


def test_with_adapters_they_alone_are_trained_and_the_base_stands(params, adapted):
    kept, adapters, moments, state, measured = adapted
    assert moments == 2 * sum(leaf.size for leaf in jax.tree.leaves(adapters))
    assert measured[-1].loss < measured[0].loss
    assert not any(metrics.unchanged for metrics in measured)
    jax.tree.map(np.testing.assert_array_equal, params, kept)
    assert jax.tree.structure(state.params) == jax.tree.structure(adapters)
    merged = merge(params, state.params, LORA)
    assert not np.array_equal(merged["layer_0"]["up"]["kernel"], kept["layer_0"]["up"]["kernel"])
    np.testing.assert_array_equal(merged["token_embedding"]["embedding"], kept["token_embedding"]["embedding"])


def test_adapters_learn_the_same_on_a_mesh(params, adapted):
    _, adapters, _, _, measured = adapted
    state, buffer, step = learner(adapters, base=params, mesh={"data": 2, "fsdp": 2, "tp": 2})
    for expected in measured[:3]:
        state, buffer, metrics, *_ = step(state, buffer)
        np.testing.assert_allclose(metrics.loss, expected.loss, rtol=1e-5)
    assert state.params["layer_0"]["up"]["kernel"]["lora_b"].sharding.spec[1] == "tp"


@pytest.mark.parametrize("packing", [False, True])
def test_stored_columns_reach_the_objective_in_micro_batches(params, packing):
    sampler, advantage = np.asarray(logprobs_of(params)), np.asarray(replay.group_advantage(rows()))
    columns = {"sampler_logprobs": sampler, "reference_logprobs": sampler, "advantage": advantage}
    state, buffer, step = learner(
        params, ObjectiveConfig("grpo", kl=0.1), columns=columns, accumulate=2, packing=packing
    )
    _, _, metrics, draw, _ = step(state, buffer)
    drawn = np.asarray(draw.indices)
    lengths = (rows().length - rows().prompt_length)[drawn]
    expected = -np.sum(advantage[drawn] * lengths) / lengths.sum()  # the ratio is 1, the distance 0
    np.testing.assert_allclose(metrics.loss, expected, rtol=1e-4)
    np.testing.assert_allclose(metrics.row_logprob, sampler.sum(axis=1)[drawn], rtol=1e-4)


def test_dpo_learns_from_the_pairs_that_replay_draws(params):
    columns = {"reference_logprobs": np.asarray(logprobs_of(params))}
    state, buffer, step = learner(params, ObjectiveConfig("dpo", beta=0.5), columns=columns, pairs=True)
    state, buffer, metrics, draw, _ = step(state, buffer)
    np.testing.assert_allclose(metrics.loss, np.log(2), rtol=1e-5)  # at the reference every margin is 0
    assert metrics.tokens == 8
    rates = np.asarray(draw.pass_rate).reshape(-1, 2)
    assert (rates[:, 0] == 1).all()
    assert (rates[:, 1] < 1).all()
    for _ in range(5):
        state, buffer, metrics, *_ = step(state, buffer)
    assert metrics.loss < np.log(2) - 0.01
    assert not metrics.unchanged
    solved = replace(buffer, items=replace(buffer.items, pass_rate=jnp.ones(COUNT)))
    state, _, metrics, *_ = step(state, solved)  # no pair, so nothing to learn from
    assert metrics.tokens == 0
    assert metrics.unchanged
    assert not metrics.skipped


def test_a_column_that_the_buffer_lacks_is_said_before_anything_compiles(params):
    state, buffer, step = learner(params, ObjectiveConfig("grpo"))
    with pytest.raises(UserError, match=r"the objective needs (advantage|sampler_logprobs), which the batch lacks"):
        step.lower(state, buffer)


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "mesh"),
    [(8, 8, ALONE), (8, 1, {"data": 8}), (16, 4, {"data": 2, "fsdp": 2, "tp": 2})],
)
def test_pairs_that_would_be_parted_are_refused(params, batch_size, accumulate, mesh):
    with pytest.raises(UserError, match=r"half of batch_size, for pairs, is \d; it must be a multiple of"):
        learner(params, pairs=True, batch_size=batch_size, accumulate=accumulate, mesh=mesh)


def test_updates_of_zero_change_nothing_and_that_is_said(params):
    items = rows()
    batch = program_batch(*map(jnp.asarray, (items.tokens, items.prompt_length, items.length)), jnp.ones(COUNT))
    optimizer = optax.sgd(0.0)
    state = init_train_state(params, optimizer, jax.random.key(3), make_mesh(**ALONE))
    after, metrics = jax.jit(lambda state: train_step(MODULE, optimizer, 1, state, batch))(state)
    assert metrics.unchanged
    assert metrics.grad_norm > 0
    assert not metrics.skipped
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
