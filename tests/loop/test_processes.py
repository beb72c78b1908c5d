"""Processes that share a run: their options, and that none waits for one that is gone."""

import os
import queue
import socket
import subprocess
import sys

import pytest

from pper_jax.errors import UserError
from pper_jax.loop import distributed
from pper_jax.loop.distributed import Agreed, Bell, Team, programs_of, verdicts_of
from pper_jax.loop.lifeline import Lifeline
from pper_jax.loop.processes import DistributedSection
from pper_jax.sharding import make_mesh

NAMED = {"coordinator": "10.0.0.1:8476", "num_processes": 2, "process_id": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({**NAMED, "auto": True}, "auto finds coordinator, num_processes, process_id itself"),
        ({**NAMED, "process_id": None}, "process_id is missing"),
        ({"coordinator": "10.0.0.1:8476"}, "num_processes is missing"),
        ({**NAMED, "process_id": 2}, "process_id is 2; it must be"),
        ({**NAMED, "num_processes": 0}, "num_processes is 0; it must be"),
        ({**NAMED, "coordinator": "10.0.0.1"}, "write it as HOST:PORT"),
        ({**NAMED, "coordinator": ":8476"}, "write it as HOST:PORT"),
        ({**NAMED, "coordinator": "host:99999"}, "write it as HOST:PORT"),
        ({"timeout_s": 0}, "timeout_s is 0; it must be"),
    ],
)
def test_options_judge_themselves(options, said):
    with pytest.raises(UserError, match=said):
        DistributedSection(**options)


def test_options_that_name_all_processes_or_none_are_taken():
    assert DistributedSection(**NAMED).process_id == 1
    assert DistributedSection(auto=True) != DistributedSection()


def test_a_team_of_one_does_all_itself_and_writes_no_shares(tmp_path):
    team, path = Team(), tmp_path / "rows.jsonl"
    assert team.leads
    assert team.gather({"a": 1}) == [{"a": 1}]
    assert programs_of(team, ["task"], path, lambda tasks, to: [tasks, to]) == [["task"], path]
    assert verdicts_of(team, ["sample"], path, lambda samples, to: [samples, to]) == [["sample"], path]


@pytest.fixture
def held():
    """Process 0 with the lifelines of processes 1 and 2: ``(its lifeline, their ends, the codes it ended with)``."""
    near, far = zip(socket.socketpair(), socket.socketpair(), strict=True)
    ended = queue.Queue()
    yield Lifeline(dict(enumerate(near, start=1)), end=ended.put), far, ended
    for one in (*near, *far):
        one.close()


def test_a_process_that_dies_ends_the_first_which_tells_the_others(held, capfd):
    _, (dying, other), ended = held
    dying.close()
    assert ended.get(timeout=10) == 1
    said = capfd.readouterr().err
    assert said.startswith("pper: this process ends because process 1 of the run died or cannot be reached any more")
    assert said.count("\n") == 1
    assert other.recv(4096).startswith(b"1 process 1 of the run died")


def test_a_process_that_fails_says_why_to_all(held, capfd):
    _, (failing, other), ended = held
    own = queue.Queue()
    Lifeline({0: failing}, end=own.put).fail("process 1 of the run ended: the disk\nis full")
    assert ended.get(timeout=10) == 1
    assert capfd.readouterr().err == "pper: this process ends because process 1 of the run ended: the disk is full\n"
    assert other.recv(4096) == b"1 process 1 of the run ended: the disk is full\n"
    assert own.empty()  # it has said its own sentence


def test_the_others_end_with_the_code_of_the_one_that_was_told_to_end(held):
    _, (told, other), ended = held
    Lifeline({0: told}, end=queue.Queue().put).fail("process 1 of the run was told to end", 143)
    assert ended.get(timeout=10) == 143
    assert other.recv(4096) == b"143 process 1 of the run was told to end\n"


def test_work_that_all_do_together_ends_one_unit_after_a_signal(monkeypatch):
    codes = iter([None, None, 143, 143, 143])
    monkeypatch.setattr(distributed, "interrupted", lambda: next(codes))
    bell = Bell(make_mesh())
    bell(), bell(), bell()
    with pytest.raises(Agreed) as end:  # what was asked with the unit before
        bell()
    assert end.value.code == 143
    assert next(codes) == 143  # nothing was asked twice


def test_at_the_end_of_a_run_processes_go_without_a_word(held):
    lifeline, (first, second), ended = held
    lifeline.finish()
    first.close()
    assert second.recv(4096) == b"\n"
    with pytest.raises(queue.Empty):
        ended.get(timeout=0.3)


def test_a_coordinator_that_is_not_there_is_one_sentence(tmp_path, project_root):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        options = [f"coordinator=127.0.0.1:{taken.getsockname()[1]}", "num_processes=2", "process_id=1", "timeout_s=1"]
        overrides = [f"distributed.{option}" for option in options]
        config = project_root / "configs" / "quickstart.yaml"
        argv = [sys.executable, "-m", "pper_jax.cli", "run", str(config), f"out={tmp_path}", *overrides]
        done = subprocess.run(argv, env=os.environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "pper: the processes of the run did not find each other within 1 s at the coordinator"
    )
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
