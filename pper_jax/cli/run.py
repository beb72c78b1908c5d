"""`pper run` and `pper pretrain`: what a YAML file describes."""

from __future__ import annotations

import argparse
from typing import Any

from pper_jax.arguments import add_command


def add(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    sub = add_command(
        commands, "run", _run, "run the whole loop; the same command again resumes",
        "pper run configs/quickstart.yaml seed=1",
    )  # fmt: skip
    _config_arguments(sub)
    sub.add_argument("--fresh", action="store_true", help="delete the run folder and start over")
    sub = add_command(
        commands, "pretrain", _pretrain, "make the demo model from micro_python programs with mistakes",
        "pper pretrain configs/micro_pretrain.yaml seed=1",
    )  # fmt: skip
    _config_arguments(sub)


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides, such as beam.width=5")


def _run(args: argparse.Namespace) -> int:
    from pper_jax.loop import run
    from pper_jax.loop.config import load_run_config
    from pper_jax.report import gain_lines, load_run

    folder = run(load_run_config(args.config, args.overrides), fresh=args.fresh)
    for line in gain_lines(load_run(folder.path).summary):
        print(line)
    print(f"report: {folder.report}")
    return 0


def _pretrain(args: argparse.Namespace) -> int:
    from pper_jax.pretrain import PretrainConfig, pretrain
    from pper_jax.settings import load_config

    pretrain(load_config(PretrainConfig, args.config, args.overrides))
    return 0
