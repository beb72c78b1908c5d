"""Pieces of the command line that several rooms share."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

from pper_jax.errors import UserError
from pper_jax.ranges import SEEDS, check_number

Command = Callable[[argparse.Namespace], int]


def number(*, whole: bool = False, **bounds: float) -> Callable[[str], Any]:
    """A type for argparse: a number within ``bounds``, named as in :func:`pper_jax.ranges.check_number`."""

    def read(text: str) -> int | float:
        value: object = text
        with contextlib.suppress(ValueError):
            value = int(text) if whole else float(text)
        try:
            check_number("it", value, whole=whole, **bounds)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        assert isinstance(value, (int, float))
        return value

    return read


COUNT_LIMIT = 10**9  # of programs, workers, prompts: more is a slip of the keyboard, and no index of ours holds it
positive = number(whole=True, least=1, most=COUNT_LIMIT)
seed = number(whole=True, least=0, below=SEEDS)


def add_command(
    commands: Any, name: str, function: Command | None, about: str, example: str
) -> argparse.ArgumentParser:
    """Add the sub-command ``name`` with its help and an example; what it runs returns the exit code."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if function:
        parser.set_defaults(function=function)
    return parser
