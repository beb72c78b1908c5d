"""The registry of model families: a record each, in a file of its own, and one line of ``FILES``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pper_jax.errors import UserError
from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.config import Compute, ModelConfig
from pper_jax.models.families.family import Family, GGUFFacts
from pper_jax.models.families.gpt2 import GPT2
from pper_jax.models.families.llama import Llama
from pper_jax.models.stated import cut
from pper_jax.sharding import Rule

__all__ = [
    "GPT2",
    "MODEL_FAMILIES",
    "Family",
    "GGUFFacts",
    "Llama",
    "build_model",
    "family_named",
    "gguf_family",
    "rules_of",
]

FILES = (
    "codegen",
    "gemma2",
    "gemma3",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "gpt_neox",
    "gptj",
    "llama",
    "mistral",
    "phi3",
    "qwen2",
    "qwen3",
    "starcoder2",
)
_RECORDS: list[Family] = [import_module(f"{__name__}.{file}").FAMILY for file in FILES]
MODEL_FAMILIES: dict[str, Family] = {family.name: family for family in _RECORDS}


def family_named(name: object, where: str) -> Family:
    """The family of that name; a ``UserError`` that names the supported ones without it. ``where`` says who asked."""
    if not isinstance(name, str) or name not in MODEL_FAMILIES:
        supported = ", ".join(sorted(MODEL_FAMILIES))
        file = name if isinstance(name, str) and name.isidentifier() and len(name) < 40 else "NAME"
        raise UserError(
            f"{where}: model family {cut(repr(name))} is not supported; use one of: {supported}; or add "
            f"pper_jax/models/families/{file}.py."
        )
    return MODEL_FAMILIES[name]


def gguf_family(architecture: str, where: str) -> Family:
    """The family whose GGUF files have that architecture; a ``UserError`` where they are not read."""
    found = [family for family in MODEL_FAMILIES.values() if architecture == (family.gguf_name or family.name)]
    family = found[0] if found else family_named(architecture, where)
    if family.read_gguf is None:
        raise UserError(f"{where}: GGUF files of {family.name!r} are not read; use the Hugging Face folder.")
    return family


def rules_of(module: Any) -> tuple[Rule, ...]:
    """What the family of a module says of splitting its parameters over a mesh; nothing where it is none of ours."""
    family = MODEL_FAMILIES.get(getattr(getattr(module, "config", None), "family", ""))
    return () if family is None else family.rules


def build_model(config: ModelConfig, compute: Compute = Compute()) -> CausalLM:  # noqa: B008 (it is frozen)
    """The module of ``config.family``, without parameters; an unknown family is a ``UserError``."""
    return family_named(config.family, "model config").module(config, compute)
