"""The shared collections of programs with the verdicts that a right pool may give."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_rows import CASES, SHARED
from public_python import AS_NOBODY, public_python

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")


def judge_cases(command: list[str], root: Path, times: int, busy: int, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [*command, str(root / "tests" / "execution" / "judge_cases.py"), str(times), str(busy)],
        env=os.environ | {"PPER_SHARED_DATA": str(SHARED), "PPER_SHARED_CASES": str(CASES)} | environment,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    print({key: value for key, value in report.items() if key != "wrong"})
    return report


def test_every_case_has_an_accepted_verdict() -> None:
    report = judge_cases([sys.executable], HERE.parents[1], 1, 0)
    assert report["wrong"] == {}
    assert report["judged"] >= 446


@pytest.mark.slow
def test_three_times_over_with_other_work_on_all_cores() -> None:
    assert judge_cases([sys.executable], HERE.parents[1], 3, 1)["wrong"] == {}


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can become another user")
def test_the_same_as_an_ordinary_user(open_folder: Path) -> None:
    python = public_python()
    if python is None:
        pytest.skip("no Python here that another user may run")
    root = open_folder / "project"  # the checkout itself may lie in a closed folder
    for name in ("pper_jax/execution", "tests/execution"):
        shutil.copytree(HERE.parents[1] / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pper_jax/__init__.py", "pper_jax/errors.py"):
        shutil.copy(HERE.parents[1] / name, root / name)
    for source, name in ((SHARED / "hostile", "hostile"), (CASES, "cases")):
        shutil.copytree(source, root / name)
    places = {"PPER_SHARED_DATA": str(root), "PPER_SHARED_CASES": str(root / "cases"), "HOME": "/nonexistent"}
    report = judge_cases([*AS_NOBODY, python, "-B", "-P"], root, 3, 1, **places)
    assert report["uid"] == 65534
    # What needs numpy needs an environment that has it, which the system's own Python has not.
    wrong = {name for name in report["wrong"] if not name.startswith(("np_", "fp_np_", "batch2_np_"))}
    assert wrong == set(), report["wrong"]
