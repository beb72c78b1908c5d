"""Two processes of four devices do what one of eight does; when one is killed, both end, and go on later."""

import json
import shutil
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
from killing import command, environment, finish, summary

pytestmark = pytest.mark.slow
SMALL = (
    "rounds=1",
    "tasks.train.count=48",
    "tasks.eval.heldout_kind.count=24",
    "tasks.eval.heldout_composition.count=24",
    "train.steps=12",
    "train.checkpoint_every=1",
)
TIMEOUT = 900


@pytest.fixture(scope="module")
def config(project_root):
    return project_root / "configs" / "quickstart.yaml"


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    finish(config, *SMALL, f"out={out}", "name=run", devices=8)
    return out / "run"


def wait_for_step(processes, run, step):
    """Return once a running run has written that training step."""
    deadline, metrics = time.monotonic() + TIMEOUT, run / "metrics.jsonl"
    while not (metrics.exists() and f'"step": {step}' in metrics.read_text()):
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start(config, out, *overrides):
    """Both processes, begun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    asked = [f"out={out}", "name=run", f"distributed.coordinator={coordinator}", "distributed.num_processes=2"]
    return [
        subprocess.Popen(
            command(config, *SMALL, *asked, *overrides, f"distributed.process_id={index}"),
            env=environment(4),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]


def ended(processes, stream=1):
    """``(exit codes, what each wrote to standard error)``; to standard output with ``stream`` 0."""
    said = [process.communicate(timeout=TIMEOUT)[stream] for process in processes]
    return [process.returncode for process in processes], said


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def losses(run):
    return [row["loss"] for row in rows(run / "metrics.jsonl") if row["event"] == "train"]


def assert_same_run(run, expected):
    assert summary(run) == summary(expected)
    np.testing.assert_allclose(losses(run), losses(expected), rtol=1e-4)
    for kind in ("samples", "verdicts"):
        names = sorted(path.name for path in (expected / kind).iterdir())
        assert sorted(path.name for path in (run / kind).iterdir()) == names  # no shares are left
        for name in names:
            ours, theirs = rows(run / kind / name), rows(expected / kind / name)
            assert [row["task_id"] for row in ours] == [row["task_id"] for row in theirs], name
            apart = sum(a["completion"] != b["completion"] for a, b in zip(ours, theirs, strict=True))
            print(f"{kind}/{name}: {apart} of {len(ours)} programs differ")
            assert apart == 0


def test_two_processes_end_with_the_figures_of_one(config, alone, tmp_path):
    codes, said = ended(start(config, tmp_path))
    assert codes == [0, 0], said
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.parametrize("victim", [0, 1])
def test_one_killed_both_end_and_the_same_command_finishes(config, alone, tmp_path, victim):
    processes = start(config, tmp_path)
    wait_for_step(processes, tmp_path / "run", 6)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    codes, said = ended(processes)
    assert time.monotonic() - killed < 60  # a collective alone would wait for minutes
    assert (codes[victim], codes[1 - victim]) == (-signal.SIGKILL, 1)
    sentence = f"pper: this process ends because process {victim} of the run died"
    assert [line.startswith(sentence) for line in said[1 - victim].splitlines() if line.startswith("pper: ")] == [True]
    assert "Traceback" not in said[1 - victim]

    codes, said = ended(start(config, tmp_path))
    assert codes == [0, 0], said
    assert_same_run(tmp_path / "run", alone)


def test_one_told_to_end_both_save_the_same_step_and_go_on_from_there(config, alone, tmp_path):
    processes = start(config, tmp_path, "train.checkpoint_every=1000")
    wait_for_step(processes, tmp_path / "run", 3)
    processes[1].send_signal(signal.SIGTERM)
    codes, said = ended(processes)
    assert codes == [143, 143], said
    assert said[0].splitlines()[-1].startswith("pper: this process ends because another process of the run was told")
    assert "Traceback" not in "".join(said)
    taken = len(losses(tmp_path / "run"))
    assert 3 <= taken < 12, "the signal came too late"

    codes, said = ended(start(config, tmp_path, "train.checkpoint_every=1000"), stream=0)
    assert codes == [0, 0], said
    assert f"resuming after round 1, training step {taken}\n" in said[0]
    assert_same_run(tmp_path / "run", alone)


def test_what_one_process_began_two_go_on_with(config, alone, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(alone, tmp_path / name / "run")
    finish(config, *SMALL, f"out={tmp_path / 'one'}", "name=run", "rounds=2", devices=8)
    codes, said = ended(start(config, tmp_path / "two", "rounds=2"))
    assert codes == [0, 0], said
    first = len(losses(alone))
    one, two = (losses(tmp_path / name / "run") for name in ("one", "two"))
    assert one[:first] == two[:first]
    np.testing.assert_allclose(two[first], one[first], rtol=1e-5)
    assert summary(tmp_path / "two" / "run") == summary(tmp_path / "one" / "run")
