"""Training that does not recover stops, and keeps what was good."""

import json

import pytest
from small_runs import rows, small

from pper_jax.errors import RunFailure
from pper_jax.loop import run


def refuse(name):
    raise ValueError(f"{name} is no JSON")


def test_steps_without_finite_numbers_are_skipped_and_end_the_run(tmp_path):
    config = small(
        tmp_path,
        optimizer={"learning_rate": 1e30, "warmup_steps": 0},
        train__steps=9,
        train__stop_after_skipped=3,
    )
    with pytest.raises(RunFailure, match="3 steps in a row") as failure:
        run(config)
    assert "Traceback" not in str(failure.value)
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    steps = [row for row in rows(tmp_path / "run" / "metrics.jsonl") if row["event"] == "train"]
    assert [step["skipped"] for step in steps][-3:] == [True] * 3
    for line in text.splitlines():
        json.loads(line, parse_constant=refuse)


def test_a_held_out_set_that_could_not_be_judged_ends_no_run(tmp_path, monkeypatch):
    from pper_jax.loop import rounds

    tested = rounds.run_tests

    def broken(pool, tasks, samples, path, **options):
        found = tested(pool, tasks, samples, path, **options)
        if path.name.startswith("eval"):
            found = [{**row, "status": "infrastructure"} for row in found]
            path.write_text("".join(json.dumps(row) + "\n" for row in found))
        return found

    monkeypatch.setattr(rounds, "run_tests", broken)
    folder = run(small(tmp_path))
    summary = json.loads(folder.summary.read_text(), parse_constant=refuse)
    assert summary["splits"]["held"]["tasks"] == 0
    assert summary["splits"]["held"]["gain"]["pass_rate"]["difference"] is None
