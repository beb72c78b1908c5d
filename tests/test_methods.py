"""The options of decoding methods: which method takes which, and what they may be."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pper_jax.cli import main
from pper_jax.decode import BeamConfig, DiverseBeamConfig, SampleConfig, StochasticBeamConfig
from pper_jax.errors import UserError
from pper_jax.programs import decode_config

TAKES = {
    "beam": {"width"},
    "diverse-beam": {"width", "groups", "diversity"},
    "stochastic-beam": {"width", "temperature"},
    "greedy": set(),
    "sample": {"width", "temperature", "top_p"},
}
VALUES: dict[str, Any] = {"width": 4, "temperature": 0.5, "top_p": 0.5, "groups": 2, "diversity": 0.25}
FLAGS = {"width": "--beams", "temperature": "--temperature", "top_p": "--top-p", "groups": "--groups",
         "diversity": "--diversity"}  # fmt: skip


@pytest.mark.parametrize("method", TAKES)
@pytest.mark.parametrize("option", VALUES)
def test_an_option_is_obeyed_or_refused(method: str, option: str):
    given = {"width": 4 if "groups" in TAKES[method] else None, option: VALUES[option]}
    if option in TAKES[method]:
        config = decode_config(method, max_new_tokens=7, **given)
        assert config != decode_config(method, max_new_tokens=7, **{**given, option: None})
        assert VALUES[option] in vars(config).values()
        return
    message = f"^{FLAGS[option]} is an option of .*, not of --method {method}; leave it out or choose another$"
    with pytest.raises(UserError, match=message) as error:
        decode_config(method, max_new_tokens=7, **given | {"width": given["width"]})
    named = str(error.value).split(" is an option of ")[1].split(", not of")[0].split(", ")
    assert named == [other for other in TAKES if option in TAKES[other]]


def test_what_nothing_is_said_of():
    assert decode_config("beam", None, 7) == BeamConfig(width=3, max_new_tokens=7)
    assert decode_config("diverse-beam", 4, 7) == DiverseBeamConfig(width=4, groups=4, diversity=0.5, max_new_tokens=7)
    assert decode_config("stochastic-beam", None, 7) == StochasticBeamConfig(3, 7, temperature=1.0)
    assert decode_config("sample", None, 7) == SampleConfig(3, 7, temperature=1.0, top_p=1.0)
    assert decode_config("greedy", None, 7) == SampleConfig(1, 7, temperature=0.0)
    assert decode_config("greedy", 1, 7, temperature=0.0) == SampleConfig(1, 7, temperature=0.0)  # what it does anyway
    with pytest.raises(UserError, match="no method 'bean'; use one of beam, "):
        decode_config("bean", None, 7)


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("sample", "--method greedy --beams 4", "--beams is an option of beam, "),
        ("sample", "--groups 2", "--groups is an option of diverse-beam, not of --method beam"),
        ("sample", "--temperature 1.0", "--temperature is an option of stochastic-beam, sample, not of"),
        ("eval", "--method greedy --samples 4", "--samples is an option of beam, "),
        ("eval", "--method stochastic-beam --top-p 0.9", "--top-p is an option of sample, not of"),
    ],
)
def test_the_command_line_says_so_before_it_begins(
    command: str, options: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    common = ["--model", "micro", "--tasks", "micro_python:heldout_kind:1:0", "--out", str(out)]
    assert main([command, *common, *options.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pper: ")
    assert error.count("\n") == 1
    assert sentence in error
    assert not out.exists()


def test_help_tells_the_defaults(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for text in ("writes one (default: 3)", "one beam each)", "(default: 0.5)", "stochastic-beam (default: 1.0)"):
        assert text in said


CONFIGS = (BeamConfig, DiverseBeamConfig, SampleConfig, StochasticBeamConfig)
NUMBERS = [(kind, f.name, f.type) for kind in CONFIGS for f in fields(kind) if str(f.type) in ("int", "float")]


@pytest.mark.parametrize(("kind", "name", "number"), NUMBERS, ids=lambda x: getattr(x, "__name__", x))
def test_every_number_is_judged_where_it_is_declared(kind: Any, name: str, number: str):
    wrong = [math.nan, math.inf, -math.inf, True, "3", None, 10**400, -1] + [1.5] * (number == "int")
    free = {"pad_id": {10**400, -1}, "length_penalty": {10**400, -1}, "repetition_penalty": set()}.get(name, set())
    for value in wrong:
        if value in free or (value == 10**400 and number == "int"):
            continue
        with pytest.raises(UserError, match=name) as error:
            kind(**{name: value})
        assert len(str(error.value)) < 200
