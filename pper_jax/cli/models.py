"""`pper models`: list, get, describe and export models."""

from __future__ import annotations

import argparse
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

    for key, value in describe(model_folder(resolve_model(args.model))).items():
        print(f"{key:18} {value}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from pper_jax.files import check_model_folder, check_output, model_folder
    from pper_jax.models import load_model, read_ends, save_model
    from pper_jax.terminal import check_interrupted

    source = model_folder(Path(args.run))
    check_model_folder(args.dir)
    check_output(Path(args.dir) / "config.json", [source])  # no model of a run, nor the one that is read
    module, params, tokenizer = load_model(source)
    check_interrupted()
    ends = read_ends(source, tokenizer)
    print(f"wrote {save_model(args.dir, module, params, tokenizer, eos_ids=ends)}")
    return 0
