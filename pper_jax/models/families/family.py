"""What is particular to one family of models: one record in one file. Nothing else asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.config import ModelConfig
from pper_jax.models.stated import Stated
from pper_jax.sharding import Rule


def _as_it_is(config: ModelConfig) -> ModelConfig:
    return config


@dataclass(frozen=True)
class GGUFFacts:
    """What a GGUF file says of its model by its tensors: the vocabulary, and which optional tensors there are."""

    vocab_size: int
    tied: bool
    attention_bias: bool
    mlp_bias: bool
    rope_divisors: Any = None  # [head_dim / 2] float32 of "rope_freqs.weight", where there is one


@dataclass(frozen=True)
class Family:
    """A family of models: its module, and how its checkpoints are read and written.

    To add one, write a file beside ``gpt2.py`` and put its record into ``MODEL_FAMILIES``. A reader gets the file's
    keys as ``Stated`` and reads every one that it obeys: others that may change what is computed are refused.

    Attributes:
        name: ``ModelConfig.family`` and the ``model_type`` of ``config.json``.
        module: the class, built from a ``ModelConfig``.
        hf_class: transformers' class, for ``architectures`` of ``config.json``.
        hf_prefix: of the weights' names in the whole model, which checkpoints of the bare trunk leave out.
        modules: ``(Hugging Face's module, GGUF's module, ours)``; ``{i}`` is the layer, and ``"a+b"`` the outputs of a
            and b side by side in one stored tensor.
        read_hf: ``config.json``, completed by transformers, to a config.
        write_hf: the keys of ``config.json`` that ``read_hf`` reads; those common to all families are added.
        read_gguf: metadata (keys without ``NAME.``), and what the tensors say, to a config; None where GGUF files of
            the family are not read.
        gguf_name: GGUF's ``general.architecture``, where it is not ``name``.
        gguf_shift: what llama.cpp's converter adds to the scales of norms.
        conv1d: whether a module of Hugging Face's stores ``[in, out]`` instead of ``[out, in]``.
        interleaved: GGUF's modules whose rows llama.cpp's converter reorders, to the config's number of heads.
        stored: the config whose parameters a checkpoint has; parameters beyond ours are zeros there.
        fused_groups: into how many groups of heads a stored tensor of several of ours is cut, each group of all of them
            side by side; GPT-2's one has all queries before all keys.
        rules: how its parameters are split over a mesh where the table of ``pper_jax.sharding`` does not say it.
    """

    name: str
    module: type[CausalLM]
    hf_class: str
    hf_prefix: str
    modules: tuple[tuple[str, str, str], ...]
    read_hf: Callable[[Stated], ModelConfig]
    write_hf: Callable[[ModelConfig], dict[str, Any]]
    read_gguf: Callable[[Stated, GGUFFacts], ModelConfig] | None = None
    gguf_name: str = ""
    gguf_shift: float = 0.0
    conv1d: Callable[[str], bool] = lambda module: False
    interleaved: Mapping[str, Callable[[ModelConfig], int]] = field(default_factory=dict)
    stored: Callable[[ModelConfig], ModelConfig] = _as_it_is
    fused_groups: Callable[[ModelConfig], int] = lambda config: 1
    rules: tuple[Rule, ...] = ()
