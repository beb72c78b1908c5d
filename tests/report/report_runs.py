"""Synthetic run folders in the format that the loop writes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

SPLITS = ("heldout_kind", "heldout_task")
COMPLETION = '''    """<script>alert("x")</script> & more"""
    total = 0
    for item in items:  # add them up
        if item > 10 and item % 2 == 0:
            total += item
    return total
'''


def jsonl(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rate(split: str, index: int) -> float:
    return 0.31 + 0.028 * index + (0.05 if split == SPLITS[1] else 0.0)


def metrics(rounds: int, steps: int, shift: float = 0.0) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index in range(rounds + 1):
        if index > 0:
            share = 0.42 - 0.05 * index
            rows.append({"event": "sample", "round": index, "programs": 360, "tokens": 20000, "seconds": 41.5})
            rows.append({"event": "phase", "round": index, "phase": "sample", "seconds": 41.5})
            statuses = {"pass": 70 + 20 * index, "fail": 180 - 15 * index, "error": 70 - 8 * index, "timeout": 20}
            statuses |= {
                "memory": 4,
                "output_limit": 3,
                "crash": 6,
                "not_run": 5,
                "infrastructure": 2 if index == 1 else 0,
            }
            rows.append({"event": "test", "round": index, "programs": 360, "seconds": 75.0, "statuses": statuses})
            rows.append({"event": "phase", "round": index, "phase": "test", "seconds": 75.0})
            rows.append(replay(index, share))
            for step in range(steps):
                at = (index - 1) * steps + step
                loss = 2.1 * math.exp(-at / 60) + 0.4 + 0.12 * math.sin(at * 1.7)
                rows.append(
                    {"event": "train", "round": index, "step": at + 1, "loss": loss, "grad_norm": 1 + 1 / (at + 1)}
                )
            rows.append({"event": "phase", "round": index, "phase": "train", "seconds": 63.0})
        for split in SPLITS:
            row: dict[str, Any] = {"event": "eval", "round": index, "split": split, "tasks": 120}
            for metric, base in (
                ("pass_rate", rate(split, index) + shift * index),
                ("accuracy", rate(split, index) - 0.15),
            ):
                row |= {metric: base, f"{metric}_low": base - 0.05, f"{metric}_high": base + 0.055}
            rows.append(row)
        rows.append({"event": "phase", "round": index, "phase": "evaluate", "seconds": 28.0})
        rows.append({"event": "phase", "round": index, "phase": "save", "seconds": 2.4})
    return rows


def replay(index: int, zero: float) -> dict[str, Any]:
    edges = [i / 20 for i in range(21)]
    counts = [
        int(60 * math.exp(-(((i - 4 - index) / 3) ** 2)) + 12 * math.exp(-(((i - 14) / 2) ** 2))) for i in range(20)
    ]
    passes = [int(720 * zero), 60, 90, 40, 30, 25, 22, 20, 18, 100 + 50 * index]
    return {
        "event": "replay",
        "round": index,
        "size": 360 * index,
        "effective_sample_size": 0.129 + 0.01 * index,
        "zero_pass_share": zero,
        "p2value_hist": {"edges": edges, "counts": counts},
        "pass_rate_hist": {"edges": [i / 10 for i in range(11)], "counts": passes},
        "warnings": [],
    }


def replayed(count: int) -> list[dict[str, Any]]:
    return [
        {
            "task_id": f"micro/{100 + i}",
            "completion": COMPLETION,
            "round": 1 + i % 3,
            "times_drawn": 30 - 2 * i,
            "possibility": 0.93 - 0.01 * i,
            "pass_rate": 0.8 if i % 2 else 1.0,
            "p2value": 0.9 - 0.02 * i,
            "rank": i + 1,
            "probability": 0.012 / (i + 1),
            "reason": f"Rank {i + 1} of 1,080 by P2Value: the model finds it likely and it passes most of its tests.",
        }
        for i in range(count)
    ]


def gain(before: float, after: float) -> dict[str, float]:
    return {"difference": after - before, "low": after - before - 0.031, "high": after - before + 0.034}


def summary(name: str, rounds: int, shift: float = 0.0) -> dict[str, Any]:
    splits = {}
    for split in SPLITS:
        a, b = rate(split, 0), rate(split, rounds) + shift * rounds
        splits[split] = {
            "tasks": 120,
            "before": {"pass_rate": a, "accuracy": a - 0.15},
            "after": {"pass_rate": b, "accuracy": b - 0.15},
            "gain": {"pass_rate": gain(a, b), "accuracy": gain(a, b)},
        }
    return {"name": name, "rounds": rounds, "seed": 0, "splits": splits, "programs": 360 * rounds, "finished": True}


def build(folder: Path, rounds: int = 3, steps: int = 40, name: str = "quickstart", shift: float = 0.0) -> Path:
    """A finished run."""
    folder.mkdir(parents=True)
    config = {
        "name": name,
        "seed": 0,
        "rounds": rounds,
        "beam": {"width": 3},
        "replay": {"alpha": 0.5, "omega": 0.7 + shift},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    environment = {"python": "3.11.7", "jax": "0.10.2", "flax": "0.12.1", "devices": ["cpu:0"], "git": "4e04899c1f7b2d"}
    environment |= {"command": "pper run configs/quickstart.yaml", "started": "2026-11-23T06:15:00Z"}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    jsonl(folder / "metrics.jsonl", metrics(rounds, steps, shift))
    programs = replayed(12)
    (folder / "replayed.json").write_text(json.dumps({"programs": programs}), encoding="utf-8")
    prompts = [
        {"task_id": row["task_id"], "prompt": f'def f{i}(items):\n    """The sum of the even items above 10."""\n'}
        for i, row in enumerate(programs)
    ]
    jsonl(folder / "tasks.jsonl", prompts)
    verdict = {"passed": 4, "total": 5, "pass_rate": 0.8, "status": "fail"}
    jsonl(folder / "verdicts" / "round_001.jsonl", [row | verdict for row in programs[:3]])
    (folder / "summary.json").write_text(json.dumps(summary(name, rounds, shift)), encoding="utf-8")
    return folder
