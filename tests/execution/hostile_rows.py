"""The shared collections of hostile and awkward programs, as jobs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pper_jax.execution import Job

SHARED = Path(os.environ.get("PPER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


CASES = Path(os.environ.get("PPER_SHARED_CASES", SHARED.parent / "cases"))


def case_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a file of cases (``verdicts``, or ``verdicts_batch`` whose pairs may share a process)."""
    path = CASES / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_official(row: dict[str, Any]) -> bool:
    """Whether a row is to be judged by the rule ``official``."""
    return bool(row.get("compare", {}).get("tuple_is_list"))


def hostile_rows(compare: str) -> list[dict[str, Any]]:
    """The rows that are to be judged by one way of comparing; none where the shared data are not here."""
    path = SHARED / "hostile" / "hostile.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [row for row in rows if is_official(row) == (compare == "official")]


def accepted(row: dict[str, Any]) -> list[list[str]]:
    """The statuses that each test of a row may have."""
    return list(row["expected"])


def hostile_job(row: dict[str, Any], canary: Path, port: int) -> Job:
    """A row as a job; its program is told the canary's folder and a port that listens."""
    program = row["program"].replace("@CANARY@", str(canary)).replace("@PORT@", str(port))
    if row["kind"] == "stdin":
        texts = [
            (t["stdin_repeat"][0] * t["stdin_repeat"][1] if "stdin_repeat" in t else t["stdin"]) for t in row["tests"]
        ]
        cases = [{"stdin": text, "stdout": test["stdout"]} for text, test in zip(texts, row["tests"], strict=True)]
        return Job(program, {"kind": "stdio", "cases": cases})
    if row["kind"] == "call":
        return Job(program, {"kind": "call", "fn_name": row["fn"], "cases": row["tests"]})
    asserts = [
        t.get("assert") or f"assert {row['fn']}({', '.join(map(repr, t['args']))}) == {t['expected']!r}"
        for t in row["tests"]
    ]
    return Job(program, {"kind": "asserts", "asserts": asserts}, row.get("fn"))
