import re
import shlex

import pytest

from pper_jax.cli import main, parse


@pytest.fixture(scope="module")
def readme(project_root):
    return (project_root / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_and_finds_a_right_program(readme, capsys):
    block = re.search(r"```python\n(.*?)```", readme, re.S)
    assert block
    exec(compile(block.group(1), "README.md", "exec"), {"__name__": "readme"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "pass 1.0" in lines


def test_the_example_of_the_pool_finds_the_program_that_passes(readme, capsys):
    block = re.findall(r"```python\n(.*?)```", readme, re.S)[1]
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    *verdicts, statistics = capsys.readouterr().out.splitlines()
    assert sorted(verdicts) == ["0 fail 0.0", "1 fail 0.0", "2 pass 1.0", "3 fail 0.0"]
    assert "executions=4" in statistics


def test_every_command_in_the_readme_parses(readme):
    commands = [c for c in re.findall(r"`(pper [^`]+)`", readme) if "..." not in c]
    assert len(commands) > 15
    for command in commands:
        args = parse(shlex.split(command)[1:])
        assert callable(args.function)


def lines_of_the_table(readme):
    """The commands of "What you can do", in order, as lists of words."""
    table = readme.partition("## What you can do")[2].partition("\n## ")[0]
    return [shlex.split(command)[1:] for command in re.findall(r"`(pper [^`]+)`", table) if "..." not in command]


def test_what_a_line_of_the_table_reads_is_made_by_a_line_above_it(readme):
    made = {"HumanEval.jsonl.gz"}  # published
    for words in lines_of_the_table(readme):
        args = vars(parse(words))
        for name in ("tasks", "samples", "file", "src", "against"):
            source = str(args.get(name) or "micro_python")
            generated = source.startswith("micro_python") or args.get("name") == "micro_python"
            assert generated or source in made, f"pper {' '.join(words)}: no line above makes {source}"
        made |= {str(args["out"])} if args.get("out") else set()


@pytest.mark.slow
def test_the_lines_of_the_table_run_in_order_as_typed(readme, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ran = []
    for words in lines_of_the_table(readme):
        small = [re.sub(r":(50|200):0$", ":4:0", word) for word in words]
        small = [{"runs/quickstart": "micro"}.get(word, word) for word in small]  # a run takes minutes
        small += ["--max-new-tokens", "16", "--batch-size", "4"] if words[0] in ("sample", "eval") else []
        if words[0] in ("sample", "test", "score", "eval") or words[:2] in (["tasks", "list"], ["models", "list"]):
            ran.append(words[0])
            assert main(small) == 0, words
        elif words[:3] == ["tasks", "convert", "micro_python"] or words[:2] == ["tasks", "check"]:
            assert main([re.sub(r":50:0$", ":4:0", word) for word in words]) == 0, words
    assert {"sample", "test", "score", "eval"} <= set(ran)


def test_make_targets_in_the_readme_exist(readme, project_root):
    makefile = (project_root / "Makefile").read_text()
    targets = set(re.findall(r"(?:`|^)make (\w+)", readme, re.M))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target
