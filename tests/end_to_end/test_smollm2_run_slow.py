"""The shipped SmolLM2 run, killed in the middle of each phase: it ends with the figures of a run never killed.

Needs the model (`pper models get smollm2-135m-instruct`), MBPP as in the header of the configuration, and half an hour.
"""

import os
from pathlib import Path

import pytest
from killing import PHASES, finish, kill_in, summary

from pper_jax.models.download import models_folder
from pper_jax.tasks.convert import convert

ROOT = Path(__file__).resolve().parents[2]
MBPP = Path(os.environ.get("PPER_SHARED_DATA", ROOT.parent / "shared" / "data")) / "mbpp" / "mbpp.jsonl"
MODEL = models_folder() / "smollm2-135m-instruct"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (MBPP.exists() and MODEL.exists()), reason=f"needs {MBPP} and {MODEL}"),
]


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    tasks = tmp_path_factory.mktemp("data") / "mbpp.jsonl"
    convert("mbpp", MBPP, tasks)
    return f"tasks.train.source={tasks}", f"tasks.eval.test.source={tasks}"


@pytest.fixture(scope="module")
def expected(overrides, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    finish(ROOT / "configs" / "smollm2_mbpp.yaml", *overrides, f"out={out}", timeout=1800)
    assert (out / "smollm2_mbpp" / "report.html").is_file()
    return summary(out / "smollm2_mbpp")


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "late in train"])
def test_a_killed_run_ends_as_if_it_had_never_been(phase, overrides, expected, tmp_path):
    config = ROOT / "configs" / "smollm2_mbpp.yaml"
    kill_in(phase, tmp_path / "smollm2_mbpp", config, *overrides, f"out={tmp_path}", last=2, timeout=1800)
    finish(config, *overrides, f"out={tmp_path}", timeout=1800)
    assert summary(tmp_path / "smollm2_mbpp") == expected
