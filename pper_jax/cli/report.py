"""`pper report`, `replay inspect` and `doctor`: looking at runs and at the machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pper_jax.arguments import add_command, positive


def add(commands: Any) -> None:
    """Add `pper report` to the parser."""
    about = "write report.html of a run or compare runs, and print the paper's tables"
    sub = add_command(commands, "report", _report, about, "pper report runs/quickstart")
    sub.add_argument("runs", nargs="+", metavar="RUN")
    sub.add_argument("--out", help="where to write the page")
    sub.add_argument("--markdown", action="store_true", help="print the tables alone, as Markdown")


def add_inspection(commands: Any) -> None:
    """Add `pper replay inspect` and `pper doctor` to the parser."""
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


def _report(args: argparse.Namespace) -> int:
    from pper_jax.report import as_markdown, as_text, gain_lines, labels_of, load_run, paper_tables, write_report

    page = write_report([Path(run) for run in args.runs], Path(args.out) if args.out else None)
    runs = [load_run(Path(path)) for path in args.runs]
    tables = paper_tables(runs, labels_of(runs))
    if args.markdown:
        print("\n\n".join(map(as_markdown, tables)))
        return 0
    for run in runs:
        for line in gain_lines(run.summary):
            print(f"{run.name:20} {line}")
    for table in tables:
        print(f"\n{as_text(table)}")
    print(page)
    return 0


def _replay_inspect(args: argparse.Namespace) -> int:
    from pper_jax.cli.inspect_replay import inspect_replay

    print(inspect_replay(Path(args.run), limit=args.limit, program=args.program))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from pper_jax.cli.doctor import doctor

    return 0 if doctor() else 1
