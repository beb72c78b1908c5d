"""Options that several commands share, and what they build."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pper_jax.arguments import number, positive, seed
from pper_jax.errors import UserError

TASKS_HELP = "a tasks file, NAME:SRC of a set of `pper tasks list`, or micro_python:SPLIT:COUNT:SEED"
MOST_PROGRAMS = 10_000  # a task
PROGRAMS = number(whole=True, least=1, most=MOST_PROGRAMS)
BATCH = 16  # prompts at once
SECONDS = number(above=0, most=86_400)
MODEL_HELP = "a HF folder, a GGUF file, a run folder, or a name of `pper models list`"


def add_model(parser: argparse.ArgumentParser) -> None:
    """``--model``."""
    parser.add_argument("--model", required=True, help=MODEL_HELP)


def add_tasks(parser: argparse.ArgumentParser) -> None:
    """``--tasks``."""
    parser.add_argument("--tasks", required=True, help=TASKS_HELP)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """``--weights``."""
    about = "how they are held; auto: float32 on CPU, bfloat16 elsewhere"
    parser.add_argument("--weights", choices=("auto", "float32", "bfloat16", "int8"), default="auto", help=about)


def add_profile(parser: argparse.ArgumentParser) -> None:
    """``--profile`` and the tasks whose solutions it shows."""
    about = "how tasks are asked and programs read: base, humaneval, mbpp_fewshot, apps or chat (default: base)"
    parser.add_argument("--profile", metavar="NAME", default="base", help=about)
    about = "the tasks file that has the examples which --profile shows (default: --tasks)"
    parser.add_argument("--examples", metavar="FILE", help=about)


def profile_of(args: argparse.Namespace, tasks: Sequence[Any]) -> Any:
    """The prompt profile that ``args`` ask for, with its examples."""
    from pper_jax.text import profile_named, with_examples

    profile = profile_named(args.profile)
    if args.examples and not profile.shots:
        raise UserError(f"--examples is for profiles that show some, and {profile.name} shows none; leave it out")
    return with_examples(profile, tasks_of(args.examples) if args.examples else tasks, args.examples or args.tasks)


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """How programs are decoded, their number apart."""
    methods = ("beam", "diverse-beam", "stochastic-beam", "greedy", "sample")
    parser.add_argument("--method", choices=methods, default="beam")
    parser.add_argument("--groups", type=PROGRAMS, help="for --method diverse-beam (default: one beam each)")
    about = "for --method diverse-beam: penalty, log-prob (default: 0.5)"
    parser.add_argument("--diversity", type=number(least=0), help=about)
    parser.add_argument("--max-new-tokens", type=positive, default=128)
    about = "prompts at once; of those of more than 2,048 tokens half as many, of more than 4,096 a quarter, and so on"
    parser.add_argument("--batch-size", type=positive, default=BATCH, help=about)
    about = "for --method sample and stochastic-beam (default: 1.0)"
    parser.add_argument("--temperature", type=number(least=0), help=about)
    parser.add_argument("--top-p", type=number(above=0, most=1), help="for --method sample (default: 1.0)")
    parser.add_argument("--seed", type=seed, default=0)
    add_weights(parser)


def prompts_at_once(args: argparse.Namespace, tasks: Sequence[Any]) -> int:
    """``--batch-size``, but no rows beyond the default for which there are no tasks."""
    return int(min(args.batch_size, max(len(tasks), BATCH)))


def decoder(args: argparse.Namespace, programs: int | None, flag: str) -> Any:
    """The decoding method that ``args`` ask for, with so many programs a task, which ``flag`` says."""
    from pper_jax.programs.methods import decode_config

    return decode_config(
        args.method,
        programs,
        args.max_new_tokens,
        args.temperature,
        args.top_p,
        args.groups,
        args.diversity,
        width_flag=flag,
    )


def add_testing(parser: argparse.ArgumentParser) -> None:
    """How programs are tested."""
    parser.add_argument("--workers", type=positive, default=2, help="programs tested at once")
    about = "CPU seconds a test; twice as many of wall clock (default: the task's own limit, else 4)"
    parser.add_argument("--timeout", type=SECONDS, help=about)
    about = "CPU seconds that checking the answers may add to a test; more for tests of thousands of cases"
    parser.add_argument("--trusted-timeout", type=SECONDS, default=2.0, help=about)
    about = "MiB a program (default: the task's own limit, else 1024)"
    parser.add_argument("--memory-mb", type=number(whole=True, least=64, most=1 << 30), help=about)
    about = "MiB that a program may print, or give as one answer"
    parser.add_argument("--output-mb", type=number(whole=True, least=1, most=2048), default=8, help=about)
    about = "how outputs and returned values compare: by lines of tokens, by tokens, or as the APPS checker does "
    about += "(default: the task's own rule, else strict)"
    parser.add_argument("--compare", choices=("strict", "tokens", "official"), help=about)
    about = "a process for each program, or one for several that cannot disturb each other: faster for calls"
    parser.add_argument("--isolation", choices=("program", "batch"), default="program", help=about)
    about = "refuse to test on a machine that lacks too many layers of isolation"
    parser.add_argument("--require-isolation", choices=("strong",), help=about)
    about = "spread the workers over a Ray cluster: the one RAY_ADDRESS names, else a local one"
    parser.add_argument("--ray", action="store_true", help=about)
    parser.add_argument("--cache", metavar="DIR", help="keep verdicts here, for programs that come again")


def test_pool(args: argparse.Namespace) -> Any:
    """The pool that ``args`` ask for, not open yet."""
    from pper_jax.execution import pool_class
    from pper_jax.execution.limits import MEBIBYTE
    from pper_jax.execution.rules import asked_of_pool
    from pper_jax.terminal import check_interrupted

    return pool_class("ray" if args.ray else "local")(
        args.workers,
        **asked_of_pool(
            args.compare,
            args.timeout,
            args.memory_mb,
            trusted_s=args.trusted_timeout,
            output_bytes=args.output_mb * MEBIBYTE,
        ),
        isolation=args.isolation,
        require_isolation=args.require_isolation,
        cache=args.cache or True,
        watch=check_interrupted,
    )


def tasks_of(text: str) -> list[Any]:
    """The tasks of a file, or else those that ``NAME:SRC`` names: a task set and its source."""
    from pper_jax.tasks import open_tasks

    return open_tasks(text)
