"""Standard streams that are closed, full or of another encoding cost a sentence, never a traceback or the work."""

import json
import os
import subprocess
import sys

import pytest

from pper_jax.cli.streams import one_line

ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def shell(line, cwd, *, unbuffered=False, **environment):
    """Exit code, standard output and standard error of a line of bash; $PPER is the command."""
    done = subprocess.run(
        ["bash", "-c", line.replace("$PPER", f"{sys.executable} -m pper_jax.cli")],
        cwd=cwd,
        env=ENVIRONMENT | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}) | environment,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("where", ["> /dev/full", ">&-"])
def test_output_that_cannot_be_written_is_one_sentence_and_exit_1(where, unbuffered, tmp_path):
    code, _, error = shell(f"$PPER tasks list {where}", tmp_path, unbuffered=unbuffered)
    assert code == 1
    assert error.startswith("pper: cannot ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("where", ["2>&-", "2> /dev/full"])
def test_errors_that_cannot_be_said_keep_their_exit_code(where, tmp_path):
    assert shell(f"$PPER tasks check none.jsonl {where}", tmp_path) == (2, "", "")
    assert shell(f"$PPER tasks check {where}", tmp_path) == (2, "", "")


def test_work_goes_on_where_nobody_hears_of_it(tmp_path):
    task = {"task_id": "t", "prompt": "", "tests": {"kind": "answer", "expected": "1"}}
    (tmp_path / "t.jsonl").write_text(json.dumps(task) + "\n")
    (tmp_path / "s.jsonl").write_text(json.dumps({"task_id": "t", "completion": "1"}) + "\n")
    code, _, _ = shell("$PPER test --tasks t.jsonl --samples s.jsonl --out v.jsonl <&- >&- 2>&-", tmp_path)
    assert code == 1  # for the summary line
    assert json.loads((tmp_path / "v.jsonl").read_text())["status"] == "pass"


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_reader_that_left_is_no_error(unbuffered, tmp_path):
    line = "set -o pipefail; $PPER tasks list | true"
    assert shell(line, tmp_path, unbuffered=unbuffered) == (0, "", "")


def test_any_text_can_be_said_in_any_locale(tmp_path):
    task = {"task_id": "ü\ud800", "prompt": "", "tests": {"kind": "answer", "expected": "1"}, "reference": "2"}
    (tmp_path / "t.jsonl").write_text(json.dumps(task) + "\n")
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    code, out, _ = shell("$PPER tasks check t.jsonl", tmp_path, **plain)
    assert code == 1
    assert "\\xfc\\ud800: fail" in out


def test_a_sentence_is_one_line_of_bounded_length_without_control_characters():
    assert one_line("a\nb\x1b[31m\u2028c") == "a\\nb\\x1b[31m\\u2028c"
    assert len(one_line("x" * 10**6)) < 1000
