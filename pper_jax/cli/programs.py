"""`pper sample`, `test`, `score` and `eval`: programs written and judged."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pper_jax.arguments import add_command
from pper_jax.cli.options import (
    MOST_PROGRAMS,
    PROGRAMS,
    add_decoding,
    add_model,
    add_profile,
    add_tasks,
    add_testing,
    add_weights,
    decoder,
    profile_of,
    prompts_at_once,
    tasks_of,
    test_pool,
)
from pper_jax.errors import UserError, shown
from pper_jax.files import check_output, finite

SAMPLES_HELP = "a samples file, of completions or whole solutions; or a folder of TASK.py, or of TASK/N.py"


def add(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    _add_sample(commands)
    _add_test(commands)
    _add_score(commands)
    _add_eval(commands)


def _add_sample(commands: Any) -> None:
    sub = add_command(
        commands, "sample", _sample, "write programs for tasks",
        "pper sample --model micro --tasks micro_python:heldout_kind:50:0 --out samples.jsonl --beams 4",
    )  # fmt: skip
    add_model(sub)
    add_tasks(sub)
    sub.add_argument("--out", required=True, help="a samples file; an interrupted one is completed")
    about = "programs a task; not for --method greedy, which writes one (default: 3)"
    sub.add_argument("--beams", type=PROGRAMS, help=about)
    about = "draw twice as many; keep those that differ in code, at most --beams"
    sub.add_argument("--distinct", action="store_true", help=about)
    add_profile(sub)
    add_decoding(sub)


def _sample(args: argparse.Namespace) -> int:
    from pper_jax.programs.evaluate import sample_file
    from pper_jax.programs.language_model import open_model

    check_output(args.out, [args.tasks, args.model, args.examples])
    tasks, out = tasks_of(args.tasks), Path(args.out)
    config = decoder(args, args.beams, "--beams")
    samples = sample_file(
        open_model(args.model, args.weights, profile_of(args, tasks)),
        tasks,
        out,
        config,
        batch_size=prompts_at_once(args, tasks),
        seed=args.seed,
        only_distinct=args.distinct,
    )
    print(f"wrote {len(samples)} programs for {len(tasks)} tasks to {out}")
    return 0


def _add_test(commands: Any) -> None:
    sub = add_command(
        commands, "test", _test, "test programs in sandboxed processes",
        "pper test --tasks humaneval.jsonl --samples samples.jsonl --out verdicts.jsonl",
    )  # fmt: skip
    add_tasks(sub)
    sub.add_argument("--samples", required=True, help=SAMPLES_HELP)
    sub.add_argument("--out", required=True, help="a verdicts file; an interrupted one is completed")
    add_testing(sub)


def _test(args: argparse.Namespace) -> int:
    from pper_jax.programs.testing import test_file

    check_output(args.out, [args.tasks, args.samples])
    pool = test_pool(args)
    print(test_file(tasks_of(args.tasks), Path(args.samples), Path(args.out), pool))
    return 0


def _add_score(commands: Any) -> None:
    sub = add_command(
        commands, "score", _score, "log-probabilities of programs written elsewhere",
        "pper score --model micro --tasks tasks.jsonl --samples theirs.jsonl --out scored.jsonl",
    )  # fmt: skip
    add_model(sub)
    add_tasks(sub)
    sub.add_argument("--samples", required=True, help=SAMPLES_HELP)
    sub.add_argument("--out", required=True)
    add_profile(sub)
    add_weights(sub)


def _score(args: argparse.Namespace) -> int:
    from pper_jax.programs.language_model import open_model
    from pper_jax.programs.score import score_file

    check_output(args.out, [args.tasks, args.samples, args.model, args.examples])
    tasks = tasks_of(args.tasks)
    model = open_model(args.model, args.weights, profile_of(args, tasks))
    count = score_file(model, tasks, Path(args.samples), Path(args.out))
    print(f"scored {count} programs into {args.out}")
    return 0


def _add_eval(commands: Any) -> None:
    sub = add_command(
        commands, "eval", _eval, "pass@k, pass rate and accuracy, by difficulty and source, with intervals",
        "pper eval --model micro --tasks micro_python:heldout_kind:200:0 --k 1,4",
    )  # fmt: skip
    add_model(sub)
    add_tasks(sub)
    sub.add_argument("--k", default="1", help="numbers with commas")
    sub.add_argument("--samples", type=PROGRAMS, help="programs a task (default: the largest k)")
    sub.add_argument("--out", help="keep samples and verdicts in this folder")
    about = "compare on the same tasks: a folder of `pper eval --out`, a run, or a verdicts file"
    sub.add_argument("--against", metavar="RUN", help=about)
    sub.add_argument("--json", action="store_true", help="print JSON")
    add_profile(sub)
    add_decoding(sub)
    add_testing(sub)


def _eval(args: argparse.Namespace) -> int:
    ks = _ks(args)
    for name in ("samples.jsonl", "verdicts.jsonl") if args.out else ():
        check_output(Path(args.out) / name, [args.tasks, args.model, args.examples])
    pool, tasks = test_pool(args), tasks_of(args.tasks)
    from pper_jax.programs.against import check_shared, earlier_evaluation, print_comparison
    from pper_jax.programs.evaluate import evaluate
    from pper_jax.programs.figures import print_figures
    from pper_jax.programs.language_model import open_model

    earlier = earlier_evaluation(Path(args.against)) if args.against else None
    if earlier is not None:
        check_shared(tasks, earlier)
    config = decoder(args, args.samples or ks[-1], "--samples")
    result = evaluate(
        open_model(args.model, args.weights, profile_of(args, tasks)),
        tasks,
        ks,
        args.method,
        config,
        batch_size=prompts_at_once(args, tasks),
        pool=pool,
        out=Path(args.out) if args.out else None,
        seed=args.seed,
        against=earlier,
    )
    result["profile"] = args.profile
    if args.json:
        print(json.dumps(finite(result), indent=2))
        return 0
    print_figures(result, ks)
    if earlier is not None:
        print_comparison(result["against"])
    return 0


def _ks(args: argparse.Namespace) -> list[int]:
    """The numbers of ``--k``, smallest first; no task has more programs than ``--samples``."""
    try:
        ks = sorted({int(k) for k in args.k.split(",")})
    except ValueError:
        ks = []
    if not ks or not 1 <= ks[0] <= ks[-1] <= MOST_PROGRAMS:
        raise UserError(f"--k is {shown(args.k)}; write numbers from 1 to {MOST_PROGRAMS} with commas, as 1,5,10")
    if args.method == "greedy" and ks != [1]:
        raise UserError("--method greedy writes one program a task, so only --k 1 makes sense")
    if args.samples and args.samples < ks[-1]:
        raise UserError(
            f"--k {ks[-1]} needs {ks[-1]} programs a task, and --samples is {args.samples}; raise --samples"
        )
    return ks
