"""A real pretrained model end to end: fetched, converted, and greedy text equal to transformers' token for token."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from model_helpers import load_torch

from pper_jax.decode.sample import SampleConfig, sample
from pper_jax.models import get_model, load_model
from pper_jax.types import Prompts

PROMPTS = (
    "def fibonacci(n):\n    ",
    "The capital of France is",
    "import numpy as np\n\ndef mean(values):\n    # 12 + 34 = ",
    "Once upon a time,",
    "<|im_start|>user\nWrite a Python function that reverses a string.<|im_end|>\n<|im_start|>assistant\n",
)
NEW_TOKENS = 64


def greedy(module, params, ids: list[int], eos: int) -> list[int]:
    config = SampleConfig(max_new_tokens=NEW_TOKENS, temperature=0.0, eos_ids=(eos,), pad_id=eos)
    padded = np.full((1, 32), eos)
    padded[0, : len(ids)] = ids
    programs = sample(
        module, params, Prompts(jnp.array(padded), jnp.array([len(ids)])), jax.random.key(0), config=config
    )
    return programs.tokens[0, 0, : int(programs.length[0, 0])].tolist()


@pytest.mark.slow
def test_greedy_text_equals_transformers():
    folder = get_model("smollm2-135m-instruct")
    module, params, tokenizer = load_model(folder)
    torch_model = load_torch(folder)
    for prompt in PROMPTS:
        ids = tokenizer(prompt)["input_ids"]
        with torch.no_grad():
            output = torch_model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=NEW_TOKENS)
        ours = greedy(module, params, ids, tokenizer.eos_token_id)
        print(f"\n--- {prompt!r}\n{tokenizer.decode(ours)}")
        assert ours == output[0, len(ids) :].tolist()
