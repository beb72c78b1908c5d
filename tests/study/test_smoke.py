"""Studies as a user makes them, by the command: everyday with a model that knows nothing, slow as the file has it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "configs/studies/smoke.yaml"
COMMAND = [sys.executable, "-m", "pper_jax.cli", "study", str(SMOKE), "--jobs", "2"]


@pytest.fixture(scope="module", autouse=True)
def alone():
    """One device, as on a machine of a user's."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XLA_FLAGS", "")
        yield


def study(out, *more):
    return subprocess.run([*COMMAND, f"out={out}", *more], capture_output=True, text=True, check=False)


def figures(folder):
    return json.loads((folder / "study.json").read_text())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, tiny_model_folder):
    out = tmp_path_factory.mktemp("smoke")
    tasks = "tasks.eval={heldout_kind: {split: heldout_kind, count: 12, seed: 24}}"
    small = [tasks, f"model={tiny_model_folder}", "tasks.train.seed=3", "beam.max_new_tokens=24"]
    settings = [*yaml.safe_load(SMOKE.read_text())["settings"], *small]
    more = f"settings={json.dumps(settings)}"
    done = study(out, more)
    assert done.returncode == 0, done.stderr
    return out / "smoke", done, more


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    out = tmp_path_factory.mktemp("real")
    done = study(out)
    assert done.returncode == 0, done.stderr
    return out / "smoke", done


def test_two_equal_arms_differ_by_exactly_nothing(tiny):
    folder, _, _ = tiny
    found = figures(folder)
    assert found["sets"]["heldout_kind"]["arms"]["same"]["against"]["difference"] == 0
    assert found["arms"]["same"]["ledger"] == found["arms"]["learns"]["ledger"]
    for seed in (0, 1):
        runs = [folder / "runs" / f"{arm}-{seed}" / "model/model.safetensors" for arm in ("learns", "same", "ruined")]
        learns, same, ruined = (path.read_bytes() for path in runs)
        assert learns == same != ruined


def test_what_arms_share_is_the_same_bytes_in_all_of_them(tiny):
    folder, _, _ = tiny
    for name in ("samples/round_001.jsonl", "verdicts/round_001.jsonl", "verdicts/eval_000_heldout_kind.jsonl"):
        assert len({(folder / "runs" / f"{arm}-0" / name).read_bytes() for arm in ("learns", "same", "ruined")}) == 1


def test_the_same_command_again_makes_no_run_and_the_same_bytes(tiny):
    folder, _, more = tiny
    names = ("study.json", "study.md", "study.html")
    before = [(folder / name).read_bytes() for name in names]
    assert study(folder.parent, more).returncode == 0
    assert [(folder / name).read_bytes() for name in names] == before


@pytest.mark.slow
def test_a_planted_effect_is_found(real):
    folder, done = real
    arms = figures(folder)["sets"]["heldout_kind"]["arms"]
    assert arms["same"]["against"]["difference"] == 0
    assert arms["ruined"]["against"]["high"] < 0
    assert arms["ruined"]["against"]["holm"] < 0.05
    assert "ruined" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
def test_a_study_that_was_ended_in_the_middle_comes_to_the_same_bytes(real, tmp_path, with_signal):
    whole, _ = real
    process = subprocess.Popen(
        [*COMMAND, f"out={tmp_path}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not list((tmp_path / "smoke" / "runs").glob("*/summary.json")):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    os.kill(process.pid, with_signal)
    said = process.communicate()[0]
    assert process.returncode in (-signal.SIGKILL, 130), said
    assert "Traceback" not in said
    assert not (tmp_path / "smoke" / "study.json").exists()
    done = study(tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("study.json", "study.md"):
        assert (tmp_path / "smoke" / name).read_bytes() == (whole / name).read_bytes()
