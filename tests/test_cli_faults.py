"""Wrong use of the command line: one short sentence, exit 2 for what was asked wrongly, and nothing touched."""

import json
import os
import pwd
import subprocess
import sys

import pytest

from pper_jax.cli import main
from pper_jax.errors import UserError
from pper_jax.execution import Limits, TestPool
from pper_jax.tasks import open_tasks

TASK = {
    "task_id": "t/1",
    "prompt": "def f(x):\n",
    "tests": {"kind": "call", "fn_name": "f", "cases": [{"args": [1], "expected": 2}]},
    "reference": "    return x + 1\n",
}
TEST = ["test", "--tasks", "t.jsonl", "--samples", "s.jsonl", "--out", "v.jsonl"]
EVAL = ["eval", "--model", "micro", "--tasks", "t.jsonl"]
SAMPLE = ["sample", "--model", "micro", "--tasks", "t.jsonl", "--out", "s.jsonl"]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.jsonl", TASK)
    write(tmp_path / "s.jsonl", *[{"task_id": "t/1", "completion": f"    return x + {n}\n"} for n in (1, 2)])
    return tmp_path


def code_of(argv):
    try:
        return main(argv)
    except SystemExit as stop:  # from the parser
        return stop.code


def sentence(capsys, argv, code=2):
    """What a command that must fail says: one line, not long."""
    assert code_of(argv) == code
    out, error = capsys.readouterr()
    assert error.startswith("pper")
    assert error.count("\n") == 1
    assert len(error) < 1200
    assert out == ""
    return error


@pytest.mark.parametrize(
    "argv",
    [
        *([*TEST, "--timeout", text] for text in ("nan", "inf", "-inf", "0", "-1", "1e9", "soon", "9" * 10**5)),
        [*TEST, "--trusted-timeout", "nan"],
        *([*TEST, "--memory-mb", text] for text in ("99999999999999999999", "0", "63", "1.5", "9" * 10**5)),
        [*TEST, "--output-mb", "99999999999999999999"],
        *([*TEST, "--workers", text] for text in ("0", "-1", "1e3", "9" * 30)),
        *([*SAMPLE, "--seed", text] for text in ("-1", "4294967296", "18446744073709551616", "x", "1.0", "9" * 10**5)),
        *([*SAMPLE, "--temperature", text] for text in ("nan", "inf", "-0.1")),
        *([*SAMPLE, "--top-p", text] for text in ("nan", "0", "1.1")),
        [*SAMPLE, "--diversity", "nan"],
        *([*SAMPLE, "--beams", text] for text in ("0", "99999999999")),
        [*SAMPLE, "--method", "diverse-beam", "--groups", "1000000000"],
        [*EVAL, "--samples", "1000000000"],
        [*SAMPLE, "--max-new-tokens", "99999999999"],
        [*SAMPLE, "--batch-size", "99999999999"],
        [*SAMPLE, "--method", "x" * 10**6],
        ["x" * 10**6],
        ["tasks", "list", "x" * 10**6],
        *([*EVAL, "--k", text] for text in ("0", "-1", "", "1,", "1;2", "99999999999", "9" * 10**5, "x" * 10**6)),
        [*EVAL, "--k", "1,8", "--samples", "2"],
        ["tasks", "check", "x" * 10**6],
        ["tasks", "check", "no\x1b[31m\nfile"],
        ["tasks", "convert", "x" * 10**6, "a", "b"],
        ["test", "--tasks", "t.jsonl", "--samples", ".", "--out", "v.jsonl"],
        ["run", "x" * 10**6],
        ["run", "t.jsonl", "=" * 10**6],
        ["report", "x" * 10**6],
        ["replay", "inspect", "x" * 10**6],
        ["models", "info", "x" * 10**6],
    ],
    ids=lambda argv: " ".join(argv)[-60:].replace("\n", " "),
)
def test_wrong_use_is_one_sentence_and_touches_nothing(argv, here, capsys):
    before = {path: path.read_bytes() for path in here.iterdir()}
    sentence(capsys, argv)
    assert {path: path.read_bytes() for path in here.iterdir()} == before


