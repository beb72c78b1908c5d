"""Pieces of the command line that several rooms share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Command = Callable[[argparse.Namespace], int]


def positive(text: str) -> int:
    """A whole number of at least 1, as a type for argparse."""
    value = int(text) if text.lstrip("+").isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


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
