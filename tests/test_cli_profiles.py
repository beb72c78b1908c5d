"""`--profile` on the command line: sample, score, test and eval with the same profile agree."""

import json

import pytest

from pper_jax.cli import main

TASKS = [
    {
        "task_id": f"mbpp/{n}",
        "prompt": f'"""\nAdd {n}.\nassert f(1) == {n + 1}\n"""\n',
        "tests": {"kind": "asserts", "asserts": [f"assert f(1) == {n + 1}"]},
        "entry_point": "f",
        "reference": f"def f(x):\n    return x + {n}\n",
        "statement": f"Add {n}.",
        "source": "test",
    }
    for n in (2, 3, 4, 7)
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, tasks in (("all", TASKS), ("one", TASKS[3:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return tmp_path


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_profile_s_programs_are_sampled_scored_tested_and_evaluated(here, capsys):
    small = ["--model", "micro", "--tasks", "one.jsonl", "--profile", "apps"]
    decoding = ["--max-new-tokens", "12", "--batch-size", "1"]
    assert main(["sample", *small, *decoding, "--out", "s.jsonl", "--beams", "2"]) == 0
    written = rows(here / "s.jsonl")
    assert [(row["profile"], row["solution"] == row["raw"], "completion" in row) for row in written] == [
        ("apps", True, False)
    ] * 2
    assert main(["score", *small, "--samples", "s.jsonl", "--out", "again.jsonl"]) == 0
    for before, after in zip(written, rows(here / "again.jsonl"), strict=True):
        assert after == {**before, "logprob": pytest.approx(before["logprob"], abs=1e-3)}
    assert main(["test", "--tasks", "one.jsonl", "--samples", "s.jsonl", "--out", "v.jsonl", "--workers", "1"]) == 0
    tested = rows(here / "v.jsonl")
    assert [(row["raw"], row["profile"]) for row in tested] == [(row["raw"], "apps") for row in written]
    capsys.readouterr()
    assert main(["eval", *small, *decoding, "--samples", "2", "--json", "--workers", "1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["profile"] == "apps"
    assert result["all"]["pass_rate"] == tested[0]["pass_rate"]


def test_what_is_unfinished_is_not_gone_on_with_under_another_profile(here, capsys, monkeypatch):
    def full(outputs):
        raise OSError(28, "No space left on device", "s.jsonl")

    argv = ["sample", "--model", "micro", "--tasks", "one.jsonl", "--out", "s.jsonl", "--max-new-tokens", "4"]
    with monkeypatch.context() as patch:
        patch.setattr("pper_jax.programs.write.finish_together", full)
        assert main([*argv, "--profile", "apps"]) == 1
    kept = (here / "s.jsonl.partial").read_bytes()
    assert main(argv) == 2
    assert "profile: apps -> nothing" in capsys.readouterr().err
    assert (here / "s.jsonl.partial").read_bytes() == kept
    assert main([*argv, "--profile", "apps"]) == 0


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--profile", "x"], "no prompt profile is called 'x'"),
        (["--examples", "all.jsonl"], "--examples is for profiles that show some, and base shows none; leave it out"),
        (
            ["--profile", "mbpp_fewshot"],
            "one.jsonl has no mbpp/2 with one; name a tasks file that has them as examples",
        ),
        (["--profile", "mbpp_fewshot", "--examples", "none.jsonl"], "no tasks file none.jsonl"),
        (["--profile", "chat"], "chat template"),
    ],
)
def test_profiles_that_cannot_be_are_said(here, capsys, argv, sentence):
    common = ["--model", "micro", "--tasks", "one.jsonl", "--out", "s.jsonl", "--max-new-tokens", "4"]
    assert main(["sample", *common, *argv]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not (here / "s.jsonl").exists()
