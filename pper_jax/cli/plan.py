"""`pper plan`: what a run would take on hardware that is not here."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import Any

from pper_jax.arguments import add_command, positive


def add(commands: Any) -> None:
    """Add the command of this file to the parser."""
    sub = add_command(
        commands, "plan", _plan, "what a run would take on other hardware: memory, time, what binds",
        "pper plan configs/quickstart.yaml --topology v5e:4x4 model=llama-7b mesh.fsdp=16",
    )  # fmt: skip
    sub.add_argument("config", metavar="CONFIG", help="a YAML file")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides, such as mesh.fsdp=16")
    about = "v5e:16x16, v6e:4x4, v4:2x2x1, v5p:4x4x4, h100x8, h200x8, a100x8, or cpu:8 for simulated devices"
    sub.add_argument("--topology", required=True, help=about)
    sub.add_argument("--search", action="store_true", help="try the meshes, and rank those that fit")
    sub.add_argument("--most", type=positive, default=8, help="for --search: meshes that are compiled (default: 8)")
    about = (
        "compile these two depths (2,4) and extend to the model's, for models whose layers take long to compile; "
        "a learn step with train.scan_layers is compiled whole"
    )
    sub.add_argument("--layers", help=about)
    sub.add_argument("--only", choices=("learn", "decode"), help="one of the two calls")
    sub.add_argument("--json", action="store_true", help="print JSON")


def _plan(args: argparse.Namespace) -> int:
    from pper_jax.plan.topology import parse_topology, prepare

    topology = parse_topology(args.topology)
    prepare(topology)  # before jax is first asked for its devices
    from pper_jax.loop.config import load_run_config
    from pper_jax.plan.plan import DECODE, LEARN, plan_run, search
    from pper_jax.plan.show import lines, ranking, to_json

    config = load_run_config(args.config, args.overrides)
    options: dict[str, Any] = {
        "layers": _layers(args.layers),
        "parts": {"learn": (LEARN,), "decode": (DECODE,)}.get(args.only, (LEARN, DECODE)),
        "tell": _tell,
    }
    if args.search:
        plans = search(config, topology, most=args.most, **options)
        shown = json.dumps([to_json(plan) for plan in plans], indent=2) if args.json else "\n".join(ranking(plans))
    else:
        plan = plan_run(config, topology, **options)
        shown = json.dumps(to_json(plan), indent=2) if args.json else "\n".join(lines(plan))
    print(shown)
    return 0


def _tell(sentence: str) -> None:
    """What is going on, beside what is printed."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


def _layers(text: str | None) -> tuple[int, ...]:
    from pper_jax.errors import UserError, shown

    if text is None:
        return ()
    if not all(part.isdigit() and len(part) < 6 for part in text.split(",")):
        raise UserError(f"--layers {shown(text)}: give two depths, the smaller first, such as 2,4")
    return tuple(int(part) for part in text.split(","))
