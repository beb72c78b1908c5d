import json
import subprocess
import sys

import pytest

from pper_jax.cli import build_parser, main, parse

TASK = {
    "task_id": "t/1",
    "prompt": 'def f(x):\n    """Add one."""\n',
    "tests": {"kind": "call", "fn_name": "f", "cases": [{"args": [1], "expected": 2}, {"args": [5], "expected": 6}]},
    "stop": ["\ndef"],
    "reference": "    return x + 1\n",
    "source": "test",
}


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(TASK) + "\n")
    return path


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def fails(capsys, code, *argv):
    """The sentence that a wrong use prints; checks the exit code and that it is one line."""
    assert main([str(arg) for arg in argv]) == code
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("pper: ")
    return message


def commands():
    parser = build_parser()
    todo, found = [((), parser)], []
    while todo:
        path, node = todo.pop()
        for action in node._subparsers._group_actions if node._subparsers else ():
            for name, sub in action.choices.items():
                found.append((*path, name))
                todo.append(((*path, name), sub))
    return sorted(found)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    assert "example:\n  pper " in capsys.readouterr().out


def test_test_judges_completions_and_whole_solutions(tasks, tmp_path, capsys):
    samples = write(
        tmp_path / "s.jsonl",
        {"task_id": "t/1", "completion": "    return x + 1\n"},
        {"task_id": "t/1", "solution": "def f(x):\n    return 2\n"},
        {"task_id": "t/1", "completion": "    return None + 1\n"},
    )
    out = tmp_path / "v.jsonl"
    assert main(["test", "--tasks", str(tasks), "--samples", samples, "--out", str(out)]) == 0
    assert "3 programs" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["status"], row["passed"], row["total"]) for row in rows] == [
        ("pass", 2, 2),
        ("fail", 1, 2),
        ("error", 0, 2),
    ]


def test_tasks_check_runs_the_references(tasks, tmp_path, capsys):
    assert main(["tasks", "check", str(tasks)]) == 0
    assert "1/1" in capsys.readouterr().out.replace(" of ", "/")
    broken = write(tmp_path / "broken.jsonl", {**TASK, "reference": "    return x\n"})
    assert main(["tasks", "check", broken]) == 1
    assert "t/1" in capsys.readouterr().out


def test_bad_input_is_one_sentence(tasks, tmp_path, capsys):
    missing = tmp_path / "missing.jsonl"
    assert str(missing) in fails(capsys, 2, "tasks", "check", missing)

    torn = tmp_path / "torn.jsonl"
    torn.write_text(json.dumps(TASK) + "\n{not json\n")
    assert "line 2" in fails(capsys, 2, "tasks", "check", torn)

    samples = write(tmp_path / "s.jsonl", {"task_id": "t/9", "completion": ""})
    message = fails(capsys, 2, "test", "--tasks", tasks, "--samples", samples, "--out", tmp_path / "v.jsonl")
    assert "line 1" in message
    assert "t/9" in message
    assert not (tmp_path / "v.jsonl").exists()

    config = tmp_path / "c.yaml"
    config.write_text("name: x\nmodel: micro\nbeam: {widht: 2}\n")
    message = fails(capsys, 2, "run", config)
    assert "beam.widht" in message
    assert "beam.width" in message
    assert str(tmp_path / "no.yaml") in fails(capsys, 2, "run", tmp_path / "no.yaml")


def test_an_unsupported_model_family_names_those_supported(tasks, tmp_path, capsys):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    message = fails(capsys, 2, "sample", "--model", folder, "--tasks", tasks, "--out", tmp_path / "s.jsonl")
    assert "bert" in message
    assert "gpt2" in message
    assert "llama" in message


def test_a_prompt_beyond_the_context_names_the_task(tmp_path, capsys):
    long = write(tmp_path / "long.jsonl", {**TASK, "task_id": "t/long", "prompt": "x = 1\n" * 400})
    message = fails(capsys, 2, "sample", "--model", "micro", "--tasks", long, "--out", tmp_path / "s.jsonl")
    assert "t/long" in message


def test_an_unknown_model_says_which_are_known(tasks, tmp_path, capsys):
    message = fails(capsys, 2, "sample", "--model", "gpt5", "--tasks", tasks, "--out", tmp_path / "s.jsonl")
    assert "micro" in message


