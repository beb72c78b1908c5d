"""The `pper` command: the parser and `main`; each group of commands has its own file, which imports late.

Exit codes: 0 success, 2 wrong use, 1 failure, 130 or 143 interrupted; errors are one sentence on standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pper_jax import __version__
from pper_jax.bench.options import add_bench
from pper_jax.cli import models, programs, report, run, tasks
from pper_jax.errors import RunFailure, UserError
from pper_jax.folders import cache_folder
from pper_jax.terminal import Interrupted, interrupted, interruption

INTERRUPTED = "interrupted; what was finished is kept, and the same command goes on from there"

__all__ = ["build_parser", "main", "parse"]


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="pper", description="Code models that improve themselves: beam search, testing, prioritized replay (BTP)."
    )
    parser.add_argument("--version", action="version", version=f"pper {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (run, programs, tasks, models, report):
        group.add(commands)
    add_bench(commands)
    report.add_inspection(commands)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; key=value overrides may stand before or after options."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and not (hasattr(args, "overrides") and all("=" in text and text[0] != "-" for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `pper`; returns the exit code."""
    args = parse(argv)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # what XLA compiled is kept for the next call; read when jax is first imported
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "compiled"))
    with interruption():
        code = _answer(args)
        stopped = interrupted()
    return code if stopped is None else _fail(INTERRUPTED, stopped)


def _answer(args: argparse.Namespace) -> int:
    """The exit code of one command; what goes wrong is said in one sentence."""
    try:
        return int(args.function(args))
    except Interrupted as error:
        return error.code
    except UserError as error:
        return _fail(error, 2)
    except RunFailure as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail(f"cannot go on: {what}", 1)
    except Exception:
        if (stopped := interrupted()) is None:  # else a process that works for us heard the signal too, and ended
            raise
        return stopped


def _fail(error: object, code: int) -> int:
    print(f"pper: {error}", file=sys.stderr)
    return code
