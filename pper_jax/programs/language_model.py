"""A model with its parameters and tokenizer, as the phases use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from pper_jax.decode import Ends
from pper_jax.files import model_folder
from pper_jax.models import load_model, resolve_model
from pper_jax.models.quantize import with_weights
from pper_jax.tasks import Task
from pper_jax.text import stop_token_suffixes
from pper_jax.types import Params


@dataclass(frozen=True)
class LanguageModel:
    """A module, its parameters and its tokenizer; ``name`` goes into the sample rows."""

    module: Any
    params: Params
    tokenizer: Any
    name: str

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end a program; empty when the tokenizer names none."""
        eos = self.tokenizer.eos_token_id
        return () if eos is None else (int(eos),)


def open_model(name: str, weights: str = "auto") -> LanguageModel:
    """A model from a HF folder, a GGUF file, a run folder or a known name.

    ``weights`` is how it is held: ``float32``, ``bfloat16``, ``int8``, or ``auto``, which is float32 on CPU and
    bfloat16 elsewhere, and also what int8 computes in. Named weights become part of the model's name, so that programs
    of different ones are not mixed in one file.
    """
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    module, params, tokenizer = load_model(model_folder(resolve_model(name)), dtype=dtype)
    module, params = with_weights(module, params, dtype if weights == "auto" else weights)
    return LanguageModel(module, params, tokenizer, name if weights == "auto" else f"{name} ({weights})")


def encode_prompts(model: LanguageModel, tasks: Sequence[Task]) -> list[list[int]]:
    """Token ids of each task's prompt, special tokens as the tokenizer was made to add them."""
    return [list(model.tokenizer(task.prompt)["input_ids"]) for task in tasks]


def ends_of(model: LanguageModel, tasks: Sequence[Task]) -> list[Ends]:
    """What the programs of each task end at: the model's EOS, and token suffixes that show one of the task's stops."""
    pad = model.eos_ids[0] if model.eos_ids else 0
    known = {stop: stop_token_suffixes(model.tokenizer, stop) for stop in {task.stop for task in tasks}}
    return [Ends(model.eos_ids, pad, known[task.stop]) for task in tasks]
