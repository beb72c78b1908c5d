"""The `pper` command: thin; every sub-command is one function that imports what it needs.

Exit codes: 0 success, 2 wrong use, 1 failure, 130 interrupted; errors are one sentence on standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pper_jax import __version__
from pper_jax.errors import RunFailure, UserError
from pper_jax.folders import cache_folder

Command = Callable[[argparse.Namespace], int]


def _run(args: argparse.Namespace) -> int:
    from pper_jax.config import RunConfig, load_config
    from pper_jax.loop import run
    from pper_jax.report import gain_lines, load_run

    folder = run(load_config(RunConfig, args.config, args.overrides), fresh=args.fresh)
    for line in gain_lines(load_run(folder.path).summary):
        print(line)
    print(f"report: {folder.report}")
    return 0


def _pretrain(args: argparse.Namespace) -> int:
    from pper_jax.config import load_config
    from pper_jax.pretrain import PretrainConfig, pretrain

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
    from pper_jax.commands import decode_config, open_model, sample_file

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


def _limits(args: argparse.Namespace) -> Any:
    from pper_jax.execution import Limits

    return Limits(timeout_s=args.timeout, memory_mb=args.memory_mb)


def _test(args: argparse.Namespace) -> int:
    from pper_jax.commands import test_file

    limits = _limits(args)
    tasks = _tasks_of(args.tasks)
    print(test_file(tasks, Path(args.samples), Path(args.out), args.workers, limits, args.compare))
    return 0


def _score(args: argparse.Namespace) -> int:
    from pper_jax.commands import open_model, score_file

    count = score_file(open_model(args.model, args.weights), _tasks_of(args.tasks), Path(args.samples), Path(args.out))
    print(f"scored {count} programs into {args.out}")
    return 0


def _eval(args: argparse.Namespace) -> int:
    from pper_jax.commands import decode_config, evaluate, open_model, print_figures

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
        ),
        batch_size=args.batch_size,
        workers=args.workers,
        limits=_limits(args),
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
    from pper_jax.execution import TestPool
    from pper_jax.metrics import Progress
    from pper_jax.tasks.convert import check_references

    limits, tasks = _limits(args), _tasks_of(args.file)
    total = sum(task.reference is not None for task in tasks)
    with (
        TestPool(workers=args.workers, limits=limits, compare=args.compare) as pool,
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
    from pper_jax.models import describe, resolve_model
    from pper_jax.run_folder import model_folder

    for key, value in describe(model_folder(resolve_model(args.model))).items():
        print(f"{key:18} {value}")
    return 0


def _models_export(args: argparse.Namespace) -> int:
    from pper_jax.models import load_model, save_model
    from pper_jax.run_folder import model_folder

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


def _bench_beam(args: argparse.Namespace) -> int:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the runners are processes that share a GPU
    from pper_jax.bench.beam import Options, bench_beam, parse_numbers, write_json
    from pper_jax.bench.plot import write_plot

    options = Options(
        models=tuple(args.model.split(",")),
        ks=parse_numbers(args.k, "--k"),
        workloads=tuple(args.workload.split(",")),
        prompts=args.prompts,
        prompt_tokens=parse_numbers(args.prompt_tokens, "--prompt-tokens"),
        batch_size=args.batch,
        max_new_tokens=args.max_new_tokens,
        repeats=args.repeats,
        runners=tuple(args.runners.split(",")),
        dtype=args.dtype,
    )
    result = bench_beam(options)
    if args.out:
        write_json(result, Path(args.out))
    if args.plot:
        write_plot(result["races"], Path(args.plot))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from pper_jax.doctor import doctor

    return 0 if doctor() else 1


def _positive(text: str) -> int:
    value = int(text) if text.lstrip("+").isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


def _add(commands: Any, name: str, function: Command | None, about: str, example: str) -> argparse.ArgumentParser:
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


def _weights_option(parser: argparse.ArgumentParser) -> None:
    about = "how they are held; auto: float32 on CPU, bfloat16 elsewhere"
    parser.add_argument("--weights", choices=("auto", "float32", "bfloat16", "int8"), default="auto", help=about)


def _decode_options(parser: argparse.ArgumentParser) -> None:
    methods = ("beam", "diverse-beam", "stochastic-beam", "greedy", "sample")
    parser.add_argument("--method", choices=methods, default="beam")
    parser.add_argument("--groups", type=_positive, help="for --method diverse-beam (default: one beam each)")
    parser.add_argument("--diversity", type=float, default=0.5, help="for --method diverse-beam: penalty, log-prob")
    parser.add_argument("--max-new-tokens", type=_positive, default=128)
    parser.add_argument("--batch-size", type=_positive, default=16, help="prompts at once")
    parser.add_argument("--temperature", type=float, default=1.0, help="for --method sample and stochastic-beam")
    parser.add_argument("--top-p", type=float, default=1.0, help="for --method sample")
    parser.add_argument("--seed", type=int, default=0)
    _weights_option(parser)


def _test_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_positive, default=2, help="programs tested at once")
    parser.add_argument("--timeout", type=float, default=4.0, help="seconds a test")
    parser.add_argument("--memory-mb", type=_positive, default=1024, help="MiB a program")
    parser.add_argument("--compare", choices=("strict", "official"), default="strict")


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
        sub = _add(commands, name, function, about, f"pper {name} {config} seed=1")
        sub.add_argument("config", metavar="CONFIG", help="a YAML file")
        sub.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides, such as beam.width=5")
        if name == "run":
            sub.add_argument("--fresh", action="store_true", help="delete the run folder and start over")

    sub = _add(
        commands, "sample", _sample, "write programs for tasks",
        "pper sample --model micro --tasks micro_python:heldout_kind:50:0 --out samples.jsonl --beams 4",
    )  # fmt: skip
    sub.add_argument("--model", required=True, help=model_help)
    sub.add_argument("--tasks", required=True, help=tasks_help)
    sub.add_argument("--out", required=True, help="a samples file; an interrupted one is completed")
    sub.add_argument("--beams", type=_positive, default=3, help="programs a task")
    sub.add_argument(
        "--distinct", action="store_true", help="draw twice as many; keep those that differ in code, at most --beams"
    )
    _decode_options(sub)

    sub = _add(
        commands, "test", _test, "test programs in sandboxed processes",
        "pper test --tasks humaneval.jsonl --samples samples.jsonl --out verdicts.jsonl",
    )  # fmt: skip
    sub.add_argument("--tasks", required=True, help=tasks_help)
    sub.add_argument("--samples", required=True, help="a samples file; completions or whole solutions")
    sub.add_argument("--out", required=True, help="a verdicts file; an interrupted one is completed")
    _test_options(sub)

    sub = _add(
        commands, "score", _score, "log-probabilities of programs written elsewhere",
        "pper score --model micro --tasks tasks.jsonl --samples theirs.jsonl --out scored.jsonl",
    )  # fmt: skip
    sub.add_argument("--model", required=True, help=model_help)
    sub.add_argument("--tasks", required=True, help=tasks_help)
    sub.add_argument("--samples", required=True)
    sub.add_argument("--out", required=True)
    _weights_option(sub)

    sub = _add(
        commands, "eval", _eval, "pass@k, pass rate and accuracy, by difficulty, with intervals",
        "pper eval --model micro --tasks micro_python:heldout_kind:200:0 --k 1,4",
    )  # fmt: skip
    sub.add_argument("--model", required=True, help=model_help)
    sub.add_argument("--tasks", required=True, help=tasks_help)
    sub.add_argument("--k", default="1", help="numbers with commas")
    sub.add_argument("--samples", type=_positive, help="programs a task (default: the largest k)")
    sub.add_argument("--out", help="keep samples and verdicts in this folder")
    sub.add_argument("--json", action="store_true", help="print JSON")
    _decode_options(sub)
    _test_options(sub)

    group = _add(commands, "tasks", None, "list, convert and check task sets", "pper tasks list")
    tasks = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add(tasks, "list", _tasks_list, "the task sets that can be converted", "pper tasks list")
    sub = _add(
        tasks,
        "convert",
        _tasks_convert,
        "make a tasks file",
        "pper tasks convert humaneval HumanEval.jsonl.gz he.jsonl",
    )
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("src", metavar="SRC")
    sub.add_argument("out", metavar="OUT")
    sub = _add(tasks, "check", _tasks_check, "run the references through the test pool", "pper tasks check he.jsonl")
    sub.add_argument("file", metavar="FILE", help=tasks_help)
    _test_options(sub)

    group = _add(commands, "models", None, "list, get, describe and export models", "pper models list")
    models = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add(models, "list", _models_list, "models that can be had by name", "pper models list")
    sub = _add(models, "get", _models_get, "bring a model into the cache", "pper models get smollm2-135m-instruct")
    sub.add_argument("name", metavar="NAME")
    sub = _add(models, "info", _models_info, "what a checkpoint holds", "pper models info micro")
    sub.add_argument("model", metavar="MODEL", help=model_help)
    sub = _add(
        models, "export", _models_export, "a run's model as a HF folder", "pper models export runs/quickstart out"
    )
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("dir", metavar="DIR")

    sub = _add(
        commands, "report", _report, "write report.html of a run, or compare runs", "pper report runs/quickstart"
    )
    sub.add_argument("runs", nargs="+", metavar="RUN")
    sub.add_argument("--out", help="where to write the page")
    group = _add(commands, "bench", None, "speed beside other implementations", "pper bench beam")
    bench = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    sub = _add(
        bench, "beam", _bench_beam, "race beam search against torch's generate, CTranslate2 and a plain JAX loop",
        "pper bench beam --model small --k 1,3,10 --workload eos --prompts 24 --out race.json",
    )  # fmt: skip
    sub.add_argument("--model", default="gpt2-124m", help="gpt2-124m, gpt2-xl, smollm2-135m, small, tiny, micro")
    sub.add_argument("--k", default="3", help="beams; numbers with commas, 1 is greedy")
    sub.add_argument("--workload", default="no-eos", help="no-eos (all run to the limit), eos, or both with a comma")
    sub.add_argument("--prompts", type=_positive, default=8, help="how many")
    sub.add_argument("--prompt-tokens", default="64,128", help="shortest and longest prompt")
    sub.add_argument("--batch", type=_positive, default=8, help="prompts at once")
    sub.add_argument("--max-new-tokens", type=_positive, default=64)
    sub.add_argument("--repeats", type=_positive, default=3, help="timed rounds")
    sub.add_argument("--runners", default="pper,torch,ctranslate2-float32,ctranslate2-int8,gather")
    sub.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    sub.add_argument("--out", help="write everything as JSON to this file")
    sub.add_argument("--plot", help="write a picture (SVG) of all races to this file")
    _add(commands, "doctor", _doctor, "check the test pool and say what the machine offers", "pper doctor")
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


if __name__ == "__main__":
    sys.exit(main())
