"""The smoke study as a user runs it: real runs of the demo model, by the command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "pper_jax.cli", "study", str(ROOT / "configs/studies/smoke.yaml"), "--jobs", "2"]


def study(out, **options):
    return subprocess.run([*COMMAND, f"out={out}"], capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("smoke")
    done = study(out)
    assert done.returncode == 0, done.stderr
    return out / "smoke", done


def figures(folder):
    return json.loads((folder / "study.json").read_text())


def test_two_equal_arms_differ_by_exactly_nothing(smoke):
    folder, _ = smoke
    found = figures(folder)
    assert found["sets"]["heldout_kind"]["arms"]["same"]["against"]["difference"] == 0
    assert found["arms"]["same"]["ledger"] == found["arms"]["learns"]["ledger"]
    for seed in (0, 1):
        pairs = [
            folder / "runs" / f"{arm}-{seed}" / "samples/eval_001_heldout_kind.jsonl" for arm in ("learns", "same")
        ]
        assert pairs[0].read_bytes() == pairs[1].read_bytes()


def test_a_planted_effect_is_found(smoke):
    folder, done = smoke
    against = figures(folder)["sets"]["heldout_kind"]["arms"]["ruined"]["against"]
    assert against["high"] < 0
    assert against["holm"] < 0.05
    assert "ruined" in done.stdout
    assert {"study.md", "study.html", "study.json"} <= {path.name for path in folder.iterdir()}


def test_what_arms_share_is_the_same_bytes_in_all_of_them(smoke):
    folder, _ = smoke
    for name in ("samples/round_001.jsonl", "verdicts/round_001.jsonl", "verdicts/eval_000_heldout_kind.jsonl"):
        assert len({(folder / "runs" / f"{arm}-0" / name).read_bytes() for arm in ("learns", "same", "ruined")}) == 1


def test_the_same_command_again_makes_no_run_and_the_same_bytes(smoke):
    folder, _ = smoke
    before = {name: (folder / name).read_bytes() for name in ("study.json", "study.md", "study.html")}
    assert study(folder.parent).returncode == 0
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.slow
@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
def test_a_study_that_was_ended_in_the_middle_comes_to_the_same_bytes(smoke, tmp_path, with_signal):
    whole, _ = smoke
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
