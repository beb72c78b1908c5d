"""Commands that need no jax do not load it: they answer in well under a second."""

import json
import subprocess
import sys

import pytest

ANSWER = {"task_id": "t/1", "prompt": "", "tests": {"kind": "answer", "expected": "1"}, "reference": "1"}


@pytest.mark.parametrize(
    "argv",
    [
        ["--version"],
        ["--help"],
        ["test", "--help"],
        ["tasks", "list"],
        ["tasks", "check", "tasks.jsonl"],
        ["test", "--tasks", "tasks.jsonl", "--samples", "samples.jsonl", "--out", "verdicts.jsonl"],
        ["report", "run"],
    ],
    ids=" ".join,
)
def test_no_jax(argv, tmp_path):
    (tmp_path / "tasks.jsonl").write_text(json.dumps(ANSWER) + "\n")
    (tmp_path / "samples.jsonl").write_text(json.dumps({"task_id": "t/1", "completion": "1"}) + "\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("name: run\n")
    script = (
        "import sys\nfrom pper_jax.cli import main\n"
        f"try:\n    code = main({argv!r})\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = {'jax', 'flax', 'transformers', 'torch', 'rich'} & set(sys.modules)\n"
        "sys.exit(code or (f'loaded {heavy}' if heavy else 0))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
