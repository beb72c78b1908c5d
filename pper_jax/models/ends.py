"""The tokens that end a program: a model may have several, and they stand in several places."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.models import gguf

_GGUF_KEYS = tuple(f"tokenizer.ggml.{kind}_token_id" for kind in ("eos", "eot", "eom"))


def tokenizer_ends(tokenizer: Any) -> tuple[int, ...]:
    """The tokenizer's own EOS; empty when it names none."""
    eos = getattr(tokenizer, "eos_token_id", None)
    return () if eos is None else (int(eos),)


def read_ends(path: str | Path, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends a program of the model, each once; reads no weights.

    Those of ``config.json``, then of ``generation_config.json`` (where transformers' ``generate`` looks), then the
    tokenizer's; of a GGUF file its EOS, end of turn and end of message. Ids beyond the vocabulary, which no model can
    write, are left out, and so are negative ones, which mean none.

    Args:
        path: a Hugging Face folder or a GGUF file, as for ``load_model``.
        tokenizer: its tokenizer.

    Raises:
        UserError: a file is not readable, or names an end that is no token id.
    """
    path = Path(path)
    found: list[int] = []
    if path.is_dir():
        vocabulary = len(tokenizer)
        for name in ("config.json", "generation_config.json"):
            config = _read_object(path / name)
            if isinstance(config.get("vocab_size"), int):
                vocabulary = max(vocabulary, config["vocab_size"])
            found += _ids(config, "eos_token_id", path / name)
    else:
        model = gguf.open_gguf(path)
        vocabulary = len(tokenizer)
        found += [token for key in _GGUF_KEYS for token in _ids(model.meta, key, path)]
    found += tokenizer_ends(tokenizer)
    return tuple(dict.fromkeys(token for token in found if 0 <= token < vocabulary))


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty when there is no such file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: not readable as JSON: {reason}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: not a JSON object.")
    return data


def _ids(config: Mapping[str, Any], key: str, where: Path) -> list[int]:
    value = config.get(key)
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in ids):
        raise UserError(f"{where}: {key} cannot be {value!r:.100}; it is a token id or a list of them.")
    return ids
