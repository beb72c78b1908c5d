"""A checkpoint is whole arrays, whatever mesh wrote it: it is read onto the mesh at hand."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from pper_jax import replay
from pper_jax.learn import make_learn_step
from pper_jax.loop.checkpoint import Checkpoints
from pper_jax.loop.state import init_loop_state
from pper_jax.models import GPT2, ModelConfig
from pper_jax.sharding import make_mesh
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer

# 51 tokens are split over tp otherwise than 52 would be; the checkpoint knows nothing of that
MODULE = GPT2(ModelConfig("gpt2", 51, 16, 1, 2, 2, 8, 32, 16, attention_bias=True, mlp_bias=True))
RULES = replay.ReplayConfig(capacity=16)
OPTIMIZER = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup_steps=0), 10)


def begun(*axes):
    """``(state, learn step)`` on a mesh, with programs in the buffer."""
    mesh, tokens = make_mesh(*axes), jnp.zeros((1, 4), jnp.int32)
    params = jax.jit(MODULE.init)(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]
    train = init_train_state(params, OPTIMIZER, jax.random.key(1), mesh)
    rng, count = np.random.default_rng(0), 8
    items = replay.Items(
        tokens=jnp.asarray(rng.integers(1, 51, (count, 12)), jnp.int32),
        prompt_length=jnp.full(count, 4, jnp.int32),
        length=jnp.arange(5, 5 + count, dtype=jnp.int32),
        logprob=jnp.linspace(-9.0, -1.0, count),
        pass_rate=jnp.linspace(0.0, 1.0, count),
        task_index=jnp.arange(count, dtype=jnp.int32),
        round=jnp.ones(count, jnp.int32),
        program_id=jnp.arange(count, dtype=jnp.int32),
        valid=jnp.ones(count, bool),
    )
    buffer = replay.add(replay.init(RULES, max_length=12), items, RULES)
    state = init_loop_state(train, jax.device_put(buffer, NamedSharding(mesh, PartitionSpec())))
    return state, make_learn_step(MODULE, OPTIMIZER, train, mesh, RULES, batch_size=16)


def one_step(state, learn):
    train, buffer, metrics, _, programs = learn(state.train, state.buffer)
    return state.replace(train=train, buffer=buffer), float(metrics.loss), programs.tolist()


def test_what_eight_devices_of_data_saved_goes_on_on_two_by_two_by_two(tmp_path):
    state, learn = begun(8, 1, 1)
    state, first, _ = one_step(state, learn)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state.at(1, 1))
    _, expected, drawn = one_step(state, learn)

    like, learn = begun(2, 2, 2)
    with Checkpoints(tmp_path) as checkpoints:
        found = checkpoints.latest(like)
    assert found.position() == (1, 1)
    kernel, moment = found.train.params["layer_0"]["up"]["kernel"], found.train.opt_state[1][0].mu["layer_0"]["up"]
    assert kernel.addressable_shards[0].data.shape == moment["kernel"].addressable_shards[0].data.shape == (8, 16)
    _, loss, again = one_step(found, learn)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert again == drawn
    assert abs(loss - first) > 1e-3
