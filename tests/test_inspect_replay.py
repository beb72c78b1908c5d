import json

import jax
import numpy as np
import pytest

from pper_jax import replay
from pper_jax.cli import main

CONFIG = replay.ReplayConfig(capacity=8)
DRAW = {"program": 2, "possibility": 0.5, "pass_rate": 0.25, "p2value": 0.375, "rank": 3, "probability": 0.125}


@pytest.fixture
def run(tmp_path):
    """What a run's folder holds after its first replay phase: three programs, the first draws."""
    count = 3
    numbers = np.arange(count, dtype=np.int32)
    items = replay.Items(
        tokens=np.ones((count, 4), np.int32),
        prompt_length=np.ones(count, np.int32),
        length=np.full(count, 4, np.int32),
        logprob=np.array([-1, -2, -3], np.float32),
        pass_rate=np.zeros(count, np.float32),
        task_index=numbers,
        round=np.ones(count, np.int32),
        program_id=numbers,
        valid=np.ones(count, bool),
    )
    state, _ = replay.sample(replay.add(replay.init(CONFIG, max_length=4), items, CONFIG), jax.random.key(0), 4, CONFIG)
    figures = {"event": "replay", "round": 1, **replay.describe(state, CONFIG)}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(figures) + "\n")
    (tmp_path / "buffer.jsonl").write_text("".join(json.dumps(row) + "\n" for row in replay.table(state)))
    (tmp_path / "draws").mkdir()
    rows = [{"step": 1, **DRAW}, {"step": 2, **DRAW, "times_drawn": 7}, {"step": 2, **DRAW, "program": 1}]
    (tmp_path / "draws" / "round_001.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_the_table_figures_warnings_and_plots_of_a_run(run, capsys):
    assert main(["replay", "inspect", str(run), "--limit", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["1", "0"], ["2", "1"]]
    assert lines[3].startswith("3 programs of 3 tasks")
    (after,) = (line for line in lines if line.startswith("after round 1: 3 programs; effective sample size"))
    assert "programs that pass no test (100 % of them) get 100 % of the draws" in after
    assert [line for line in lines if line.startswith("warning: 100 % of the draws go to programs that pass no test")]
    bars = lines[lines.index("pass rate of the stored programs:") + 1 :]
    assert [bar.split() for bar in bars] == [["0.00", "-", "0.10", "3", "#" * 40]]


def test_why_a_program_was_drawn_each_time_also_in_runs_that_noted_no_count(run, capsys):
    assert main(["replay", "inspect", str(run), "--program", "2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    why = "rank 3, P2Value 0.375 (possibility 0.5, pass rate 0.25), probability 0.125 a draw"
    assert first == f"round_001, step 1: {why}"
    assert second == f"round_001, step 2: {why}, drawn 7 times before"


def test_a_program_never_drawn_and_a_folder_without_a_buffer_are_said(run, capsys):
    assert main(["replay", "inspect", str(run), "--program", "0"]) == 2
    assert "no draw of program 0" in capsys.readouterr().err
    assert main(["replay", "inspect", str(run / "draws")]) == 2
    assert "holds no replay buffer" in capsys.readouterr().err


def test_a_buffer_without_its_figures_shows_its_table_and_figures_of_earlier_runs_serve(run, capsys):
    figures = json.loads((run / "metrics.jsonl").read_text())
    del figures["zero_pass_programs"]
    (run / "metrics.jsonl").write_text(json.dumps(figures) + "\n")
    assert main(["replay", "inspect", str(run)]) == 0
    assert "programs that pass no test get 100 % of the draws" in capsys.readouterr().out
    (run / "metrics.jsonl").unlink()
    assert main(["replay", "inspect", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 programs of 3 tasks")
