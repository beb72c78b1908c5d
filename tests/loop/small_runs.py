"""A run that takes seconds, and what is compared of it."""

import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from pper_jax.loop.config import RunConfig
from pper_jax.settings import from_dict

SMALL = {
    "model": "micro",
    "rounds": 1,
    "tasks": {
        "train": {"source": "micro_python", "split": "train", "count": 4},
        "eval": {"held": {"source": "micro_python", "split": "heldout_kind", "count": 3, "seed": 1}},
    },
    "beam": {"width": 2, "max_new_tokens": 40, "batch_size": 4},
    "evaluation": {"width": 2},  # as many beams as the rounds and no longer prompts: decoding is compiled once
    "replay": {"store": "all", "capacity": 32},
    "optimizer": {"learning_rate": 3.0e-4, "warmup_steps": 2},
    "train": {"steps": 4, "batch_size": 8, "max_length": 192, "checkpoint_every": 1},
    "execution": {"workers": 1, "timeout_s": 2.0, "memory_mb": 512},
}


def small(out, name="run", **changes) -> RunConfig:
    data = {**SMALL, "out": str(out), "name": name}
    for path, value in changes.items():
        section = data
        *parents, last = path.split("__")
        for parent in parents:
            section[parent] = dict(section[parent])
            section = section[parent]
        section[last] = value
    return from_dict(RunConfig, data)


def rows(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def timeless(row):
    """A row without its seconds."""
    return {
        key: [timeless(test) for test in value] if key == "tests" else value
        for key, value in row.items()
        if key != "seconds"
    }


def state(run: Path):
    """The loop's state in the last checkpoint, every array by its name: dtype, shape and bytes."""
    with ocp.CheckpointManager((run / "checkpoints").resolve()) as saved:
        found = saved.restore(saved.latest_step(), args=ocp.args.StandardRestore())
    leaves = [(path, np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(found)]
    return {jax.tree_util.keystr(path): (str(leaf.dtype), leaf.shape, leaf.tobytes()) for path, leaf in leaves}


def results(run: Path):
    """All that two runs of the same asking have in common, by file: parameters, optimizer and replay buffer too."""
    found = {"checkpoints": state(run)}
    for pattern in ("samples/*.jsonl", "draws/*.jsonl", "model/*"):
        found |= {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.glob(pattern))}
    for path in [*sorted(run.glob("verdicts/*.jsonl")), run / "metrics.jsonl"]:
        found[str(path.relative_to(run))] = [timeless(row) for row in rows(path)]
    found["summary.json"] = {k: v for k, v in json.loads((run / "summary.json").read_text()).items() if k != "name"}
    found["replayed.json"] = json.loads((run / "replayed.json").read_text())
    return found
