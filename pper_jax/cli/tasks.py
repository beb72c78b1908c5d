"""`pper tasks`: list, convert and check task sets."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pper_jax.arguments import add_command, positive
from pper_jax.cli.options import TASKS_HELP, add_testing, tasks_of, test_pool
from pper_jax.errors import UserError, cut

if TYPE_CHECKING:
    from pper_jax.tasks import Task
    from pper_jax.tasks.overlap import OverlapReport

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
    about = "count the problems that two sets share, or the splits of one, by words, tests and code"
    example = "pper tasks overlap mbpp:mbpp.jsonl humaneval:HumanEval.jsonl.gz"
    sub = add_command(tasks, "overlap", _overlap, about, example)
    sub.add_argument("a", metavar="A", help=TASKS_HELP)
    sub.add_argument("b", metavar="B", nargs="?", help="another; left out, the splits of A are compared")
    about = "also run references on the other set's tests, where both are calls with like arguments"
    sub.add_argument("--behaviour", action="store_true", help=about)
    sub.add_argument("--most", type=positive, default=100_000, help="pairs to run at most (default: 100000)")
    sub.add_argument("--workers", type=positive, default=2, help="programs run at once")


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


def _overlap(args: argparse.Namespace) -> int:
    from pper_jax.tasks.overlap import splits_of

    a = tasks_of(args.a)
    sides = [(args.a, a, args.b, tasks_of(args.b))] if args.b else splits_of(a)
    if not sides:
        raise UserError(f"{cut(args.a, 200)} has one split alone; name a second set to compare it with")
    shared = 0
    for name, tasks, other_name, others in sides:
        report = _compared(tasks, others, args)
        print(f"{name} and {other_name}: {report}")
        shared += len(report.pairs)
    return 1 if shared else 0


def _compared(a: list[Task], b: list[Task], args: argparse.Namespace) -> OverlapReport:
    from pper_jax.execution import Limits, TestPool
    from pper_jax.tasks.overlap import OverlapReport, count_runs, find_alike, find_overlaps, like_pairs
    from pper_jax.terminal import Progress, check_interrupted

    found = find_overlaps(a, b)
    if not args.behaviour:
        return OverlapReport(tuple(found), (len(a), len(b)))
    known = {(pair.a, pair.b) for pair in found}
    possible = [pair for pair in like_pairs(a, b) if (pair.a.task_id, pair.b.task_id) not in known]
    pairs = possible[: args.most]
    pool = TestPool(args.workers, Limits(timeout_s=0.2, program_timeout_s=3.0), watch=check_interrupted)
    runs = count_runs(pairs)
    pool.expect(runs)
    with pool, Progress("overlap", runs, unit="references") as progress:
        found += find_alike(pairs, pool, progress.update)
    return OverlapReport(tuple(found), (len(a), len(b)), (len(pairs), len(possible)))
