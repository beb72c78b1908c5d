"""`pper study`: arms over seeds, compared at equal budget."""

from __future__ import annotations

import argparse
from typing import Any

from pper_jax.arguments import add_command, positive


def add(commands: Any) -> None:
    """Add the command of this file to the parser."""
    sub = add_command(
        commands, "study", _study, "compare arms over seeds at equal budget; the same command again resumes",
        "pper study configs/studies/smoke.yaml --jobs 2",
    )  # fmt: skip
    sub.add_argument("config", metavar="CONFIG", help="a study's YAML file")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the study's keys, such as out=DIR")
    sub.add_argument("--jobs", type=positive, default=1, help="runs at once, each on its share of the cores")
    sub.add_argument("--ray", action="store_true", help="make the runs on a Ray cluster, --jobs CPUs each")


def _study(args: argparse.Namespace) -> int:
    from pper_jax.study import conduct, load_study
    from pper_jax.study.crew import Local, OnRay
    from pper_jax.study.page import lines, write_pages

    study = load_study(args.config, args.overrides)
    folder = conduct(study, OnRay(args.jobs) if args.ray else Local(args.jobs))
    for line in lines(write_pages(folder)):
        print(line)
    print(f"report: {folder / 'study.html'}")
    return 0
