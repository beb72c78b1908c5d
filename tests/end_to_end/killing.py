"""Start `pper run` as a user does, kill it in the middle of a phase, and start it again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# phase -> (file that shows that it is under way, text that the file must hold)
PHASES = {
    "evaluate before": ("samples/eval_000_*.jsonl", "task_id"),
    "sample": ("samples/round_001.jsonl", "task_id"),
    "test": ("verdicts/round_001.jsonl", ""),
    "train": ("metrics.jsonl", '"event": "train"'),
    "late in train": ("metrics.jsonl", '"step": 3'),  # with checkpoint_every=1 that of step 1 is whole by then
    "save": ("checkpoints/*", None),
    "evaluate after": ("samples/eval_{last:03d}_*.jsonl", "task_id"),
}


def command(config, *overrides):
    return [sys.executable, "-m", "pper_jax.cli", "run", str(config), *overrides]


def environment(devices=1):
    """The test's own environment, but one device, as on a laptop, or several virtual ones."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def finish(config, *overrides, timeout=900, devices=1):
    done = subprocess.run(
        command(config, *overrides),
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def under_way(run: Path, phase: str, last: int) -> bool:
    pattern, text = PHASES[phase]
    found = sorted(run.glob(pattern.format(last=last)))
    return bool(found) and (not text or any(text in path.read_text() for path in found if path.is_file()))


def kill_in(phase: str, run: Path, config, *overrides, last: int, timeout=900) -> None:
    """Start the run and kill its process group as soon as ``phase`` is under way; fails if it ends before."""
    quiet = subprocess.DEVNULL
    argv = command(config, *overrides)
    process = subprocess.Popen(argv, env=environment(), start_new_session=True, stdout=quiet, stderr=quiet)
    deadline = time.monotonic() + timeout
    while not under_way(run, phase, last):
        assert process.poll() is None, f"the run ended before it could be killed in phase {phase}"
        assert time.monotonic() < deadline, f"phase {phase} never began"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "summary.json").exists(), f"the run was over before it could be killed in phase {phase}"


def summary(run: Path) -> dict:
    """The figures of summary.json, without the run's name."""
    figures = json.loads((run / "summary.json").read_text())
    del figures["name"]
    return figures
