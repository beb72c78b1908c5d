"""A model with its parameters and tokenizer, as the phases use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from pper_jax.files import digest_path, model_folder
from pper_jax.models import load_model, resolve_model
from pper_jax.models.quantize import with_weights
from pper_jax.tasks import Task
from pper_jax.text import stop_token_suffixes
from pper_jax.types import Params


@dataclass(frozen=True)
class LanguageModel:
    """A module, its parameters and its tokenizer; ``name`` goes into the sample rows.

    ``digest`` stands for the files that it was read from, where it was.
    """

    module: Any
    params: Params
    tokenizer: Any
    name: str
    digest: str | None = None

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
    path = model_folder(resolve_model(name))
    module, params, tokenizer = load_model(path, dtype=dtype)
    module, params = with_weights(module, params, dtype if weights == "auto" else weights)
    called = name if weights == "auto" else f"{name} ({weights})"
    return LanguageModel(module, params, tokenizer, called, digest_path(path))


def encode_prompts(model: LanguageModel, tasks: Sequence[Task]) -> list[list[int]]:
    """Token ids of each task's prompt, special tokens as the tokenizer was made to add them."""
    return [list(model.tokenizer(task.prompt)["input_ids"]) for task in tasks]


def with_stops(config: Any, model: LanguageModel, tasks: Sequence[Task]) -> Any:
    """``config`` with the model's EOS and, where all tasks share their stops, the stops' token suffixes."""
    stops = {task.stop for task in tasks}
    suffixes = stop_token_suffixes(model.tokenizer, stops.pop()) if len(stops) == 1 else ()
    pad = model.eos_ids[0] if model.eos_ids else 0
    return replace(config, eos_ids=model.eos_ids, pad_id=pad, stop_suffixes=suffixes)
