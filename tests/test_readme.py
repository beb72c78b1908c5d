import re
import shlex

import pytest

from pper_jax.cli import build_parser


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
        args = build_parser().parse_args(shlex.split(command)[1:])
        assert callable(args.function)


def test_make_targets_in_the_readme_exist(readme, project_root):
    makefile = (project_root / "Makefile").read_text()
    targets = set(re.findall(r"(?:`|^)make (\w+)", readme, re.M))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target
