"""`pper test` and `pper doctor` on what can go wrong: faults of ours are loud, lesser isolation is said or refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from pper_jax.cli import main
from pper_jax.cli.doctor import walls_text
from pper_jax.execution.isolation import LAYERS

TASK = {"task_id": "t/1", "prompt": "def f(x):\n", "tests": {"kind": "asserts", "asserts": ["assert f(1) == 2"]}}
RIGHT = {"task_id": "t/1", "completion": "    return x + 1\n"}
WRONG = {"task_id": "t/1", "completion": "    return x\n"}


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def arguments(folder: Path, task: dict[str, Any], *samples: dict[str, Any]) -> list[str]:
    tasks, programs = write(folder / "tasks.jsonl", task), write(folder / "samples.jsonl", *samples)
    return ["test", "--tasks", tasks, "--samples", programs, "--out", str(folder / "out.jsonl")]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_programs_that_could_not_be_judged_are_said_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {
        "task_id": "t/2",
        "prompt": "",
        "tests": {"kind": "asserts", "asserts": ["import threading\nassert f(threading.Lock()) == 2"]},
    }
    argv = arguments(tmp_path, TASK, RIGHT, WRONG, {"task_id": "t/2", "completion": "import os\ndef f(x): return 2"})
    write(tmp_path / "tasks.jsonl", TASK, odd)
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert "warning: 1 of 3 programs could not be judged" in shown.err
    assert "t/2" in shown.err
    assert "mean pass rate 50.0 % of the 2 that could be judged" in shown.out
    assert "1 infrastructure" in shown.out
    assert [row["status"] for row in rows(tmp_path)] == ["pass", "fail", "infrastructure"]


def test_nothing_is_said_where_all_were_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(tmp_path, TASK, RIGHT, WRONG), "--isolation", "batch"]) == 0
    shown = capsys.readouterr()
    assert "warning" not in shown.err
    assert "judged" not in shown.out
    assert "known" not in shown.out


def test_programs_that_come_again_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(tmp_path, TASK, RIGHT, WRONG, RIGHT, RIGHT)) == 0
    assert "2 verdicts were known from the same program and tests" in capsys.readouterr().out
    assert [row["status"] for row in rows(tmp_path)] == ["pass", "fail", "pass", "pass"]


def test_a_cache_folder_serves_the_next_call(tmp_path: Path) -> None:
    argv = [*arguments(tmp_path, TASK, RIGHT, WRONG), "--cache", str(tmp_path / "kept")]
    assert main(argv) == 0
    first = rows(tmp_path)
    (tmp_path / "out.jsonl").unlink()
    assert main(argv) == 0
    assert rows(tmp_path) == first  # the seconds too: they were not run again
    assert len(list((tmp_path / "kept").rglob("*.json"))) == 2


@pytest.mark.parametrize(
    ("task", "samples", "options", "words"),
    [
        (TASK | {"tests": {"kind": "asserts", "asserts": []}}, [RIGHT], [], "line 1 (t/1) has no tests"),
        (TASK | {"tests": {"kind": "odd"}}, [RIGHT], [], "unknown kind 'odd'"),
        (TASK, [RIGHT, RIGHT | {"task_id": "t/9"}], [], "line 2 is for task t/9"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: dict[str, Any],
    samples: list[dict[str, Any]],
    options: list[str],
    words: str,
) -> None:
    assert main([*arguments(tmp_path, task, *samples), *options]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(("option", "value"), [("--workers", "0"), ("--timeout", "-1"), ("--memory-mb", "1")])
def test_a_number_that_is_none_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments(tmp_path, TASK, RIGHT), option, value])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert f"argument {option}: it is {value}" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_a_lesser_machine_is_refused_on_demand_and_described_by_doctor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPER_EXECUTION_WITHOUT", "seccomp,landlock")
    assert main([*arguments(tmp_path, TASK, RIGHT), "--require-isolation", "strong"]) == 1
    message = capsys.readouterr().err
    assert "this machine lacks" in message
    assert message.count("\n") == 1
    text = walls_text()
    assert "NOT strong" in text
    for name in ("seccomp", "landlock"):
        assert f"missing layer {name}: {LAYERS[name]}" in text


@pytest.mark.parametrize(("options", "status"), [([], "pass"), (["--output-mb", "1"], "output_limit")])
def test_how_much_a_program_may_say(tmp_path: Path, options: list[str], status: str) -> None:
    tests = {"kind": "check", "code": "def check(c):\n    assert len(c(1)) == 3 * 10**6"}
    task = {"task_id": "t/1", "prompt": "", "entry_point": "f", "tests": tests}
    answer = {"task_id": "t/1", "completion": "def f(x): return 'a' * (3 * 10**6)"}
    assert main([*arguments(tmp_path, task, answer), *options]) == 0
    assert [row["status"] for row in rows(tmp_path)] == [status]


@pytest.mark.parametrize(("seconds", "status"), [("20", "pass"), ("0.3", "timeout")])
def test_how_long_the_code_of_a_test_may_take(tmp_path: Path, seconds: str, status: str) -> None:
    spin = "import time\nend = time.process_time() + 1.0\nwhile time.process_time() < end: pass\nassert [f(1)] == [2]"
    task = TASK | {"tests": {"kind": "asserts", "asserts": [spin]}}
    assert main([*arguments(tmp_path, task, RIGHT), "--trusted-timeout", seconds]) == 0
    assert [row["status"] for row in rows(tmp_path)] == [status]


@pytest.mark.parametrize("option", [["--trusted-timeout", "0"], ["--trusted-timeout", "nan"], ["--output-mb", "0"]])
def test_wrong_limits_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    with contextlib.suppress(SystemExit):
        assert main([*arguments(tmp_path, TASK, RIGHT), *option]) == 2
    assert "Traceback" not in capsys.readouterr().err
