"""No command destroys a file: not its output before all is done, not its inputs, not what is another's."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pper_jax.cli import main
from pper_jax.errors import RunFailure
from pper_jax.execution import Job, TestPool
from pper_jax.execution import cache as verdict_cache

TESTS = {"kind": "call", "fn_name": "f", "cases": [{"args": [1], "expected": 2}]}
TASK = {"task_id": "t/1", "prompt": "def f(x):\n", "tests": TESTS, "stop": ["\ndef"], "source": "test"}
RIGHT = {"task_id": "t/1", "completion": "    return x + 1\n"}
WRONG = {"task_id": "t/1", "completion": "    return x\n"}
SMALL = ("--max-new-tokens", "8", "--batch-size", "2")


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def everything(folder):
    """Every file below, by its path; a file's bytes, or where a link leads."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes() for path in paths
    }


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with tasks and samples, in which commands are given."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "tasks.jsonl", TASK)
    write(tmp_path / "samples.jsonl", RIGHT, WRONG)
    return tmp_path


def refused(capsys, folder, argv, words=""):
    """The command is wrong use, says so in one sentence, and changes nothing."""
    before = everything(folder)
    assert main(argv) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("pper: ")
    assert words in lines[-1]
    assert everything(folder) == before


def judge(*more, out="verdicts.jsonl"):
    return ["test", "--tasks", "tasks.jsonl", "--samples", "samples.jsonl", "--out", out, *more]


def sample(*more, out="out.jsonl", tasks="tasks.jsonl"):
    return ["sample", "--model", "micro", "--tasks", tasks, "--out", out, *SMALL, *more]


