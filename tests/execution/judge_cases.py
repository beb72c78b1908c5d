"""Judge the shared collections of cases and hostile programs; print as JSON what came of it.

``python judge_cases.py TIMES BUSY``: so many times over, with other work on every core where BUSY is 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from hostile_rows import accepted, case_rows, hostile_job, hostile_rows, is_official  # noqa: E402

from pper_jax.execution import Limits, TestPool  # noqa: E402

LIMITS = Limits(timeout_s=2.0)


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep so many cores at work."""
    others = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def judge(rows: list[dict[str, Any]], isolation: str, compare: str, canary: Path, port: int) -> dict[str, Any]:
    """Return the rows with a verdict that is not accepted, and what it was."""
    with TestPool(2, LIMITS, compare, isolation=isolation, cache=False) as pool:
        verdicts = pool.run([hostile_job(row, canary, port) for row in rows])
    return {
        f"{row['name']} ({isolation})": [(test.status, test.detail) for test in verdict.tests]
        for row, verdict in zip(rows, verdicts, strict=True)
        if not all(test.status in fine for test, fine in zip(verdict.tests, accepted(row), strict=True))
    }


def main(times: int, cores: int) -> None:
    """Judge, and report."""
    wrong: dict[str, Any] = {}
    judged = 0
    with tempfile.TemporaryDirectory() as canary, socket.create_server(("127.0.0.1", 0)) as server, busy(cores):
        port = server.getsockname()[1]
        for _ in range(times):
            rows = case_rows("verdicts") + hostile_rows("strict") + hostile_rows("official")
            sets = [("program", [row for row in rows if not is_official(row)], "strict")]
            sets += [("program", [row for row in rows if is_official(row)], "official")]
            sets += [(isolation, case_rows("verdicts_batch"), "strict") for isolation in ("program", "batch")]
            for isolation, own, compare in sets:
                judged += len(own)
                wrong |= judge(own, isolation, compare, Path(canary), port)
        if os.listdir(canary):
            wrong["files"] = os.listdir(canary)
    print(json.dumps({"uid": os.getuid(), "judged": judged, "wrong": wrong}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) * (os.cpu_count() or 1))
