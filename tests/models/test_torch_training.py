"""Training beside torch: loss and gradients of a step, and five steps of AdamW with clipping and a schedule."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch
from model_helpers import gpt2_config, llama_config, load_torch, random_torch, tiny_tokenizer
from torch_programs import programs, same_gradients, torch_loss

from pper_jax.models import Compute, load_model
from pper_jax.sharding import make_mesh
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, pack, train_step
from pper_jax.train.optimizer import learning_rate_schedule

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


@WAYS
def test_loss_and_gradients_are_torchs(folder, rows, accumulate, options):
    module, params, _ = load_model(folder)
    module = module.clone(compute=Compute(**options))
    batch = programs() if rows is None else pack(programs(), rows)
    same_gradients(load_torch(folder), module, params, batch, accumulate, within=1e-4)


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
