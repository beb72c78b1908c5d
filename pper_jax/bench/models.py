"""The models that are raced: known shapes with random weights, as Hugging Face folders that every runner reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from pper_jax.decode import BeamConfig, decode_prompts, pack_prompts
from pper_jax.errors import UserError
from pper_jax.models import CausalLM, ModelConfig, build_model, load_model, resolve_model, save_model
from pper_jax.models.shapes import SHAPES
from pper_jax.models.weights import parameter_shapes
from pper_jax.types import Params

CALIBRATION = 16  # prompts that the EOS of a random model is fitted to
EOS = 0  # random models end with token 0, which no prompt holds
EMBEDDING = 0.02  # standard deviation of embeddings
SHARPNESS = 1.5  # of queries and of keys: scores of attention have its square as their standard deviation
LOGIT_SPREAD = 6.0  # standard deviation of logits; the tokens that a search takes then have about half the probability


MODELS = (*SHAPES, "micro")


def shape_of(name: str) -> ModelConfig:
    """The configuration of a model with random weights; ``UserError`` for a name that is not known."""
    if name not in SHAPES:
        raise UserError(f"no model {name!r} to race; use one of {', '.join(MODELS)}.")
    return SHAPES[name]


def random_params(config: ModelConfig, seed: int = 0) -> Params:
    """Random weights whose output is neither uniform nor the repetition of its input.

    Kernels have standard deviation ``1/sqrt(inputs)``, so that every layer changes the residual stream by about as
    much as its norm; queries and keys ``SHARPNESS`` times that, so that attention picks some tokens. Embeddings are
    small beside what the layers add (tied ones would otherwise favour the last token), and the final norm's scale
    brings the logits to a standard deviation of ``LOGIT_SPREAD``.

    Returns:
        Float32 NumPy arrays in the tree of the model.
    """
    rng = np.random.default_rng(seed)

    def draw(path: str, shape: tuple[int, ...]) -> np.ndarray:
        if path.endswith("scale"):
            last = path.startswith("final_norm")
            return np.full(shape, LOGIT_SPREAD / (EMBEDDING * config.hidden_size**0.5) if last else 1.0, np.float32)
        if path.endswith("bias"):
            return np.zeros(shape, np.float32)
        inputs = int(np.prod(shape[:-1])) if path.endswith("attention/out/kernel") else shape[0]
        spread = EMBEDDING if path.endswith("embedding") else inputs**-0.5
        spread *= SHARPNESS if path.endswith(("query/kernel", "key/kernel")) else 1.0
        return rng.standard_normal(shape, np.float32) * np.float32(spread)

    flat = {path: draw(path, shape) for path, shape in parameter_shapes(config).items()}
    return traverse_util.unflatten_dict(flat, sep="/")


def number_tokenizer(size: int) -> Any:
    """A tokenizer whose tokens are the numbers ``0 .. size - 1`` as words, so that ids survive every conversion."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({str(i): i for i in range(size)}, unk_token=str(EOS)))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end = str(EOS)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, bos_token=end, unk_token=end)


def random_prompts(config: ModelConfig, count: int, lengths: Sequence[int], seed: int = 1) -> list[list[int]]:
    """``count`` prompts of random tokens without EOS, evenly spread from the first to the last of ``lengths``."""
    rng = np.random.default_rng(seed)
    sizes = np.linspace(lengths[0], lengths[-1], count).round().astype(int)
    rng.shuffle(sizes)
    return [rng.integers(EOS + 1, config.vocab_size, size).tolist() for size in sizes]


def set_up(
    name: str, workload: str, folder: Path, *, count: int, lengths: Sequence[int], limit: int
) -> tuple[Path, tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """A race's model, prompts and EOS ids.

    A model with random weights gets random prompts, and in the workload ``"eos"`` an output row for EOS that ends
    greedy programs after about a third of ``limit`` tokens; a beam's row, which needs k programs, takes
    longer. The demo model gets tasks of micro_python and its own EOS.

    Args:
        name: of ``MODELS``.
        workload: ``"no-eos"`` or ``"eos"``.
        folder: where a random model is written.
        count: prompts.
        lengths: shortest and longest random prompt.
        limit: new tokens.

    Returns:
        ``(model folder, prompts, EOS ids; none for "no-eos")``.
    """
    if name == "micro":
        from pper_jax.tasks import load_tasks

        module, params, tokenizer = load_model(resolve_model(name))
        tokenizer.unk_token = tokenizer.eos_token  # CTranslate2's converter asks for one
        save_model(folder, module, params, tokenizer)
        tasks = load_tasks("micro_python", split="heldout_kind", count=count, seed=0)
        prompts = [tokenizer(task.prompt)["input_ids"] for task in tasks]
        eos = tokenizer.eos_token_id
    else:
        config, eos = shape_of(name), EOS
        params, prompts = random_params(config), random_prompts(config, count, lengths)
        if workload == "eos":
            scale = eos_scale(build_model(config), params, prompts[:CALIBRATION], limit)
            params["token_embedding"]["embedding"][EOS] *= scale
        save_model(folder, build_model(config), params, number_tokenizer(config.vocab_size))
    return folder, tuple(map(tuple, prompts)), (eos,) if workload == "eos" else ()


def eos_scale(module: CausalLM, params: Params, prompts: Sequence[Sequence[int]], limit: int) -> float:
    """What to multiply the EOS's output row by so that greedy programs have about ``limit / 3`` tokens on average.

    The row is random, so its logit has mean 0 and a spread that grows with the factor; no program holds an EOS before
    its end, so nothing else changes. The prompts are decoded greedily without EOS, and the factor is found by
    bisection on the logits of those programs.
    """
    params = jax.tree.map(jnp.asarray, params)
    greedy = BeamConfig(width=1, max_new_tokens=limit)
    found = dict(decode_prompts(module, params, prompts, config=greedy, batch_size=len(prompts)))
    texts = [[*prompt, *found[i][0].tokens] for i, prompt in enumerate(prompts)]
    packed = pack_prompts(texts, max(map(len, texts)))
    at = jnp.broadcast_to(jnp.arange(packed.tokens.shape[1]), packed.tokens.shape)
    hidden, _ = module.apply({"params": params}, packed.tokens, at, at[:, :, None] >= at[:, None], method="hidden")
    before = jnp.array([range(len(prompt) - 1, len(prompt) - 1 + limit) for prompt in prompts])
    hidden = jnp.take_along_axis(hidden, before[..., None], axis=1)
    rows = params["token_embedding"]["embedding"]
    chosen = jnp.take_along_axis(packed.tokens, before + 1, axis=1)
    ratio = np.asarray(jnp.einsum("btm,m->bt", hidden, rows[EOS]) / jnp.einsum("btm,btm->bt", hidden, rows[chosen]))

    def mean_length(scale: float) -> float:
        ends = scale * ratio > 1
        return float(np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, limit).mean())

    low, high = 0.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_length(middle) > limit / 3 else (low, middle)
    return high
