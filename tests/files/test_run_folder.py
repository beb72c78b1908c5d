"""One run a folder; only a folder that carries our mark is ever emptied."""

import subprocess
import sys

import pytest

from pper_jax.errors import UserError
from pper_jax.files import empty_marked_folder, is_marked, lock_folder, mark_folder

OLD_CONFIG = "name: x\nmodel: micro\nrounds: 1\ntasks:\n  train: {}\nbeam:\n  width: 2\nreplay:\n  mode: pper\n"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_without_the_mark_is_not_emptied(tmp_path):
    (tmp_path / "config.yaml").write_text(OLD_CONFIG)
    (tmp_path / "samples").mkdir()
    with pytest.raises(UserError, match="not a run folder"):
        empty_marked_folder(tmp_path)
    assert names(tmp_path) == ["config.yaml", "samples"]


def test_of_a_marked_one_only_the_runs_own_files_go(tmp_path):
    mark_folder(tmp_path / "run")
    run = tmp_path / "run"
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "kept").write_text("")
    (run / "samples").mkdir()
    (run / "samples" / "round_001.jsonl").write_text("{}\n")
    (run / "checkpoints").symlink_to(tmp_path / "far")
    for name in ("config.yaml", "report.html", "notes.txt"):
        (run / name).write_text("")
    empty_marked_folder(run)
    assert names(run) == [".pper-run", "notes.txt"]
    assert names(tmp_path / "far") == ["kept"]
    assert is_marked(run)


def test_a_run_of_the_version_that_wrote_no_mark_is_known(tmp_path):
    (tmp_path / "config.yaml").write_text(OLD_CONFIG)
    (tmp_path / "environment.json").write_text('{"pper-jax": "0.1.0"}')
    assert is_marked(tmp_path)
    for text in ("[]", "{}", "{", "[" * 100_000):
        (tmp_path / "environment.json").write_text(text)
        assert not is_marked(tmp_path)


def test_emptying_that_is_cut_short_can_be_done_again(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text(OLD_CONFIG)
    (tmp_path / "environment.json").write_text('{"pper-jax": "0.1.0"}')
    (tmp_path / "samples").mkdir()

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        empty_marked_folder(tmp_path)
    monkeypatch.undo()
    assert is_marked(tmp_path)
    empty_marked_folder(tmp_path)
    assert names(tmp_path) == [".pper-run"]


def test_one_run_a_folder_and_a_killed_one_holds_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pper_jax.files import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])):\n    print(flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    other.stdout.readline()
    with pytest.raises(UserError, match=f"in use by process {other.pid}"), lock_folder(tmp_path):
        pass
    other.kill()
    other.communicate()
    with lock_folder(tmp_path), pytest.raises(UserError, match="in use"), lock_folder(tmp_path):
        pass
