"""What the tests of models share: a tiny tokenizer, random torch checkpoints, one jitted forward pass."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from flax import traverse_util

from pper_jax.models import ModelConfig
from pper_jax.models.weights import parameter_shapes

torch.set_num_threads(1)
VOCAB = 264


def tiny_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE: 256 bytes, three merges, ``<eos>``."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "he", "ll", "hell"]
    merges = [("h", "e"), ("l", "l"), ("he", "ll")]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<eos>", normalized=False)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def gpt2_config(**options) -> transformers.GPT2Config:
    sizes = {"vocab_size": VOCAB, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 4}
    return transformers.GPT2Config(**sizes | {"bos_token_id": 259, "eos_token_id": 259} | options)


def llama_config(**options) -> transformers.LlamaConfig:
    sizes = {"vocab_size": VOCAB, "max_position_embeddings": 64, "hidden_size": 32, "intermediate_size": 48}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
    return transformers.LlamaConfig(**sizes | heads | {"bos_token_id": None, "eos_token_id": 259} | options)


def random_params(config: ModelConfig) -> dict[str, Any]:
    """Random parameters of ours, biases and norms included; cheaper than compiling the initialisers."""
    rng = np.random.default_rng(0)
    draw = lambda path, shape: rng.normal(1.0 if path.endswith("scale") else 0.0, 0.3, shape).astype(np.float32)  # noqa: E731
    flat = {path: jnp.array(draw(path, shape)) for path, shape in parameter_shapes(config).items()}
    return traverse_util.unflatten_dict(flat, sep="/")


def random_torch(config) -> torch.nn.Module:
    """A torch model whose every parameter is random, biases and norms included."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        centre = 1.0 if "norm" in name or "ln_" in name else 0.0
        parameter.data.normal_(centre, 0.15)
    return model


def torch_logits(model: torch.nn.Module, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.numpy()


def load_torch(path) -> torch.nn.Module:
    return transformers.AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32).eval()


def random_tokens(batch: int = 2, length: int = 12, vocab: int = VOCAB) -> np.ndarray:
    return np.random.default_rng(0).integers(0, vocab, (batch, length))


def causal(batch: int, length: int) -> tuple[jax.Array, jax.Array]:
    """Positions and mask of unpadded rows."""
    positions = jnp.broadcast_to(jnp.arange(length), (batch, length))
    return positions, jnp.broadcast_to(jnp.tril(jnp.ones((length, length), bool)), (batch, length, length))


@partial(jax.jit, static_argnums=0)
def forward(module, params, tokens) -> jax.Array:
    positions, mask = causal(*tokens.shape)
    return module.apply({"params": params}, tokens, positions, mask)[0]
