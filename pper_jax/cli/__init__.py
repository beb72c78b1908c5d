"""The `pper` command: thin; every sub-command is one function that imports what it needs.

Exit codes: 0 success, 2 wrong use, 1 failure, 130 interrupted; errors are one sentence on standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pper_jax import __version__
from pper_jax.arguments import add_command, positive
from pper_jax.bench.options import add_bench
from pper_jax.errors import RunFailure, UserError
from pper_jax.folders import cache_folder


def _run(args: argparse.Namespace) -> int:
    from pper_jax.loop import run
    from pper_jax.loop.config import RunConfig, with_preset
    from pper_jax.report import gain_lines, load_run
    from pper_jax.settings import load_config

    folder = run(load_config(RunConfig, args.config, args.overrides, complete=with_preset), fresh=args.fresh)
    for line in gain_lines(load_run(folder.path).summary):
        print(line)
    print(f"report: {folder.report}")
    return 0


def _pretrain(args: argparse.Namespace) -> int:
    from pper_jax.pretrain import PretrainConfig, pretrain
    from pper_jax.settings import load_config

    pretrain(load_config(PretrainConfig, args.config, args.overrides))
    return 0


def _tasks_of(text: str) -> list[Any]:
    """A tasks file, or ``micro_python:SPLIT:COUNT:SEED``."""
    from pper_jax.tasks import load_tasks

    if not text.startswith("micro_python"):
        return load_tasks(text, split=None, count=0, seed=0)
    parts = [*text.split(":"), "", "", ""]
    try:
        return load_tasks(
            "micro_python", split=parts[1] or "train", count=int(parts[2] or 100), seed=int(parts[3] or 0)
        )
    except ValueError:
        raise UserError(f"cannot read the tasks {text!r}; write micro_python:SPLIT:COUNT:SEED") from None


def _sample(args: argparse.Namespace) -> int:
    from pper_jax.programs import decode_config, open_model, sample_file

    tasks, out = _tasks_of(args.tasks), Path(args.out)
    config = decode_config(
        args.method, args.beams, args.max_new_tokens, args.temperature, args.top_p, args.groups, args.diversity
    )
    samples = sample_file(
        open_model(args.model, args.weights),
        tasks,
        out,
        config,
        batch_size=args.batch_size,
        seed=args.seed,
        only_distinct=args.distinct,
    )
    print(f"wrote {len(samples)} programs for {len(tasks)} tasks to {out}")
    return 0


def _pool(args: argparse.Namespace) -> Any:
    from pper_jax.execution import Limits, pool_class
    from pper_jax.execution.limits import MEBIBYTE

    return pool_class("ray" if args.ray else "local")(
        args.workers,
        Limits(
            timeout_s=args.timeout,
            trusted_s=args.trusted_timeout,
            memory_mb=args.memory_mb,
            output_bytes=args.output_mb * MEBIBYTE,
        ),
        args.compare,
        isolation=args.isolation,
        require_isolation=args.require_isolation,
        cache=args.cache or True,
    )


def _test(args: argparse.Namespace) -> int:
    from pper_jax.programs import test_file

    pool = _pool(args)
    print(test_file(_tasks_of(args.tasks), Path(args.samples), Path(args.out), pool))
    return 0


def _score(args: argparse.Namespace) -> int:
    from pper_jax.programs import open_model, score_file

    count = score_file(open_model(args.model, args.weights), _tasks_of(args.tasks), Path(args.samples), Path(args.out))
    print(f"scored {count} programs into {args.out}")
    return 0


def _eval(args: argparse.Namespace) -> int:
    from pper_jax.programs import decode_config, evaluate, open_model, print_figures

    try:
        ks = sorted({int(k) for k in args.k.split(",")})
    except ValueError:
        ks = []
    if not ks or ks[0] < 1:
        raise UserError(f"--k is {args.k!r}; write positive numbers with commas, such as 1,5,10")
    if args.method == "greedy" and ks != [1]:
        raise UserError("--method greedy writes one program a task, so only --k 1 makes sense")
    result = evaluate(
        open_model(args.model, args.weights),
        _tasks_of(args.tasks),
        ks,
        args.method,
        decode_config(
            args.method,
            args.samples or ks[-1],
            args.max_new_tokens,
            args.temperature,
            args.top_p,
            args.groups,
            args.diversity,
            width_flag="--samples",
        ),
        batch_size=args.batch_size,
        pool=_pool(args),
        out=Path(args.out) if args.out else None,
        seed=args.seed,
    )
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print_figures(result, ks)
    return 0


def _tasks_list(args: argparse.Namespace) -> int:
    from pper_jax.tasks.convert import list_sets

    for name, about in list_sets():
        print(f"{name:16} {about}")
    return 0


def _tasks_convert(args: argparse.Namespace) -> int:
    from pper_jax.tasks.convert import convert

    print(f"wrote {convert(args.name, args.src, args.out)} tasks to {args.out}")
    return 0


def _tasks_check(args: argparse.Namespace) -> int:
    from pper_jax.tasks.convert import check_references
    from pper_jax.terminal import Progress

    pool, tasks = _pool(args), _tasks_of(args.file)
    total = sum(task.reference is not None for task in tasks)
    with (
        pool,
        Progress("check", total, unit="references") as progress,
    ):
        report = check_references(tasks, pool, progress=lambda done, total: progress.update(1))
    print(report)
    return 0 if report.sound else 1


def _models_list(args: argparse.Namespace) -> int:
    from pper_jax.models import list_models

    for model in list_models():
        where = model["path"] if model["fetched"] else f"not here; pper models get {model['name']}"
        print(f"{model['name']:24} {model['about']} ({model['licence']}); {where}")
    return 0


def _models_get(args: argparse.Namespace) -> int:
    from pper_jax.models import get_model

    print(get_model(args.name))
    return 0


def _models_info(args: argparse.Namespace) -> int:
    from pper_jax.files import model_folder
    from pper_jax.models import describe, resolve_model

    for key, value in describe(model_folder(resolve_model(args.model))).items():
        print(f"{key:18} {value}")
    return 0


def _models_export(args: argparse.Namespace) -> int:
    from pper_jax.files import model_folder
    from pper_jax.models import load_model, save_model

    module, params, tokenizer = load_model(model_folder(Path(args.run)))
    print(f"wrote {save_model(args.dir, module, params, tokenizer)}")
    return 0


def _report(args: argparse.Namespace) -> int:
    from pper_jax.report import gain_lines, load_run, write_report

    page = write_report([Path(run) for run in args.runs], Path(args.out) if args.out else None)
    for path in args.runs:
        run = load_run(Path(path))
        for line in gain_lines(run.summary):
            print(f"{run.name:20} {line}")
    print(page)
    return 0


def _replay_inspect(args: argparse.Namespace) -> int:
    from pper_jax.cli.inspect_replay import inspect_replay

    print(inspect_replay(Path(args.run), limit=args.limit, program=args.program))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from pper_jax.cli.doctor import doctor

    return 0 if doctor() else 1


def _weights_option(parser: argparse.ArgumentParser) -> None:
    about = "how they are held; auto: float32 on CPU, bfloat16 elsewhere"
    parser.add_argument("--weights", choices=("auto", "float32", "bfloat16", "int8"), default="auto", help=about)


def _decode_options(parser: argparse.ArgumentParser) -> None:
    methods = ("beam", "diverse-beam", "stochastic-beam", "greedy", "sample")
    parser.add_argument("--method", choices=methods, default="beam")
    parser.add_argument("--groups", type=positive, help="for --method diverse-beam (default: one beam each)")
    about = "for --method diverse-beam: penalty, log-prob (default: 0.5)"
    parser.add_argument("--diversity", type=float, help=about)
    parser.add_argument("--max-new-tokens", type=positive, default=128)
    parser.add_argument("--batch-size", type=positive, default=16, help="prompts at once")
    about = "for --method sample and stochastic-beam (default: 1.0)"
    parser.add_argument("--temperature", type=float, help=about)
    parser.add_argument("--top-p", type=float, help="for --method sample (default: 1.0)")
    parser.add_argument("--seed", type=int, default=0)
    _weights_option(parser)


def _test_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=positive, default=2, help="programs tested at once")
    parser.add_argument("--timeout", type=float, default=4.0, help="CPU seconds a test; twice as many of wall clock")
    about = "CPU seconds that checking the answers may add to a test; more for tests of thousands of cases"
    parser.add_argument("--trusted-timeout", type=float, default=2.0, help=about)
    parser.add_argument("--memory-mb", type=positive, default=1024, help="MiB a program")
    about = "MiB that a program may print, or give as one answer"
    parser.add_argument("--output-mb", type=positive, default=8, help=about)
    about = "how outputs and returned values compare: by lines of tokens, by tokens, or as the APPS checker does"
    parser.add_argument("--compare", choices=("strict", "tokens", "official"), default="strict", help=about)
    about = "a process for each program, or one for several that cannot disturb each other: faster for calls"
    parser.add_argument("--isolation", choices=("program", "batch"), default="program", help=about)
    about = "refuse to test on a machine that lacks too many layers of isolation"
    parser.add_argument("--require-isolation", choices=("strong",), help=about)
    about = "spread the workers over a Ray cluster: the one RAY_ADDRESS names, else a local one"
    parser.add_argument("--ray", action="store_true", help=about)
    parser.add_argument("--cache", metavar="DIR", help="keep verdicts here, for programs that come again")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="pper", description="Code models that improve themselves: beam search, testing, prioritized replay (BTP)."
    )
    parser.add_argument("--version", action="version", version=f"pper {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tasks_help = "a tasks file, or micro_python:SPLIT:COUNT:SEED"
    model_help = "a HF folder, a GGUF file, a run folder, or a name of `pper models list`"

    for name, function, about in (
        ("run", _run, "run the whole loop; the same command again resumes"),
        ("pretrain", _pretrain, "make the demo model from micro_python programs with mistakes"),
    ):
        config = "configs/quickstart.yaml" if name == "run" else "configs/micro_pretrain.yaml"
        sub = add_command(commands, name, function, about, f"pper {name} {config} seed=1")
        sub.add_argument("config", metavar="CONFIG", help="a YAML file")
        sub.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides, such as beam.width=5")
        if name == "run":
            sub.add_argument("--fresh", action="store_true", help="delete the run folder and start over")

    sub = add_command(
        commands, "sample", _sample, "write programs for tasks",
        "pper sample --model micro --tasks micro_python:heldout_kind:50:0 --out samples.jsonl --beams 4",
    )  # fmt: skip
    sub.add_argument("--model", required=True, help=model_help)
    sub.add_argument("--tasks", required=True, help=tasks_help)
    sub.add_argument("--out", required=True, help="a samples file; an interrupted one is completed")
    about = "programs a task; not for --method greedy, which writes one (default: 3)"
    sub.add_argument("--beams", type=positive, help=about)
    sub.add_argument(
        "--distinct", action="store_true", help="draw twice as many; keep those that differ in code, at most --beams"
    )
    _decode_options(sub)

    sub = add_command(
        commands, "test", _test, "test programs in sandboxed processes",
        "pper test --tasks humaneval.jsonl --samples samples.jsonl --out verdicts.jsonl",
    )  # fmt: skip
    sub.add_argument("--tasks", required=True, help=tasks_help)
    sub.add_argument("--samples", required=True, help="a samples file; completions or whole solutions")
    sub.add_argument("--out", required=True, help="a verdicts file; an interrupted one is completed")
    _test_options(sub)

    sub = add_command(
        commands, "score", _score, "log-probabilities of programs written elsewhere",
        "pper score --model micro --tasks tasks.jsonl --samples theirs.jsonl --out scored.jsonl",
    )  # fmt: skip
    sub.add_argument("--model", required=True, help=model_help)
    sub.add_argument("--tasks", required=True, help=tasks_help)
    sub.add_argument("--samples", required=True)
    sub.add_argument("--out", required=True)
    _weights_option(sub)

    sub = add_command(
        commands, "eval", _eval, "pass@k, pass rate and accuracy, by difficulty, with intervals",
        "pper eval --model micro --tasks micro_python:heldout_kind:200:0 --k 1,4",
    )  # fmt: skip
    sub.add_argument("--model", required=True, help=model_help)
    sub.add_argument("--tasks", required=True, help=tasks_help)
    sub.add_argument("--k", default="1", help="numbers with commas")
    sub.add_argument("--samples", type=positive, help="programs a task (default: the largest k)")
    sub.add_argument("--out", help="keep samples and verdicts in this folder")
    sub.add_argument("--json", action="store_true", help="print JSON")
    _decode_options(sub)
    _test_options(sub)

    group = add_command(commands, "tasks", None, "list, convert and check task sets", "pper tasks list")
    tasks = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_command(tasks, "list", _tasks_list, "the task sets that can be converted", "pper tasks list")
    sub = add_command(
        tasks,
        "convert",
        _tasks_convert,
        "make a tasks file",
        "pper tasks convert humaneval HumanEval.jsonl.gz he.jsonl",
    )
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("src", metavar="SRC")
    sub.add_argument("out", metavar="OUT")
    sub = add_command(
        tasks, "check", _tasks_check, "run the references through the test pool", "pper tasks check he.jsonl"
    )
    sub.add_argument("file", metavar="FILE", help=tasks_help)
    _test_options(sub)

    group = add_command(commands, "models", None, "list, get, describe and export models", "pper models list")
    models = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_command(models, "list", _models_list, "models that can be had by name", "pper models list")
    sub = add_command(
        models, "get", _models_get, "bring a model into the cache", "pper models get smollm2-135m-instruct"
    )
    sub.add_argument("name", metavar="NAME")
    sub = add_command(models, "info", _models_info, "what a checkpoint holds", "pper models info micro")
    sub.add_argument("model", metavar="MODEL", help=model_help)
    sub = add_command(
        models, "export", _models_export, "a run's model as a HF folder", "pper models export runs/quickstart out"
    )
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("dir", metavar="DIR")

    sub = add_command(
        commands, "report", _report, "write report.html of a run, or compare runs", "pper report runs/quickstart"
    )
    sub.add_argument("runs", nargs="+", metavar="RUN")
    sub.add_argument("--out", help="where to write the page")
    add_bench(commands)
    group = add_command(commands, "replay", None, "the replay buffer of a run", "pper replay inspect runs/quickstart")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    sub = add_command(
        actions, "inspect", _replay_inspect, "what the buffer holds, why it is drawn, what is wrong with it",
        "pper replay inspect runs/quickstart --limit 50",
    )  # fmt: skip
    sub.add_argument("run", metavar="RUN", help="a run folder")
    sub.add_argument("--limit", type=positive, default=20, help="programs shown, greatest P2Value first")
    sub.add_argument("--program", type=int, help="show each draw of this program instead")
    add_command(commands, "doctor", _doctor, "check the test pool and say what the machine offers", "pper doctor")
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
    try:
        return int(args.function(args))
    except UserError as error:
        return _fail(error, 2)
    except RunFailure as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted; what was finished is kept, and the same command goes on from there", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail(f"cannot go on: {what}", 1)


def _fail(error: object, code: int) -> int:
    print(f"pper: {error}", file=sys.stderr)
    return code
