import json
import subprocess

import numpy as np
import pytest
from killing import PHASES, command, environment, finish, kill_in, summary

from pper_jax.cli import main

SMALL = (
    "rounds=1",
    "tasks.train.count=6",
    "tasks.train.seed=2",
    "tasks.eval={held: {source: micro_python, split: heldout_kind, count: 6, seed: 1}}",
    "beam.batch_size=4",
    "beam.width=2",
    "evaluation.width=2",  # with these seeds no prompt is longer than 64 tokens: decoding is compiled once
    "beam.max_new_tokens=40",
    "replay.store=all",
    "train.steps=4",
    "train.batch_size=4",
    "train.checkpoint_every=1",
)


@pytest.fixture(scope="module")
def config(project_root):
    return project_root / "configs" / "quickstart.yaml"


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    printed = finish(config, *SMALL, f"out={out}", "name=whole")
    return out / "whole", printed


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_leaves_what_the_contract_promises(whole):
    run, printed = whole
    for name in (
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "report.html",
        "summary.json",
        "model/config.json",
    ):
        assert (run / name).exists(), name
    assert len(rows(run / "samples" / "round_001.jsonl")) == 6 * 2
    verdicts = rows(run / "verdicts" / "round_001.jsonl")
    assert len(verdicts) == 12
    assert all(v["total"] == len(v["tests"]) >= 10 and 0 <= v["pass_rate"] <= 1 for v in verdicts)
    assert len(rows(run / "draws" / "round_001.jsonl")) == 4 * 4
    assert "gain" in printed
    figures = summary(run)
    assert figures["finished"]
    assert figures["train_steps"] == 4
    assert figures["splits"]["held"]["tasks"] == 6


def test_training_changed_the_model_and_the_buffer_saw_the_verdicts(whole):
    run, _ = whole
    metrics = rows(run / "metrics.jsonl")
    losses = [row["loss"] for row in metrics if row["event"] == "train"]
    assert len(losses) == 4
    assert all(np.isfinite(losses))
    replay = next(row for row in metrics if row["event"] == "replay")
    assert replay["size"] == 12
    phases = {row["phase"] for row in metrics if row["event"] == "phase"}
    assert phases == {"sample", "test", "train", "save", "evaluate"}
    shown = json.loads((run / "replayed.json").read_text())["programs"]
    assert shown
    assert all(program["reason"] and program["times_drawn"] >= 1 for program in shown)
    verdicts = rows(run / "verdicts" / "round_001.jsonl")
    judged = {(v["task_id"], v["completion"]): v["pass_rate"] for v in verdicts}
    for program in shown:
        assert judged[program["task_id"], program["completion"]] == pytest.approx(program["pass_rate"])


def test_the_buffer_of_a_run_can_be_looked_at(whole, capsys):
    run, _ = whole
    assert main(["replay", "inspect", str(run), "--limit", "3"]) == 0
    head, *best = (line.split() for line in capsys.readouterr().out.splitlines()[:4])
    stored = rows(run / "buffer.jsonl")
    assert len(stored) == 12
    assert [int(row[head.index("rank")]) for row in best] == [1, 2, 3]
    assert [int(row[head.index("program")]) for row in best] == [row["program"] for row in stored[:3]]
    drawn = rows(run / "draws" / "round_001.jsonl")
    assert main(["replay", "inspect", str(run), "--program", str(drawn[0]["program"])]) == 0
    draws = capsys.readouterr().out.splitlines()
    assert len(draws) == sum(row["program"] == drawn[0]["program"] for row in drawn)
    assert f"rank {drawn[0]['rank']}, " in draws[0]
    assert main(["replay", "inspect", str(run), "--program", "999"]) == 2
    assert main(["replay", "inspect", str(run / "draws")]) == 2
    assert "no replay buffer" in capsys.readouterr().err


def test_files_keep_the_order_of_the_tasks(whole):
    run, _ = whole
    order = [task["task_id"] for task in rows(run / "tasks.jsonl") if task["split"] == "train"]
    for kind in ("samples", "verdicts"):
        ids = [row["task_id"] for row in rows(run / kind / "round_001.jsonl")]
        assert list(dict.fromkeys(ids)) == order


def test_the_same_command_again_does_nothing_but_say_the_result(whole, config):
    run, printed = whole
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.jsonl")}
    again = finish(config, *SMALL, f"out={run.parent}", "name=whole")
    assert again.splitlines()[-3:] == printed.splitlines()[-3:]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.jsonl")} == before


def test_another_configuration_is_refused_for_the_same_folder(whole, config):
    run, _ = whole
    done = subprocess.run(
        command(config, *SMALL, f"out={run.parent}", "name=whole", "seed=7"),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "seed" in done.stderr
    assert "--fresh" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "phase", [pytest.param(name, marks=() if name == "late in train" else pytest.mark.slow) for name in PHASES]
)
def test_a_killed_run_ends_as_if_it_had_never_been(phase, whole, config, tmp_path):
    overrides = (*SMALL, f"out={tmp_path}", "name=killed")
    kill_in(phase, tmp_path / "killed", config, *overrides, last=1)
    printed = finish(config, *overrides)
    run, _ = whole
    assert summary(tmp_path / "killed") == summary(run)
    for kind in ("samples", "draws"):
        for path in (run / kind).iterdir():
            assert (tmp_path / "killed" / kind / path.name).read_bytes() == path.read_bytes(), path.name
    train = [[r for r in rows(d / "metrics.jsonl") if r["event"] == "train"] for d in (run, tmp_path / "killed")]
    assert train[0] == train[1]
    if phase in ("late in train", "evaluate after"):
        assert "resuming after round 1" in printed


@pytest.mark.slow
def test_eight_devices_sample_the_same_programs_and_learn_the_same(whole, config, tmp_path):
    mesh = ("mesh.data=2", "mesh.fsdp=2", "mesh.tp=2")
    finish(config, *SMALL, *mesh, f"out={tmp_path}", "name=mesh", devices=8)
    run, _ = whole
    ours, theirs = (
        [s["completion"] for s in rows(d / "samples" / "round_001.jsonl")] for d in (tmp_path / "mesh", run)
    )
    assert ours == theirs
    losses = [[r["loss"] for r in rows(d / "metrics.jsonl") if r["event"] == "train"] for d in (tmp_path / "mesh", run)]
    np.testing.assert_allclose(*losses, rtol=1e-3)
