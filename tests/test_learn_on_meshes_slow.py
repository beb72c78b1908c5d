"""The same run on any mesh: what it draws, packs and loses over twenty steps is what one device does."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax import replay
from pper_jax.learn import make_learn_step
from pper_jax.models import load_model, resolve_model
from pper_jax.sharding import make_mesh
from pper_jax.tasks import load_tasks
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer

MESHES = ((8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 1, 8))
STEPS, BATCH, WIDTH, TASKS = 20, 32, 192, 48
RULES = replay.ReplayConfig(capacity=64, alpha=0.5, omega=0.7, scheme="proportional")
MOST_APART = 1e-4  # relative; float32 sums in another order, and what 20 updates make of that


@pytest.fixture(scope="module")
def demo():
    """The demo model and a buffer of programs for its tasks: references, which pass, and half of them cut short."""
    module, params, tokenizer = load_model(resolve_model("micro"))
    tokens = np.zeros((TASKS, WIDTH), np.int32)
    lengths, prompts = np.zeros((2, TASKS), np.int32)
    for row, task in enumerate(load_tasks("micro_python", split="train", count=TASKS, seed=0)):
        before, whole = (tokenizer(text)["input_ids"] for text in (task.prompt, task.prompt + task.reference))
        whole = whole[: max(len(before) + 3, len(whole) // 2)] if row % 2 else [*whole, tokenizer.eos_token_id]
        tokens[row, : len(whole)], lengths[row], prompts[row] = whole, len(whole), len(before)
    items = replay.Items(
        tokens=tokens,
        prompt_length=prompts,
        length=lengths,
        logprob=np.linspace(-9.0, -1.0, TASKS).astype(np.float32),
        pass_rate=np.tile([1.0, 0.25], TASKS // 2).astype(np.float32),
        task_index=np.arange(TASKS, dtype=np.int32),
        round=np.ones(TASKS, np.int32),
        program_id=np.arange(TASKS, dtype=np.int32),
        valid=np.ones(TASKS, bool),
    )
    return module, params, replay.add(replay.init(RULES, max_length=WIDTH), jax.tree.map(jnp.asarray, items), RULES)


def curve(demo, axes, accumulate):
    """``(losses [20], programs drawn [20, 32])`` of a run on a mesh of these axes, its rows packed."""
    module, params, buffer = demo
    mesh = make_mesh(*axes, devices=jax.devices()[: math.prod(axes)])
    optimizer = make_optimizer(OptimizerConfig(learning_rate=3e-4, warmup_steps=5), STEPS)
    state = init_train_state(jax.tree.map(jnp.array, params), optimizer, jax.random.key(1), mesh)
    options = {"batch_size": BATCH, "accumulate": accumulate, "packing": True}
    learn = make_learn_step(module, optimizer, state, mesh, RULES, **options)
    buffer, losses, drawn = jax.tree.map(jnp.array, buffer), [], []
    for _ in range(STEPS):
        state, buffer, metrics, _, programs = learn(state, buffer)
        losses.append(float(metrics.loss))
        drawn.append(np.asarray(programs))
    return np.array(losses), np.array(drawn)


@pytest.fixture(scope="module")
def alone(demo):
    return curve(demo, (1, 1, 1), 1)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("axes", [(1, 1, 1), *MESHES], ids=str)
def test_twenty_packed_steps_lose_what_one_device_loses(demo, alone, axes, accumulate):
    expected, drawn = alone
    losses, programs = curve(demo, axes, accumulate)
    apart = np.abs(losses / expected - 1).max()
    print(
        f"\n{axes}, accumulate {accumulate}: 20 losses within {apart:.1e} of one device's, {losses[0]:.3f} to", end=""
    )
    print(f" {losses[-1]:.3f}")
    assert expected[-1] < 0.8 * expected[0]
    np.testing.assert_array_equal(programs, drawn)
    assert apart <= MOST_APART
