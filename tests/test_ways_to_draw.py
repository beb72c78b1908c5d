"""`pper sample` with each way of drawing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pper_jax.cli import main
from pper_jax.decode.distinct import normalise

TASK = {"task_id": "t/1", "prompt": "def f(x):\n", "tests": {"kind": "answer", "expected": "1"}}


def sample(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "out.jsonl"
    tasks.write_text(json.dumps(TASK) + "\n", encoding="utf-8")
    common = ["--model", "micro", "--tasks", str(tasks), "--out", str(out), "--max-new-tokens", "12"]
    assert main(["sample", *common, "--batch-size", "1", *options]) == 0
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_stochastic_beams_give_different_programs_that_the_seed_decides(tmp_path: Path):
    run = ["--method", "stochastic-beam", "--beams", "4", "--temperature", "1.5"]
    rows = sample(tmp_path, *run)
    assert len({tuple(row["tokens"]) for row in rows}) == 4
    assert sample(tmp_path, *run) == rows
    assert sample(tmp_path, *run, "--seed", "1") != rows


def test_diverse_groups_begin_with_different_tokens(tmp_path: Path):
    rows = sample(tmp_path, "--method", "diverse-beam", "--beams", "3", "--diversity", "50")
    assert len({row["tokens"][0] for row in rows}) == 3
    assert [row["logprob"] for row in rows] == sorted((row["logprob"] for row in rows), reverse=True)  # best first


def test_distinct_keeps_programs_that_differ_in_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = sample(tmp_path, "--method", "sample", "--beams", "4", "--temperature", "0.02", "--distinct")
    assert 1 <= len(rows) < 4, "the case must exercise repetitions"
    assert [row["rank"] for row in rows] == list(range(len(rows)))
    assert len({normalise(TASK["prompt"] + row["completion"]) for row in rows}) == len(rows)
    line = capsys.readouterr().err
    assert f"{8 - len(rows)} programs repeated another" in line
    assert "1 of 1 tasks have fewer than 4" in line
