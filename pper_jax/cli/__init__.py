"""The `pper` command: the parser and `main`; each group of commands has its own file, which imports late.

Exit codes: 0 success, 2 wrong use, 1 failure, 130 interrupted; errors are one sentence on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
from collections.abc import Sequence
from typing import NoReturn

from pper_jax import __version__
from pper_jax.bench.options import add_bench
from pper_jax.cli import models, plan, programs, report, run, study, tasks
from pper_jax.cli.streams import complain, flushed, one_line, open_streams, reader_left
from pper_jax.errors import RunFailure, UserError
from pper_jax.folders import cache_folder
from pper_jax.terminal import Interrupted, interrupted, interruption

INTERRUPTED = "interrupted; what was finished is kept, and the same command goes on from there"

__all__ = ["build_parser", "main", "parse"]


class _Parser(argparse.ArgumentParser):
    """Says wrong use in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="pper", description="Code models that improve themselves: beam search, testing, prioritized replay (BTP)."
    )
    parser.add_argument("--version", action="version", version=f"pper {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (run, study, programs, tasks, models, report, plan):
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
    open_streams()
    try:
        code = _run(parse(argv))
    except SystemExit as end:  # --help, --version and wrong use
        raise SystemExit(flushed(int(end.code or 0))) from None
    return flushed(code)


def _run(args: argparse.Namespace) -> int:
    """The exit code of one command, which a signal may end."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with contextlib.suppress(UserError):  # what XLA compiled is kept for the next call; read when jax is first imported
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "compiled"))
    with interruption():
        code = _answer(args)
        stopped = interrupted()
    return code if stopped is None else complain(INTERRUPTED, stopped)


def _answer(args: argparse.Namespace) -> int:
    """The exit code of one command; what goes wrong is said in one sentence."""
    try:
        return int(args.function(args))
    except Interrupted as error:
        return error.code
    except UserError as error:
        return complain(error, 2)
    except RunFailure as error:
        return complain(error, 1)
    except KeyboardInterrupt:
        return complain(INTERRUPTED, 130)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and reader_left():
            return 0
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
        return complain(f"cannot go on: {what}", 2 if error.errno == errno.ENAMETOOLONG else 1)
    except MemoryError:
        return complain("cannot go on: no memory is left on this machine", 1)
    except Exception as error:
        if (stopped := interrupted()) is not None:  # a process that works for us heard the signal too, and ended
            return stopped
        if sentence := _fault_of_the_device(error):
            return complain(f"cannot go on: {sentence}", 1)
        raise


def _fault_of_the_device(error: Exception) -> str | None:
    """What to say where jax finds no device, or no memory on it; None for anything else, which is a fault of ours."""
    reason, trace = one_line(str(error)), error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and trace.tb_frame.f_code.co_filename.endswith("xla_bridge.py"):
        asked = os.environ.get("JAX_PLATFORMS", "")
        return (
            f"jax has no device to work on with JAX_PLATFORMS={asked}{reason and f' ({reason})'}; unset it, or use cpu"
        )
    if reason.startswith("RESOURCE_EXHAUSTED"):
        return f"the device has no memory left; work on less at once ({reason})"
    return None