def cut(monkeypatch, argv):
    """Give a command and end it when all of its work is done, but before its output takes its place."""
    with monkeypatch.context() as patch:
        patch.setattr("pper_jax.files.partial.write_together", lambda contents: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(argv)


# ---------------------------------------------------------------- an output stays until its successor is whole


def test_a_finished_samples_file_survives_a_command_that_cannot_work(here, capsys):
    assert main(sample()) == 0
    assert rows(here / "out.jsonl")
    refused(capsys, here, sample("--max-new-tokens", "5000"), "t/1")


def test_finished_verdicts_survive_workers_that_cannot_start(here, monkeypatch, capsys):
    assert main(judge()) == 0
    before = everything(here)

    def cannot(self):
        raise RunFailure("no worker starts")

    monkeypatch.setattr(TestPool, "__enter__", cannot)
    assert main(judge()) == 1
    assert everything(here) == before


# ---------------------------------------------------------------- out = in, and what is another's


@pytest.mark.parametrize("name", ["tasks.jsonl", "samples.jsonl", "./tasks.jsonl", "link", "hard"])
def test_an_output_is_no_input(here, capsys, name):
    (here / "link").symlink_to("samples.jsonl")
    os.link(here / "tasks.jsonl", here / "hard")
    refused(capsys, here, judge(out=name), "is what is read")
    score = ["score", "--model", "micro", "--tasks", "tasks.jsonl", "--samples", "samples.jsonl", "--out", name]
    refused(capsys, here, score, "is what is read")
    refused(capsys, here, sample(out=name, tasks=name), "is what is read")


def test_converting_a_set_onto_itself_is_refused(here, capsys):
    write(here / "mbpp.jsonl", {"task_id": 1, "text": "Add.", "code": "f = abs", "test_list": ["assert f(1)"]})
    refused(capsys, here, ["tasks", "convert", "mbpp", "mbpp.jsonl", "mbpp.jsonl"], "is what is read")


@pytest.mark.parametrize("row", [{"status": "open", "todo": "thesis"}, {"status": 5}, 5, [1]])
def test_rows_that_are_no_verdicts_are_not_replaced_by_verdicts(here, capsys, row):
    write(here / "mine.jsonl", row)
    refused(capsys, here, judge(out="mine.jsonl"), "no verdicts file")
    refused(capsys, here, sample(out="mine.jsonl"), "no samples file")


def test_a_report_replaces_nothing_but_a_report(here, capsys, project_root):
    (here / "notes.txt").write_text("mine")
    (here / "mine.html").write_text("<!doctype html><p>mine</p>")
    run = here / "run"
    run.mkdir()
    for name in (".pper-run", "metrics.jsonl", "environment.json"):
        (run / name).write_text("{}\n" if name.endswith("json") else "")
    (run / "config.yaml").write_text("name: run\n")
    (run / "summary.json").write_text("{}\n")
    for out in ("run/config.yaml", "run/summary.json", "notes.txt", "mine.html", "run"):
        refused(capsys, here, ["report", "run", "--out", out], "writ")


def test_an_export_onto_a_model_folder_loses_no_file_there(here, capsys):
    theirs = here / "theirs"
    theirs.mkdir()
    for name in ("config.json", "model-00001-of-00002.safetensors", "README.md"):
        (theirs / name).write_text("{}")
    refused(capsys, here, ["models", "export", "micro", "theirs"])
    assert main(["models", "export", str(here / "none"), "theirs"]) == 2
    assert sorted(everything(theirs)) == ["README.md", "config.json", "model-00001-of-00002.safetensors"]


def test_an_output_through_a_link_keeps_the_link(here):
    (here / "far").mkdir()
    (here / "verdicts.jsonl").symlink_to("far/verdicts.jsonl")
    (here / "verdicts.jsonl.tmp").write_text("mine")
    assert main(judge()) == 0
    assert (here / "verdicts.jsonl").is_symlink()
    assert [row["status"] for row in rows(here / "far" / "verdicts.jsonl")] == ["pass", "fail"]
    assert (here / "verdicts.jsonl.tmp").read_text() == "mine"


def test_an_output_to_a_device_is_written_there(here, capfd):
    assert main(judge(out="/dev/stdout")) == 0
    first, second, summary = capfd.readouterr().out.splitlines()
    assert (json.loads(first)["status"], json.loads(second)["status"]) == ("pass", "fail")
    assert "2 programs" in summary
    assert sorted(everything(here)) == ["samples.jsonl", "tasks.jsonl"]


# ---------------------------------------------------------------- a resume knows what was asked


def test_verdicts_of_tests_that_were_corrected_are_judged_anew(here, monkeypatch, capsys):
    assert main(judge()) == 0
    corrected = {**TESTS, "cases": [{"args": [1], "expected": 1}]}
    write(here / "tasks.jsonl", {**TASK, "tests": corrected})
    assert main(judge()) == 0
    assert [row["status"] for row in rows(here / "verdicts.jsonl")] == ["fail", "pass"]
    cut(monkeypatch, judge())
    write(here / "tasks.jsonl", TASK)
    refused(capsys, here, judge(), "tasks: ")


@pytest.mark.parametrize("more", [("--timeout", "9"), ("--compare", "official"), ("--memory-mb", "512")])
def test_unfinished_verdicts_are_not_completed_under_other_limits(here, monkeypatch, capsys, more):
    cut(monkeypatch, judge())
    refused(capsys, here, judge(*more), f"-> {more[1]}")
    assert main(judge("--workers", "1")) == 0  # how many work at once changes no verdict
    assert not (here / "verdicts.jsonl.partial").exists()


def test_unfinished_programs_are_not_completed_by_another_search(here, monkeypatch, capsys):
    cut(monkeypatch, sample())
    write(here / "more.jsonl", TASK, {**TASK, "task_id": "t/2"})
    for more in (("--beams", "4"), ("--max-new-tokens", "9"), ("--method", "greedy"), ("--seed", "1")):
        refused(capsys, here, sample(*more), "->")
    refused(capsys, here, sample(tasks="more.jsonl"), "tasks: ")
    assert main(sample("--batch-size", "1")) == 0  # how many prompts go at once changes no program
    assert len(rows(here / "out.jsonl")) == 3


# ---------------------------------------------------------------- known before the work


def test_where_a_result_goes_is_known_before_the_work(here, capsys, monkeypatch, project_root):
    monkeypatch.setattr("pper_jax.programs.language_model.load_model", lambda *_, **__: 1 / 0)
    (here / "file").write_text("")
    given = ["--tasks", "tasks.jsonl", "--out", "file/out"]
    for argv in (
        ["sample", "--model", "micro", *given],
        ["score", "--model", "micro", "--samples", "samples.jsonl", *given],
        ["test", "--samples", "samples.jsonl", *given],
        ["eval", "--model", "micro", *given],
        ["bench", "beam", "--out", "file/out"],
        ["bench", "beam", "--plot", "file/out"],
        ["bench", "replay", "--out", "file/out"],
        ["bench", "execution", "--out", "file/out"],
    ):
        refused(capsys, here, argv, "cannot write")
    recipe = str(project_root / "configs" / "micro_pretrain.yaml")
    for out in ("file", "file/deep"):
        refused(capsys, here, ["pretrain", recipe, f"out={out}"])


# ---------------------------------------------------------------- a full cache, a full disk


def test_a_cache_that_cannot_be_written_is_said_once_and_ends_nothing(here, monkeypatch, caplog):
    def full(path, verdict):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(verdict_cache, "_write", full)
    assert main(judge("--cache", "kept")) == 0
    assert [row["status"] for row in rows(here / "verdicts.jsonl")] == ["pass", "fail"]
    assert [record.message for record in caplog.records if "cannot be kept" in record.message] == [
        "verdicts cannot be kept in the cache folder kept: No space left on device"
    ]


def test_what_fails_between_a_program_and_its_verdict_is_told_as_it_is():
    class Broken(verdict_cache.VerdictCache):
        def put(self, key, verdict):
            raise OSError(5, "Input/output error")

    with TestPool(1, cache=Broken()) as pool, pytest.raises(OSError, match="Input/output error"):
        list(pool.as_completed([Job("def f(x):\n    return x + 1\n", TESTS, "f")]))


def test_rows_keep_their_own_keys_to_the_verdicts(here):
    write(here / "samples.jsonl", {**RIGHT, "temperature": 0.8, "seed": 3, "passed": "theirs"})
    assert main(judge()) == 0
    [row] = rows(here / "verdicts.jsonl")
    assert (row["temperature"], row["seed"], row["passed"]) == (0.8, 3, 1)


# ---------------------------------------------------------------- signals


# As ``python -m pper_jax.cli``, hearing signals also where the tests run under nohup or in the background.
COMMAND = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from pper_jax.cli import main
sys.exit(main())
"""


def started(argv, folder, scratch):
    environment = {**os.environ, "TMPDIR": str(scratch), "XLA_FLAGS": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", COMMAND, *argv], cwd=folder, env=environment, **pipes)


def wait_for(condition, process):
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_interrupted_command_keeps_what_was_there_and_what_it_finished(here, tmp_path_factory):
    many = [{**TASK, "task_id": f"t/{i}"} for i in range(300)]
    write(here / "many.jsonl", *many)
    old = write(here / "out.jsonl", *({"task_id": f"t/{i}", "completion": "old", "model": "micro"} for i in range(300)))
    before, kept, scratch = old.read_bytes(), here / "out.jsonl.partial", tmp_path_factory.mktemp("scratch")
    process = started(sample(tasks="many.jsonl"), here, scratch)
    wait_for(lambda: kept.exists() and kept.read_bytes().count(b"\n") > 4, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("pper: interrupted")
    assert old.read_bytes() == before
    assert kept.read_bytes().endswith(b"\n")
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_signal_to_an_evaluation_leaves_no_temporary_folder(here, tmp_path_factory, number):
    scratch = tmp_path_factory.mktemp("scratch")
    process = started(["eval", "--model", "micro", "--tasks", "micro_python:train:300:0", *SMALL], here, scratch)
    wait_for(lambda: any(scratch.glob("pper-eval-*/samples.jsonl.partial")), process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in said
    assert not list(scratch.iterdir())


def test_a_second_signal_ends_at_once_and_leaves_no_temporary_folder_either(tmp_path):
    code = (
        "import functools, shutil, signal, sys, tempfile, time\n"
        "from pper_jax.terminal import at_sudden_end, interruption\n"
        "with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder, interruption():\n"
        "    with at_sudden_end(functools.partial(shutil.rmtree, folder)):\n"
        "        print(flush=True)\n"
        "        time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    while process.poll() is None:  # two within half a second are one
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
    process.stdout.close()
    assert process.returncode == 143
    assert not list(tmp_path.iterdir())
