"""Each objective on the demo model: right and wrong programs of 16 tasks, and where training moves them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax import replay
from pper_jax.learn import make_learn_step
from pper_jax.models import LoraConfig, load_model, resolve_model
from pper_jax.models.lora import init_adapters, merge
from pper_jax.sharding import make_mesh
from pper_jax.tasks import load_tasks
from pper_jax.train import (
    ObjectiveConfig,
    OptimizerConfig,
    init_train_state,
    make_objective,
    make_optimizer,
    program_batch,
    target_logprobs,
)

WIDTH, STEPS, TASKS = 192, 8, 16
RULES = replay.ReplayConfig(capacity=64, omega=0.0)
WRONG = "    return None\n"


@pytest.fixture(scope="module")
def demo():
    """Module, parameters, rows of two programs a task, what the model gives them, and how to ask that again."""
    module, params, tokenizer = load_model(resolve_model("micro"))
    tasks = load_tasks("micro_python", split="train", count=TASKS, seed=0)
    written = [(i, task.prompt, text) for i, task in enumerate(tasks) for text in (task.reference, WRONG)]
    tokens = np.zeros((len(written), WIDTH), np.int32)
    lengths, prompts = np.zeros((2, len(written)), np.int32)
    for row, (_, prompt, text) in enumerate(written):
        before, whole = (tokenizer(part)["input_ids"] for part in (prompt, prompt + text))
        whole = [*whole, tokenizer.eos_token_id]
        tokens[row, : len(whole)], lengths[row], prompts[row] = whole, len(whole), len(before)
    ones = np.ones(len(written))
    items = replay.Items(
        tokens=tokens,
        prompt_length=prompts,
        length=lengths,
        logprob=-ones.astype(np.float32),
        pass_rate=np.tile([1.0, 0.0], TASKS).astype(np.float32),
        task_index=np.array([row[0] for row in written], np.int32),
        round=ones.astype(np.int32),
        program_id=np.arange(len(written), dtype=np.int32),
        valid=ones > 0,
    )
    batch = program_batch(*map(jnp.asarray, (tokens, prompts, lengths, ones)))
    ask = jax.jit(lambda params: target_logprobs(module, params, batch))
    return module, params, items, np.asarray(ask(params)), ask


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "rank"),
    [
        (ObjectiveConfig(), 0),
        (ObjectiveConfig(), 4),
        (ObjectiveConfig(kl=0.1), 0),
        (ObjectiveConfig("pass_rate"), 0),
        (ObjectiveConfig("raft"), 0),
        (ObjectiveConfig("unlikelihood", coefficient=0.3), 0),
        (ObjectiveConfig("advantage"), 0),
        (ObjectiveConfig("grpo"), 0),
        (ObjectiveConfig("importance"), 0),
        (ObjectiveConfig("dpo"), 0),
        (ObjectiveConfig("dpo"), 4),
    ],
    ids=lambda given: given.name + "+kl" * (given.kl > 0) if isinstance(given, ObjectiveConfig) else f"rank {given}",
)
def test_an_objective_moves_the_demo_model_where_it_wants(demo, config, rank):
    module, params, items, before, ask = demo
    lora = LoraConfig(rank=rank) if rank else LoraConfig()
    columns = {
        "advantage": np.asarray(replay.group_advantage(items)),
        "sampler_logprobs": before,
        "reference_logprobs": before,
    }
    items = replace(items, extras={name: column for name, column in columns.items() if name in config.needs})
    shapes = {name: jax.ShapeDtypeStruct(column.shape[1:], column.dtype) for name, column in items.extras.items()}
    buffer = replay.add(replay.init(RULES, replay.example_row(WIDTH, shapes)), items, RULES)
    mesh = make_mesh(data=1, devices=jax.devices()[:1])
    optimizer = make_optimizer(OptimizerConfig(learning_rate=3e-3 if rank else 3e-4, warmup_steps=0), STEPS)
    trained = init_adapters(lora, params, jax.random.key(0)) if rank else jax.tree.map(jnp.copy, params)
    state = init_train_state(trained, optimizer, jax.random.key(1), mesh)
    step = make_learn_step(
        module,
        optimizer,
        state,
        mesh,
        RULES,
        batch_size=16,
        objective=make_objective(config),
        pairs=config.pairs,
        packing=True,
        base=params if rank else None,
        lora=lora,
    )
    losses = []
    for _ in range(STEPS):
        state, buffer, metrics, *_ = step(state, buffer)
        losses.append(float(metrics.loss))
    after = np.asarray(ask(merge(params, state.params, lora) if rank else state.params))
    moved = (after - before).sum(axis=1).reshape(-1, 2).mean(axis=0)
    print(
        f"\n{config.name} kl {config.kl:g} rank {rank}: loss {losses[0]:.4f} -> {losses[-1]:.4f}; log-probability of a "
        f"solved program {moved[0]:+.2f}, of a failed one {moved[1]:+.2f} nats"
    )
    assert np.isfinite(losses).all()
    if config.name == "cross_entropy":  # half of what is drawn is wrong
        assert losses[-1] < losses[0]
        assert moved.mean() > 0
    else:
        assert moved[0] > moved[1]
    if config.name in ("unlikelihood", "advantage", "grpo", "importance", "dpo"):
        assert moved[1] < 0
