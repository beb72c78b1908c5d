"""A run resumes what was asked, repeats nothing of it, and mixes nothing into it."""

import json
import os
import shutil
import signal
import threading
import time

import pytest
from small_runs import results, rows, small

from pper_jax.errors import RunFailure, UserError
from pper_jax.files import lock_folder
from pper_jax.loop import run
from pper_jax.loop.asking import BY_CONTENT, FREE, config_differences
from pper_jax.settings import to_dict
from pper_jax.terminal import Interrupted, interruption


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(small(tmp_path_factory.mktemp("whole"))).path


@pytest.fixture
def moved(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def test_a_finished_run_is_left_alone(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.jsonl")}
    run(small(whole.parent))
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.jsonl")} == before


def test_a_run_that_moved_is_extended_by_other_workers_as_if_it_had_never_stopped(moved, tmp_path):
    longer = run(small(moved.parent, rounds=2, execution__workers=2))
    at_once = run(small(tmp_path, "at_once", rounds=2))
    assert results(longer.path) == results(at_once.path)


def test_a_finished_run_without_its_model_is_repaired(moved):
    kept = results(moved)
    shutil.rmtree(moved / "model")
    run(small(moved.parent))
    assert results(moved) == kept


def test_a_damaged_checkpoint_is_left_out_with_a_sentence(moved, capsys):
    kept = results(moved)
    newest = max((moved / "checkpoints").iterdir(), key=lambda path: int(path.name))
    for file in newest.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])
    (moved / "summary.json").unlink()
    run(small(moved.parent))
    said = capsys.readouterr().out
    assert "cannot be read" in said
    assert "resuming after round 1, training step 3" in said
    assert results(moved) == kept


def test_when_no_checkpoint_can_be_read_nothing_is_begun_anew(moved):
    for file in (moved / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    (moved / "summary.json").unlink()
    with pytest.raises(RunFailure, match="checkpoints"):
        run(small(moved.parent))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"beam__width": 3}, "beam.width"),
        ({"tasks__train__count": 5}, "tasks.train"),
        ({"tasks__eval": {}}, "tasks.eval.held"),
        ({"rounds": 0}, "rounds"),
    ],
)
def test_another_asking_is_refused_and_changes_nothing(moved, changes, named):
    before = {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=named):
        run(small(moved.parent, **changes))
    after = {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path.name != ".pper-lock"} == {
        path: data for path, data in before.items() if path.name != ".pper-lock"
    }


def test_a_task_that_was_corrected_since_is_noticed(tmp_path, whole):
    tasks = rows(whole / "tasks.jsonl")[:4]
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    asked = {"tasks": {"train": {"source": str(file)}, "eval": {}}}
    run(small(tmp_path, **asked))
    tasks[1]["tests"]["cases"][0]["expected"] = "corrected"
    file.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"tasks\.train"):
        run(small(tmp_path, **asked))


def test_two_processes_do_not_work_on_one_run(moved):
    (moved / "summary.json").unlink()
    with lock_folder(moved), pytest.raises(UserError, match="in use"):
        run(small(moved.parent))


def test_a_run_of_an_earlier_version_is_not_gone_on_with(moved):
    (moved / "asking.json").unlink()
    (moved / "summary.json").unlink()
    with pytest.raises(UserError, match="earlier version"):
        run(small(moved.parent))


def test_what_a_cut_opening_left_is_begun_again(moved):
    kept = results(moved)
    for name in ("asking.json", "metrics.jsonl", "summary.json"):
        (moved / name).unlink()
    run(small(moved.parent))
    assert results(moved) == kept


@pytest.mark.parametrize("content", ["config.yaml", "notes.txt"])
def test_a_folder_that_is_no_run_is_never_emptied(tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / content).write_text("name: mine\n")
    with pytest.raises(UserError, match="not a run folder"):
        run(small(tmp_path), fresh=True)
    assert (tmp_path / "run" / content).read_text() == "name: mine\n"


def test_starting_over_keeps_what_a_user_put_there(moved):
    (moved / "notes.txt").write_text("mine")
    kept = results(moved)
    run(small(moved.parent), fresh=True)
    assert (moved / "notes.txt").read_text() == "mine"
    assert results(moved) == kept


def test_keys_that_change_no_number_may_differ():
    config = to_dict(small("runs"))
    for path in FREE | BY_CONTENT:
        section, changed = dict(config), config
        *parents, last = path.split(".")
        changed = section
        for parent in parents:
            changed[parent] = dict(changed[parent])
            changed = changed[parent]
        assert last in changed, path
        changed[last] = object()
        assert config_differences(config, section, FREE | BY_CONTENT) == []
    assert config_differences(config, {**config, "seed": 4}) == ["seed"]


def test_a_signal_ends_a_run_between_two_steps_and_loses_none_of_them(whole, tmp_path):
    metrics = tmp_path / "run" / "metrics.jsonl"

    def signal_in_training():
        while not (metrics.exists() and '"phase": "test"' in metrics.read_text()):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=signal_in_training)
    sender.start()
    with pytest.raises(Interrupted) as end, interruption():
        run(small(tmp_path))
    sender.join()
    assert end.value.code == 143
    assert not (tmp_path / "run" / "summary.json").exists()
    assert results(run(small(tmp_path)).path) == results(whole)
