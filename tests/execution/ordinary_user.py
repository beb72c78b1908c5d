"""Run by ``test_pool_hostile`` as another user: judge everything hostile, print as JSON what came of it."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from hostile_programs import PROGRAMS  # noqa: E402
from hostile_rows import accepted, hostile_job, hostile_rows  # noqa: E402

from pper_jax.execution import Job, Limits, TestPool  # noqa: E402


def traces() -> list[list[str]]:
    """What could be left behind, but for what others do meanwhile."""
    files = sorted(name for name in os.listdir("/tmp") if name.startswith(("pper-box", "pper_")))
    return [sorted(os.listdir("/proc/self/fd")), files, sorted(os.listdir("/dev/shm"))]


def main() -> None:
    """Judge, and report."""
    limits = Limits(timeout_s=1.0, wall_s=2.0, trusted_s=0.5, memory_mb=512, output_bytes=1 << 20)
    wrong: dict[str, Any] = {}
    before, judged = traces(), 0
    with tempfile.TemporaryDirectory() as canary, socket.create_server(("127.0.0.1", 0)) as server:
        own = [(name, Job(p.program, p.tests, "f"), [p.accepted] * 3) for name, p in PROGRAMS.items()]
        for compare in ("strict", "official"):
            port = server.getsockname()[1]
            rows = [(r["name"], hostile_job(r, Path(canary), port), accepted(r)) for r in hostile_rows(compare)]
            batch = own + rows if compare == "strict" else rows
            with TestPool(2, limits, compare) as pool:
                verdicts = pool.run([job for _, job, _ in batch])
            judged += len(batch)
            for (name, _, right), verdict in zip(batch, verdicts, strict=True):
                if not all(test.status in fine for test, fine in zip(verdict.tests, right, strict=False)):
                    wrong[name] = [(test.status, test.detail) for test in verdict.tests]
        if os.listdir(canary):
            wrong["files"] = os.listdir(canary)
    report = {"uid": os.getuid(), "wrong": wrong, "judged": judged, "before": before, "after": traces()}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
