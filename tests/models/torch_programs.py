"""Programs in padded rows, what torch's loss of them is, and the comparison of gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import traverse_util
from model_helpers import VOCAB

from pper_jax.models.weights import pack as stored_as
from pper_jax.models.weights import parameter_shapes, stored_tensors
from pper_jax.train import program_batch
from pper_jax.train.step import _gradients, loss_sum

ROWS, WIDTH = 8, 16
LENGTHS = np.array([16, 5, 9, 3, 12, 7, 4, 8])
PROMPTS = np.array([4, 1, 3, 1, 6, 2, 2, 3])
WEIGHTS = np.array([1.0, 0.5, 2.0, 1.0, 0.25, 1.0, 1.5, 1.0], np.float32)


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


def same_gradients(model, module, params, batch, accumulate=1, *, within):
    """Loss and gradients of a step on ``batch`` are torch's, gradients within a share of the largest of each tensor."""
    loss = torch_loss(model)
    loss.backward()
    grads, (total, count, _) = jax.jit(
        lambda params: _gradients(lambda p, b: loss_sum(module, p, b), params, batch, accumulate, None, "each")
    )(params)
    np.testing.assert_allclose(total / count, loss.item(), rtol=1e-5)
    ours = by_torchs_names(module.config, jax.tree.map(lambda g: g / count, grads))
    if "embed_out.weight" in ours:  # GPT-NeoX's stored name; the class calls it as the others do
        ours["lm_head.weight"] = ours["embed_out.weight"]
    theirs = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    whole = max(np.abs(gradient).max() for gradient in theirs.values())
    assert ours.keys() >= theirs.keys()
    for name, gradient in theirs.items():
        scale = max(np.abs(gradient).max(), 1e-3 * whole)  # a key's bias has none but rounding: softmax cancels it
        np.testing.assert_allclose(ours[name] / scale, gradient / scale, atol=within, err_msg=name)
