"""The options of replay: ranges, presets, and that each of them is written once."""

import dataclasses
import json

import pytest

from pper_jax import replay
from pper_jax.errors import UserError
from pper_jax.loop.config import RunConfig, load_run_config
from pper_jax.settings import dump_yaml, from_dict


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 1.5},
        {"alpha": float("nan")},
        {"alpha": True},
        {"omega": -0.1},
        {"omega": float("inf")},
        {"capacity": 0},
        {"capacity": 10**12},
        {"capacity": 4.0},
        {"task_cap": 2**40},
        {"uniform_mix": 2.0},
        {"beta": -1.0},
        {"beta": 1e300},
        {"age_decay": float("nan")},
        {"age_decay": "3"},
        {"dedup": "yes"},
        {"replacement": 1},
        {"mode": "both"},
        {"possibility": "mean"},
        {"scheme": "greedy"},
        {"store": "some"},
        {"store": ["all"]},
        {"preset": "cleverest"},
        {"max_length": 0},
    ],
)
def test_a_configuration_that_means_nothing_is_refused_by_the_name_that_it_has_in_yaml(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=rf"^replay\.{name} is .*; it must be"):
        replay.ReplayConfig(**wrong)


def test_a_configuration_is_a_static_argument():
    assert hash(replay.ReplayConfig(capacity=7)) == hash(replay.ReplayConfig(capacity=7))
    assert replay.ReplayConfig(capacity=7) != replay.ReplayConfig(capacity=8)


def test_a_runs_section_is_what_the_buffer_obeys():
    assert type(RunConfig("n", "m").replay) is replay.ReplayConfig
    with pytest.raises(UserError, match=r"replay\.max_length"):  # the rows' width is no option of replay
        from_dict(RunConfig, {"name": "n", "model": "m", "replay": {"max_length": 8}})


def test_the_row_length_may_still_come_with_the_options():
    config = replay.ReplayConfig(max_length=5, capacity=3)
    assert replay.init(config).items.tokens.shape == (3, 5)
    assert replay.init(dataclasses.replace(config, alpha=0.1)).items.tokens.shape == (3, 5)
    with pytest.raises(ValueError, match="example row or a max_length"):
        replay.init(replay.ReplayConfig())


def from_python(**keys):
    return replay.ReplayConfig(**keys)


def from_yaml(tmp_path, keys, overrides=()):
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({"name": "n", "model": "m", "replay": keys}))
    return load_run_config(path, overrides).replay


@pytest.mark.parametrize("name", [name for name in replay.PRESETS if name != "none"])
def test_a_preset_holds_alike_in_python_in_yaml_and_in_overrides(tmp_path, name):
    expected = replay.ReplayConfig(**{**replay.PRESETS[name], "preset": name, "alpha": 0.2})
    assert expected != replay.ReplayConfig(preset="none", alpha=0.2)
    assert from_python(preset=name, alpha=0.2) == expected
    assert from_yaml(tmp_path, {"preset": name, "alpha": 0.2}) == expected
    assert from_yaml(tmp_path, {}, [f"replay.preset={name}", "replay.alpha=0.2"]) == expected
    assert from_yaml(tmp_path, {"alpha": 0.2}, [f"replay={{preset: {name}, alpha: 0.2}}"]) == expected


def test_what_is_given_beside_a_preset_stands_above_it(tmp_path):
    keys = {"preset": "paper", "omega": 0.7}  # which is the default too
    assert from_python(**keys).omega == 0.7
    assert from_yaml(tmp_path, keys).omega == 0.7
    overrides = ["replay.omega=0.7", "replay.preset=paper"]
    assert from_yaml(tmp_path, {}, overrides).omega == 0.7
    assert from_yaml(tmp_path, {}, overrides[::-1]).omega == 0.7


def test_a_preset_on_the_command_line_stands_above_what_the_file_says(tmp_path):
    file = {"scheme": "proportional", "store": "solved", "omega": 0.3, "alpha": 0.9}
    found = from_yaml(tmp_path, file, ["replay.preset=paper"])
    assert (found.scheme, found.store, found.omega, found.possibility) == ("rank", "all", 1.0, "joint")
    assert found.alpha == 0.9  # the paper's preset says nothing of it
    found = from_yaml(tmp_path, {**file, "preset": "safe"}, ["replay.preset=paper", "replay.omega=0.5"])
    assert (found.scheme, found.omega, found.dedup) == ("rank", 0.5, False)


def test_what_a_preset_came_to_reads_back_as_it_was_written(tmp_path):
    config = RunConfig("n", "m", replay=replay.ReplayConfig(preset="safe", beta=0.0))
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(config))
    assert load_run_config(path) == config
