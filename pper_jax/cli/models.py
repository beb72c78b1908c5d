"""`pper models`: list, get, describe and export models."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from pper_jax.arguments import add_command
from pper_jax.cli.options import MODEL_HELP


def add(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    group = add_command(commands, "models", None, "list, get, describe and export models", "pper models list")
    models = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_command(models, "list", _list, "models that can be had by name", "pper models list")
    sub = add_command(models, "get", _get, "bring a model into the cache", "pper models get smollm2-135m-instruct")
    sub.add_argument("name", metavar="NAME")
    sub = add_command(models, "info", _info, "what a checkpoint holds", "pper models info micro")
    sub.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    example = "pper models export runs/quickstart out"
    sub = add_command(models, "export", _export, "a run's model as a HF folder", example)
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("dir", metavar="DIR")
    types = ("float32", "bfloat16", "float16")
    sub.add_argument("--dtype", choices=types, default="float32", help="type of the weights")


def _list(args: argparse.Namespace) -> int:
    from pper_jax.models import list_models

    for model in list_models():
        where = model["path"] if model["fetched"] else f"not here; pper models get {model['name']}"
        print(f"{model['name']:24} {model['about']} ({model['licence']}); {where}")
    return 0


def _get(args: argparse.Namespace) -> int:
    from pper_jax.models import get_model

    print(get_model(args.name))
    return 0


def _info(args: argparse.Namespace) -> int:
    from pper_jax.files import model_folder
    from pper_jax.models import describe, resolve_model

    found = describe(model_folder(resolve_model(args.model)))
    for key, value in found.items():
        print(f"{key:18} {value}")
    print(f"{'memory':18} {_memory(found)}")
    return 0


def _memory(found: dict[str, Any]) -> str:
    """What decoding and training take, beside what this machine has."""
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    decoding = found["weights_float32"] + found["cache_per_token"] * found["context"]
    parts = [
        f"decoding takes {_gib(decoding)} (weights in float32, one beam over the whole context)",
        f"training {_gib(found['training_state'])} and what the batch needs",
        f"this machine has {_gib(here)}",
    ]
    return ", ".join(parts)


def _gib(size: float) -> str:
    return f"{size / 2**30:,.2f} GiB"


def _export(args: argparse.Namespace) -> int:
    import jax

    from pper_jax.files import check_model_folder, check_output, model_folder, notices
    from pper_jax.models import load_model, read_ends, save_model
    from pper_jax.terminal import check_interrupted

    source = model_folder(Path(args.run))
    check_model_folder(args.dir, notices(source))
    check_output(Path(args.dir) / "config.json", [source])  # no model of a run, nor the one that is read
    module, params, tokenizer = load_model(source)
    check_interrupted()
    ends = read_ends(source, tokenizer)
    params = jax.tree.map(lambda leaf: leaf.astype(args.dtype), params)
    print(f"wrote {save_model(args.dir, module, params, tokenizer, eos_ids=ends, texts=notices(source))}")
    return 0
