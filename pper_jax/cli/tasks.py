"""`pper tasks`: list, convert and check task sets."""

from __future__ import annotations

import argparse
from typing import Any

from pper_jax.arguments import add_command
from pper_jax.cli.options import TASKS_HELP, add_testing, test_pool
from pper_jax.errors import UserError, cut

MIB = 1 << 20


def add(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    group = add_command(commands, "tasks", None, "list, convert and check task sets", "pper tasks list")
    tasks = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_command(tasks, "list", _list, "the task sets that can be converted", "pper tasks list")
    example = "pper tasks convert humaneval HumanEval.jsonl.gz he.jsonl"
    sub = add_command(tasks, "convert", _convert, "make a tasks file", example)
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("src", metavar="SRC")
    sub.add_argument("out", metavar="OUT")
    about = "run the references through the test pool, and name what is wrong with a set"
    sub = add_command(tasks, "check", _check, about, "pper tasks check apps:APPS/test")
    sub.add_argument("file", metavar="FILE", help=TASKS_HELP)
    sub.add_argument("--all", action="store_true", help="name every fault, not only the first 20")
    add_testing(sub)


def _list(args: argparse.Namespace) -> int:
    from pper_jax.tasks.convert import list_sets

    for name, about in list_sets():
        print(f"{name:16} {about}")
    return 0


def _convert(args: argparse.Namespace) -> int:
    from pper_jax.tasks.convert import convert
    from pper_jax.tasks.registry import source_bytes
    from pper_jax.terminal import Progress

    size = source_bytes(args.name, args.src)
    read = 0
    with Progress("convert", -(-size // MIB), unit="MiB") as progress:

        def told(count: int) -> None:
            nonlocal read
            before, read = read, read + count
            progress.update(read // MIB - before // MIB)

        converted = convert(args.name, args.src, args.out, told)
        progress.update(progress.total - progress.done)
    print(f"wrote {converted.tasks} tasks to {args.out}")
    if converted.left_out.count:
        print(converted.left_out)
    return 0


def _check(args: argparse.Namespace) -> int:
    from pper_jax.tasks.check import check_references, count_units, sort_problems
    from pper_jax.tasks.registry import open_problems
    from pper_jax.terminal import Progress

    tasks, left_out = sort_problems(open_problems(args.file))
    if not tasks and not left_out:
        raise UserError(f"{cut(args.file)} holds no tasks")
    total = count_units(tasks)
    pool = test_pool(args)
    pool.expect(total)
    with pool, Progress("check", total, unit="references") as progress:
        report = check_references(tasks, pool, lambda done, total: progress.update(1), left_out)
    print(report.table(None) if args.all else report)
    return 0 if report.sound else 1