def test_more_k_than_samples_says_both_numbers(here, capsys):
    assert "--k 8 needs 8 programs a task, and --samples is 2" in sentence(
        capsys, [*EVAL, "--k", "1,8", "--samples", "2"]
    )


def test_no_more_workers_start_than_there_are_programs(here, monkeypatch, capsys):
    started = []
    start = TestPool._start_worker
    monkeypatch.setattr(TestPool, "_start_worker", lambda pool: (started.append(pool), start(pool)))
    assert main([*TEST, "--workers", "3000"]) == 0
    assert "1 pass" in capsys.readouterr().out
    assert 1 <= len(started) <= 2
    started.clear()
    assert main(["tasks", "check", "t.jsonl", "--workers", "3000"]) == 0
    assert len(started) == 1


@pytest.mark.parametrize(
    "limits",
    [
        {"memory_mb": 10**20},
        {"output_bytes": 10**20},
        {"file_bytes": 10**20},
        {"processes": 10**20},
        {"open_files": 10**20},
        {"timeout_s": 1e300},
        {"trusted_s": float("nan")},
        {"cpu_s": 10**400},
        {"memory_mb": 16**6000},
    ],
    ids=lambda limits: next(iter(limits)),
)
def test_limits_beyond_any_machine_are_refused(limits):
    with pytest.raises(UserError, match="positive") as caught:
        Limits(**limits)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["micro_python", "micro_python.jsonl", "micro_python:train:2:0", "micro_python_mine"])
def test_a_file_wins_over_the_family_of_that_name(name, here):
    write(here / name, TASK)
    assert [task.task_id for task in open_tasks(name)] == ["t/1"]


@pytest.mark.parametrize(
    "name",
    [
        "micro_python.jsonl",
        "micro_pythonx:train:1:0",
        "micro_python:train:1:0:0",
        "micro_python:train:x",
        "micro_python:train:-1",
        "micro_python:train:1:0x1",
        "micro_python:train:0",
        "micro_python:nowhere:1",
        "micro_python:train:" + "9" * 10**5,
    ],
    ids=lambda name: name[:40],
)
def test_a_name_that_is_neither_a_file_nor_the_family_is_refused(name, here, capsys):
    sentence(capsys, ["tasks", "check", name])


def test_a_folder_of_the_familys_name_does_not_hide_it(here, monkeypatch):
    asked = []
    monkeypatch.setattr("pper_jax.tasks.micro_python.generate", lambda *given: asked.append(given))
    (here / "micro_python").mkdir()
    for name in ("micro_python", "micro_python:heldout_kind", "micro_python:train:2", "micro_python::2:7"):
        open_tasks(name)
    assert asked == [("train", 100, 0), ("heldout_kind", 100, 0), ("train", 2, 0), ("train", 2, 7)]


def test_without_a_home_all_goes_on_that_needs_none(monkeypatch, capsys):
    def nobody(uid):
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "PPER_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert main(["tasks", "list"]) == 0
    capsys.readouterr()
    assert "PPER_CACHE" in sentence(capsys, ["models", "get", "smollm2-135m-instruct"])


def test_a_platform_that_is_not_here_is_one_sentence(here):
    done = subprocess.run(
        [sys.executable, "-m", "pper_jax.cli", *SAMPLE[:-1], "new.jsonl"],
        env=os.environ | {"JAX_PLATFORMS": "nonsense"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("pper: cannot go on: jax has no device to work on")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "no memory"),
        (OSError(28, "No space left on device", "x" * 10**6), "No space left on device"),
        (OSError("a\nb"), "a\\nb"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore"), "no memory left"),
    ],
)
def test_a_machine_that_is_full_is_one_sentence(error, words, monkeypatch, capsys):
    import pper_jax.tasks.convert

    def full():
        raise error

    monkeypatch.setattr(pper_jax.tasks.convert, "list_sets", full)
    assert words in sentence(capsys, ["tasks", "list"], code=1)


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch):
    import pper_jax.tasks.convert

    monkeypatch.setattr(pper_jax.tasks.convert, "list_sets", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["tasks", "list"])
