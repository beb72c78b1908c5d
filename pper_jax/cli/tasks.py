"""`pper tasks`: list, convert and check task sets."""

from __future__ import annotations

import argparse
from typing import Any

from pper_jax.arguments import add_command
from pper_jax.cli.options import TASKS_HELP, add_testing, tasks_of, test_pool


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
    about = "run the references through the test pool"
    sub = add_command(tasks, "check", _check, about, "pper tasks check he.jsonl")
    sub.add_argument("file", metavar="FILE", help=TASKS_HELP)
    add_testing(sub)


def _list(args: argparse.Namespace) -> int:
    from pper_jax.tasks.convert import list_sets

    for name, about in list_sets():
        print(f"{name:16} {about}")
    return 0


def _convert(args: argparse.Namespace) -> int:
    from pper_jax.tasks.convert import convert

    print(f"wrote {convert(args.name, args.src, args.out)} tasks to {args.out}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from pper_jax.tasks.convert import check_references
    from pper_jax.terminal import Progress

    tasks = tasks_of(args.file)
    total = sum(task.reference is not None for task in tasks)
    pool = test_pool(args)
    pool.expect(total)
    with pool, Progress("check", total, unit="references") as progress:
        report = check_references(tasks, pool, progress=lambda done, total: progress.update(1))
    print(report)
    return 0 if report.sound else 1
