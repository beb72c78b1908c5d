"""Training beside torch: loss and gradients of a step, and five steps of AdamW with clipping and a schedule."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import traverse_util
from model_helpers import VOCAB, gpt2_config, llama_config, load_torch, random_torch, tiny_tokenizer

from pper_jax.models import Compute, load_model
from pper_jax.models.weights import pack as stored_as
from pper_jax.models.weights import parameter_shapes, stored_tensors
from pper_jax.sharding import make_mesh
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, pack, program_batch, train_step
from pper_jax.train.optimizer import learning_rate_schedule
from pper_jax.train.step import _gradients, loss_sum

ROWS, WIDTH = 8, 16
LENGTHS = np.array([16, 5, 9, 3, 12, 7, 4, 8])
PROMPTS = np.array([4, 1, 3, 1, 6, 2, 2, 3])
WEIGHTS = np.array([1.0, 0.5, 2.0, 1.0, 0.25, 1.0, 1.5, 1.0], np.float32)
WAYS = pytest.mark.parametrize(
    ("rows", "accumulate", "options"),
    [
        (None, 1, {}),
        (None, 4, {"lean_loss": True}),
        (2, 1, {"scan_layers": True, "remat": "full", "lean_loss": True}),
    ],
    ids=["alone", "four micro-batches, lean", "packed, lean"],
)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    config = gpt2_config(attn_pdrop=0, resid_pdrop=0, embd_pdrop=0) if request.param == "gpt2" else llama_config()
    random_torch(config).save_pretrained(str(folder))
    tiny_tokenizer().save_pretrained(str(folder))
    return folder


def programs():
    tokens = np.random.default_rng(0).integers(1, VOCAB, (ROWS, WIDTH)).astype(np.int32)
    return program_batch(*map(jnp.asarray, (tokens, PROMPTS, LENGTHS, WEIGHTS)))


def torch_loss(model):
    """Weighted cross-entropy of the completions, each program alone in its row, over the number of their tokens."""
    total, tokens = 0.0, np.asarray(programs().tokens)
    for row, prompt, length, weight in zip(tokens, PROMPTS, LENGTHS, WEIGHTS, strict=True):
        logits = model(torch.tensor(row[None, :length])).logits[0]
        said = torch.log_softmax(logits, -1)[prompt - 1 : length - 1]
        total = total - weight * said.gather(1, torch.tensor(row[prompt:length, None], dtype=torch.long)).sum()
    return total / int((LENGTHS - PROMPTS).sum())


def by_torchs_names(config, tree):
    flat = traverse_util.flatten_dict(jax.tree.map(np.asarray, tree), sep="/")
    return {t.hf: stored_as(t, flat, "hf") for t in stored_tensors(config, parameter_shapes(config))}


@WAYS
def test_loss_and_gradients_are_torchs(folder, rows, accumulate, options):
    model = load_torch(folder)
    loss = torch_loss(model)
    loss.backward()
    module, params, _ = load_model(folder)
    module = module.clone(compute=Compute(**options))
    batch = programs() if rows is None else pack(programs(), rows)
    grads, (total, count, _) = jax.jit(
        lambda params: _gradients(lambda p, b: loss_sum(module, p, b), params, batch, accumulate, None)
    )(params)
    np.testing.assert_allclose(total / count, loss.item(), rtol=1e-5)
    ours = by_torchs_names(module.config, jax.tree.map(lambda g: g / count, grads))
    theirs = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    whole = max(np.abs(gradient).max() for gradient in theirs.values())
    assert ours.keys() >= theirs.keys()
    for name, gradient in theirs.items():
        scale = max(np.abs(gradient).max(), 1e-3 * whole)  # a key's bias has none but rounding: softmax cancels it
        np.testing.assert_allclose(ours[name] / scale, gradient / scale, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("schedule", ["cosine", pytest.param("linear", marks=pytest.mark.slow)])
def test_five_steps_of_adamw_with_clipping_and_a_schedule_give_torchs_losses(folder, schedule):
    config = OptimizerConfig(1e-2, schedule=schedule, warmup_steps=2, weight_decay=0.1, clip_norm=0.5)
    rates = learning_rate_schedule(config, 5)
    model = load_torch(folder)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.b1, config.b2), eps=1e-8)
    plan = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: float(rates(step)) / config.learning_rate)
    theirs = []
    for _ in range(5):
        adamw.zero_grad()
        loss = torch_loss(model)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        adamw.step()
        plan.step()
        theirs.append(loss.item())
    module, params, _ = load_model(folder)
    optimizer, mesh = make_optimizer(config, 5), make_mesh(devices=jax.devices()[:1])
    state = init_train_state(params, optimizer, jax.random.key(0), mesh)
    step, batch, ours = jax.jit(lambda s, b: train_step(module, optimizer, 1, s, b)), pack(programs(), 4), []
    for _ in range(5):
        state, metrics = step(state, batch)
        ours.append(float(metrics.loss))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert ours[-1] < ours[0]
