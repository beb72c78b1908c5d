"""What a checkpoint states about its model, judged key by key, and what it states that nobody obeyed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pper_jax.errors import UserError
from pper_jax.models.config import ACTIVATIONS, LARGEST, MOST_HEAD_DIM
from pper_jax.ranges import check_number

MOST_LAYERS = 10_000


@dataclass(frozen=True)
class Stated:
    """The keys of a ``config.json`` or of a GGUF file's metadata; None counts as absent.

    Every getter refuses, with a ``UserError`` that names file and key, a value of another type or out of range, and a
    missing key without a default. ``read`` collects the keys that were asked for: what a family reads it obeys.
    """

    where: str
    values: Mapping[str, Any]
    prefix: str = ""
    read: set[str] = field(default_factory=set)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key`` as it stands."""
        self.read.add(key)
        value = self.values.get(self.prefix + key)
        if (value := default if value is None else value) is None:
            raise UserError(f"{self.where}: {self.prefix + key!r} is missing; convert or download the model again.")
        return value

    def __contains__(self, key: str) -> bool:
        """Whether ``key`` is there."""
        return self.values.get(self.prefix + key) is not None

    def whole(self, key: str, default: int | None = None, *, least: int = 1, most: int = LARGEST) -> int:
        """A whole number within bounds."""
        value = self.get(key, default)
        check_number(f"{self.where}: {self.prefix}{key}", value, least=least, most=most, whole=True)
        return int(value)

    def number(self, key: str, default: float | None = None, *, above: float = 0.0) -> float:
        """A finite number above ``above``, none so large that float32 has no such number."""
        value = self.get(key, default)
        check_number(f"{self.where}: {self.prefix}{key}", value, above=above, most=1e38)
        return float(value)

    def short(self, key: str) -> float:
        """A number that was written as float32: the shortest decimal that rounds to it (9.99999974e-06 was 1e-5)."""
        return float(str(np.float32(self.number(key))))

    def layers(self, key: str) -> int:
        """A number of layers."""
        return self.whole(key, most=MOST_LAYERS)

    def even(self, key: str, default: int) -> int:
        """An even number: rotary positions turn pairs."""
        if (value := self.whole(key, default or None, least=2, most=MOST_HEAD_DIM)) % 2:
            raise UserError(f"{self.where}: {self.prefix}{key} is {value}; rotary positions need an even number.")
        return value

    def split(self, size: int, heads: int, key: str) -> int:
        """``size`` (at ``key``) divided evenly among ``heads``."""
        if size % heads:
            raise UserError(
                f"{self.where}: {self.prefix}{key} {size} is not a multiple of its number of heads, {heads}."
            )
        return size // heads

    def divisor(self, key: str, heads: int) -> int:
        """Key/value heads, ``heads`` where none are named, each of which the same number of heads share."""
        if heads % (value := self.whole(key, heads)):
            raise UserError(f"{self.where}: {heads} heads cannot share {value} key/value heads evenly.")
        return value

    def activation(self, key: str) -> str:
        """The name of an activation that we have."""
        if (name := self.text(key)) not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise UserError(f"{self.where}: activation {cut(repr(name))} is not supported; known are {known}.")
        return name

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or False."""
        return bool(self._typed(key, default, bool, "true or false"))

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        return str(self._typed(key, default, str, "a text"))

    def texts(self, key: str, default: list[str] | None = None) -> list[str]:
        """A list of strings."""
        return list(self._list(key, default, str, "texts"))

    def numbers(self, key: str) -> list[float]:
        """A list of finite numbers above 0."""
        values = self._list(key, None, (int, float), "numbers")
        for value in values:
            check_number(f"{self.where}: {self.prefix}{key}", value, above=0, most=1e38)
        return [float(value) for value in values]

    def scores(self, key: str) -> list[float]:
        """A list of numbers of either sign."""
        return [float(value) for value in self._list(key, None, (int, float), "numbers")]

    def wholes(self, key: str, default: list[int] | None = None) -> list[int]:
        """A list of whole numbers."""
        return list(self._list(key, default, int, "whole numbers"))

    def inner(self, key: str) -> Stated:
        """The mapping at ``key``, empty where there is none."""
        return Stated(self.where, self._typed(key, {}, dict, "a mapping"), "")

    def only(self, key: str, value: Any) -> None:
        """Refuse any other value than ``value``, which is also what an absent key means."""
        if (found := self.get(key, value)) != value or isinstance(found, bool) is not isinstance(value, bool):
            raise self.unsupported(key, f"only {value!r}")

    def unsupported(self, key: str, hint: str = "") -> UserError:
        """The sentence for a value of ``key`` that we would compute wrongly."""
        found = cut(repr(self.values.get(self.prefix + key)))
        known = f" ({hint})" if hint else ""
        return UserError(
            f"{self.where}: {self.prefix}{key}={found} is not supported{known}; the model would run wrongly."
        )

    def _typed(self, key: str, default: Any, kind: type, name: str) -> Any:
        value = self.get(key, default)
        if not isinstance(value, kind):
            raise UserError(f"{self.where}: {self.prefix}{key} is {cut(repr(value))}; it must be {name}.")
        return value

    def _list(self, key: str, default: Any, kind: type | tuple[type, ...], name: str) -> Any:
        values = self._typed(key, default, list, f"a list of {name}")
        for value in values:
            if not isinstance(value, kind) or isinstance(value, bool):
                raise UserError(f"{self.where}: {self.prefix}{key} holds {cut(repr(value))}; it must hold {name}.")
        return values


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder; a ``UserError`` where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent}: no {path.name} there; give a Hugging Face model folder or a .gguf file."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON: {cut(error, 160)}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: not a JSON object.")
    return data


def cut(text: object, most: int = 80) -> str:
    """``text`` on one line, and no longer than a sentence bears."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 3] + "..."


