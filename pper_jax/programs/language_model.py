"""A model with its parameters and tokenizer, as the phases use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
from jax.sharding import Mesh

from pper_jax.decode import Ends, lay_out
from pper_jax.files import digest_path, model_folder
from pper_jax.models import load_model, resolve_model
from pper_jax.models.ends import read_ends, tokenizer_ends
from pper_jax.models.quantize import with_weights
from pper_jax.tasks import Task
from pper_jax.text import BASE, Profile, encode, stop_token_suffixes
from pper_jax.types import Params


@dataclass(frozen=True)
class LanguageModel:
    """A module, its parameters and its tokenizer.

    Attributes:
        module: a causal LM of ``pper_jax.models``.
        params: its parameters.
        tokenizer: a transformers tokenizer.
        name: goes into the sample rows.
        eos_ids: tokens that end a program, as ``models.ends.read_ends`` finds them; by default the tokenizer's EOS,
            which may be none.
        digest: stands for the files that it was read from, where it was.
        mesh: the devices that decode, where there are several.
        profile: how it is asked for programs.
        encoded: tokens of the prompts that were encoded before; shared by copies that differ in parameters or name.
    """

    module: Any
    params: Params
    tokenizer: Any
    name: str
    eos_ids: tuple[int, ...] = None  # type: ignore[assignment]  # filled in below
    digest: str | None = None
    mesh: Mesh | None = None
    profile: Profile = BASE
    encoded: dict[str, list[int]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Fill in the tokenizer's EOS."""
        if self.eos_ids is None:
            object.__setattr__(self, "eos_ids", tokenizer_ends(self.tokenizer))


def open_model(name: str, weights: str = "auto", profile: Profile = BASE) -> LanguageModel:
    """A model from a HF folder, a GGUF file, a run folder or a known name.

    ``weights`` is how it is held: ``float32``, ``bfloat16``, ``int8``, or ``auto``, which is float32 on CPU and
    bfloat16 elsewhere, and also what int8 computes in. Named weights become part of the model's name, so that programs
    of different ones are not mixed in one file. ``profile`` is how it is asked.
    """
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    path = model_folder(resolve_model(name))
    module, params, tokenizer = load_model(path, dtype=dtype)
    module, params = with_weights(module, params, dtype if weights == "auto" else weights)
    called = name if weights == "auto" else f"{name} ({weights})"
    ends = read_ends(path, tokenizer)
    return LanguageModel(module, params, tokenizer, called, ends, digest_path(path), profile=profile)


def encode_prompts(model: LanguageModel, tasks: Sequence[Task]) -> list[list[int]]:
    """Token ids of each task's prompt, as the model's profile writes it.

    Special tokens are those that the tokenizer adds, or the profile writes out; no end stands behind the prompt.

    Raises:
        UserError: a prompt holds half of a surrogate pair (the task is named), or the profile cannot ask for a task.
    """
    known, profile = model.encoded, model.profile
    texts = [profile.ask(task, model.tokenizer) for task in tasks]
    for task, text in zip(tasks, texts, strict=True):
        if text not in known:
            what = f"task {task.task_id}"
            known[text] = encode(model.tokenizer, text, model.eos_ids, what, written_out=profile.written_out)
    return [known[text] for text in texts]


def laid_out(model: LanguageModel) -> LanguageModel:
    """The model with its weights as decoding wants them, for who decodes more than once."""
    module, params = lay_out(model.module, model.params, model.mesh)
    return replace(model, module=module, params=params)


def ends_of(model: LanguageModel, tasks: Sequence[Task]) -> list[Ends]:
    """What the programs of each task end at: the model's EOS, and token suffixes that show one of its stops."""
    pad = model.eos_ids[0] if model.eos_ids else 0
    stops = [model.profile.stops(task) for task in tasks]
    known = {stop: stop_token_suffixes(model.tokenizer, stop) for stop in {*stops}}
    return [Ends(model.eos_ids, pad, known[stop]) for stop in stops]
