"""A run that is killed at thirty random moments ends with the bytes of one that never was."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import command, environment, finish

from pper_jax.files.run_folder import LOCK

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "loop"))
from small_runs import results

KILLS = 30
AT_WORK = 5  # kills at least that must have come after something was done
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


def is_opened(run, process):
    """Whether the process has come so far that it holds the run's folder: before that it has nothing to lose."""
    try:
        return (run / LOCK).read_text().strip() == str(process.pid)
    except OSError:
        return False


def work_of(run):
    """What tells one state of the work from another."""
    kinds = ("samples", "verdicts", "draws", "checkpoints")
    return {str(path): path.stat().st_size for kind in kinds for path in run.glob(f"{kind}/*") if path.exists()}


def killed_at_some_moment(run, argv, most_s, dice):
    """Start the run and kill it within ``most_s`` of its opening; whether it did something meanwhile, or ended."""
    quiet, before = subprocess.DEVNULL, work_of(run)
    process = subprocess.Popen(argv, env=environment(), start_new_session=True, stdout=quiet, stderr=quiet)
    while process.poll() is None and not is_opened(run, process):
        time.sleep(0.02)
    try:
        process.wait(dice.uniform(0.0, most_s))
        assert process.returncode == 0
        return "ended"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return "idle" if work_of(run) == before else "at work"


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ADAPTERS], ids=["quickstart", "adapters"])
def test_thirty_kills_leave_no_trace(more, project_root, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))  # as `pper` has it
    config, asked = project_root / "configs" / "quickstart.yaml", (*SMALL, *more, f"out={tmp_path}")
    began = time.monotonic()
    finish(config, *asked, "name=whole")
    dice, most_s, argv = random.Random(0), (time.monotonic() - began) / 6, command(config, *asked, "name=killed")
    run, whole, found = tmp_path / "killed", results(tmp_path / "whole"), []
    while len(found) - found.count("ended") < KILLS:
        found.append(killed_at_some_moment(run, argv, most_s, dice))
        if found[-1] == "ended":  # and begins again
            assert results(run) == whole
            shutil.rmtree(run)
    finish(config, *asked, "name=killed")
    arrays = {name: leaf for name, leaf in whole["checkpoints"].items() if "params" in name or "buffer" in name}
    assert len(arrays) > 10, "neither parameters nor replay buffer are compared"
    assert results(run) == whole
    assert found.count("at work") >= AT_WORK, f"the kills came at moments that prove little: {found}"
    assert not list(run.glob("**/*.partial"))
    with capsys.disabled():
        size = sum(len(content) for _, _, content in arrays.values())
        counts = ", ".join(f"{found.count(state)} {state}" for state in ("at work", "idle", "ended"))
        print(f"\nkills: {counts}; equal each time: {len(whole)} files, and of the last checkpoint")
        print(f"{len(arrays)} arrays of parameters and replay buffer, {size} bytes")