def test_overrides_may_stand_before_and_after_options():
    for argv in (
        ["run", "c.yaml", "a=1", "--fresh"],
        ["run", "c.yaml", "--fresh", "a=1"],
        ["run", "--fresh", "c.yaml", "a=1"],
    ):
        args = parse(argv)
        assert (args.config, args.overrides, args.fresh) == ("c.yaml", ["a=1"], True)


def test_wrong_flags_exit_with_two(capsys):
    for argv in (
        ["sample"],
        ["frobnicate"],
        ["test", "--workers", "0"],
        ["run", "c.yaml", "--bogus"],
        ["doctor", "a=1"],
        [],
    ):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 2


def test_sample_score_and_eval_agree(tasks, tmp_path, capsys):
    samples, scored = tmp_path / "s.jsonl", tmp_path / "scored.jsonl"
    common = ["--model", "micro", "--tasks", str(tasks)]
    small = ["--max-new-tokens", "24", "--batch-size", "1"]
    assert main(["sample", *common, "--out", str(samples), "--beams", "2", *small]) == 0
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [row["rank"] for row in rows] == [0, 1]
    assert rows[0]["logprob"] >= rows[1]["logprob"]
    assert main(["score", *common, "--samples", str(samples), "--out", str(scored)]) == 0
    again = [json.loads(line) for line in scored.read_text().splitlines()]
    for row, rescored in zip(rows, again, strict=True):
        if row["stop_reason"] == "eos" and row["num_tokens"] == rescored["num_tokens"]:
            assert rescored["logprob"] == pytest.approx(row["logprob"], abs=1e-3)
    capsys.readouterr()
    argv = ["eval", *common, "--k", "1,2", *small, "--json"]
    assert main(argv) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["all"]["tasks"] == 1
    assert result["all"]["pass@1"] <= result["all"]["pass@2"]


def test_ctrl_c_exits_with_130_and_one_sentence(monkeypatch, capsys):
    import pper_jax.cli.doctor

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(pper_jax.cli.doctor, "doctor", interrupted)
    assert "kept" in fails(capsys, 130, "doctor")


def test_the_command_is_installed():
    done = subprocess.run(
        [sys.executable, "-m", "pper_jax.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("pper 0.")


def test_doctor_finds_the_pool_sound(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "the test pool is sound" in out
    assert "BAD" not in out


def keep_verdicts(monkeypatch, tmp_path, argv):
    """Run `pper test` on a disk that is full when the whole output is written."""
    with monkeypatch.context() as patch:
        patch.setattr("pper_jax.files.partial.write_together", lambda contents: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(argv)


def test_a_finished_output_is_made_anew_and_a_cut_one_is_completed(tasks, tmp_path, monkeypatch):
    out = tmp_path / "v.jsonl"
    argv = ["test", "--tasks", str(tasks), "--samples", str(tmp_path / "s.jsonl"), "--out", str(out)]
    right = {"task_id": "t/1", "completion": "    return x + 1\n"}
    write(tmp_path / "s.jsonl", right, {"task_id": "t/1", "completion": "    return 2\n"})
    assert main(argv) == 0
    first = out.read_text().splitlines()
    assert [json.loads(line)["pass_rate"] for line in first] == [1.0, 0.5]

    kept = json.loads(first[0]) | {"mark": "kept"}
    keep_verdicts(monkeypatch, tmp_path, argv)
    partial = out.with_name("v.jsonl.partial")
    head = partial.read_text().splitlines()[0]
    partial.write_text(f"{head}\n{json.dumps(kept)}\n{first[1][:20]}")  # killed while it wrote the second verdict
    assert main(argv) == 0
    again = [json.loads(line) for line in out.read_text().splitlines()]
    assert again[0] == kept
    assert again[1]["pass_rate"] == 0.5
    assert not partial.exists()

    write(tmp_path / "s.jsonl", {"task_id": "t/1", "completion": "    return 6\n"}, right)
    assert main(argv) == 0
    assert [json.loads(line)["pass_rate"] for line in out.read_text().splitlines()] == [0.5, 1.0]


def test_programs_of_another_model_are_never_mixed_in(tasks, tmp_path, capsys):
    two = tmp_path / "two.jsonl"
    write(two, TASK, {**TASK, "task_id": "t/2"})
    samples = write(tmp_path / "s.jsonl", {"task_id": "t/1", "completion": "", "model": "theirs"})
    message = fails(capsys, 2, "sample", "--model", "micro", "--tasks", two, "--out", samples, "--beams", "1")
    assert "theirs" in message
