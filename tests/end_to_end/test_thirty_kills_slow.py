"""A run that is killed at thirty random moments ends with the bytes of one that never was."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from killing import command, environment, finish

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "loop"))
from small_runs import results

KILLS = 30
SMALL = (
    "rounds=2",
    "tasks.train.count=12",
    "tasks.eval={held: {source: micro_python, split: heldout_kind, count: 8}}",
    "beam.batch_size=4",
    "beam.width=3",
    "train.steps=12",
    "train.batch_size=8",
    "train.checkpoint_every=2",
)
ADAPTERS = ("lora={rank: 4}", "train.objective={name: grpo}", "replay.store=all", "replay.priority=advantage")


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ADAPTERS], ids=["quickstart", "adapters"])
def test_thirty_kills_leave_no_trace(more, project_root, tmp_path, capsys):
    config, asked = project_root / "configs" / "quickstart.yaml", (*SMALL, *more, f"out={tmp_path}")
    finish(config, *asked, "name=whole")
    dice, ended = random.Random(0), 0
    quiet = subprocess.DEVNULL
    for _ in range(KILLS):
        argv = command(config, *asked, "name=killed")
        process = subprocess.Popen(argv, env=environment(), start_new_session=True, stdout=quiet, stderr=quiet)
        try:
            process.wait(dice.uniform(2.0, 14.0))
            ended += 1
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finish(config, *asked, "name=killed")
    killed, whole = results(tmp_path / "killed"), results(tmp_path / "whole")
    arrays = {name: leaf for name, leaf in whole["checkpoints"].items() if "params" in name or "buffer" in name}
    assert len(arrays) > 10, "neither parameters nor replay buffer are compared"
    assert killed == whole
    assert ended < KILLS, "no run was killed in its work"
    assert not list(tmp_path.glob("killed/**/*.partial"))
    with capsys.disabled():
        size = sum(len(content) for _, _, content in arrays.values())
        print(f"\n{KILLS} kills, {ended} of them after the end; equal: {len(whole)} files, and of the last checkpoint")
        print(f"{len(arrays)} arrays of parameters and replay buffer, {size} bytes")