# Of a GGUF file: what changes no number of ours, and the values that are as good as absent besides 0, false and empty.
GGUF_HARMLESS = frozenset(
    "vocab_size tensor_data_layout attention.layer_norm_epsilon attention.layer_norm_rms_epsilon "
    "rope.scaling.finetuned rope.scaling.original_context_length rope.scaling.yarn_log_multiplier "
    "rope.scaling.yarn_ext_factor rope.scaling.yarn_attn_factor "
    "rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow".split()
)
GGUF_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "logit_scale": (0, 1),
    "embedding_scale": (0, 1),
    "residual_scale": (0, 1),
    "attention.output_scale": (0, 1),
    "rope.scaling.attn_factor": (0, 1),
    "rope.scale_linear": (0, 1),
}


def refuse_unread_metadata(stated: Stated, *, positions: int, head_dim: int) -> None:
    """Refuse a GGUF file that states something of its architecture that was not read and may change what it computes.

    Keys outside the architecture's own (``general.``, ``tokenizer.``, ...) describe the file. Values as good as absent
    pass: 0, false, a window no shorter than the context, the usual scale of attention.
    """
    for full, value in stated.values.items():
        key = full.removeprefix(stated.prefix)
        if key == full or key in stated.read or key in GGUF_HARMLESS:
            continue
        neutral = value in GGUF_NEUTRAL[key] if key in GGUF_NEUTRAL else not value
        if key == "attention.value_length":
            neutral = value == head_dim
        elif key == "attention.scale" and isinstance(value, float):
            neutral = value == 0 or math.isclose(value, head_dim**-0.5, rel_tol=1e-5)
        elif key == "attention.sliding_window" and isinstance(value, int):
            neutral = value == 0 or value >= positions
        if not neutral:
            raise stated.unsupported(key)


# Words in the names of config.json's keys that change what a model computes; other keys that nobody reads are notes.
CHANGES = re.compile(
    r"scal(e|ed|ing|ar)(_|$)|multiplier|softcap|clip|clamp|experts?(_|$)|(^|_)moe|sliding|window|alibi|rotary|(^|_)rope"
    r"|parallel_(residual|attn|attention|block)|residual_|qk_|q_norm|k_norm|(post|pre|sandwich)_?norm|norm_type"
    r"|layer_types?|layers_block_type|attn_type|attention_type|attention_chunk|attn_temperature|causal|cross_attention"
    r"|partial_|interpolat|sinks?(_|$)|lora_rank|kv_shared|nextn|is_encoder"
)
HF_HARMLESS = frozenset("max_window_layers rope_theta rope_scaling is_encoder_decoder".split())
IGNORED = r"(_dropout|_dropout_prob|_pdrop|_loss_coef|_jitter_noise)$"  # of training


def refuse_unread_config(stated: Stated, *, positions: int) -> None:
    """Refuse a ``config.json`` with a key that was not read, whose name says that it changes what the model computes.

    Values as good as absent pass: null, false, 0, empty, a scale of 1, a window no shorter than the context.
    """
    windows = stated.values.get("use_sliding_window", True) is not False
    for key, value in stated.values.items():
        if key in stated.read or key in HF_HARMLESS or not isinstance(key, str) or not CHANGES.search(key):
            continue
        neutral = not value or re.search(IGNORED, key) is not None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            window = "window" in key and (not windows or value >= positions)
            neutral |= window or (value == 1 and re.search("scal|multiplier|factor|num_experts", key) is not None)
        elif key == "is_causal":
            neutral = value is True
        elif key == "layer_types" and isinstance(value, list):
            neutral = all(kind == "full_attention" for kind in value)
        if not neutral:
            raise stated.unsupported(key)


def same_layers(layers: int, names: Collection[str], where: object) -> None:
    """Refuse more layers than there are tensors, before anything is built for each of them."""
    if layers > len(names):
        raise UserError(
            f"{where}: its configuration says {layers} layers, but the file holds {len(names)} tensors in all; "
            "check the configuration against the weights."
        )
