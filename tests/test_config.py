import dataclasses

import pytest

from pper_jax.errors import UserError
from pper_jax.loop.config import RunConfig
from pper_jax.settings import apply_overrides, dump_yaml, from_dict, load_config, load_yaml

MINIMAL = {"name": "demo", "model": "models/micro"}


def test_defaults_fill_what_the_file_leaves_out():
    config = from_dict(RunConfig, MINIMAL)
    assert config.beam.width == 3
    assert config.replay.alpha == 0.5


def test_a_written_configuration_reads_back_equal(tmp_path):
    config = from_dict(RunConfig, {**MINIMAL, "tasks": {"eval": {"held": {"split": "test", "count": 3}}}})
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(config))
    assert load_config(RunConfig, path) == config


def test_overrides_reach_into_sections_and_read_yaml_values():
    data = apply_overrides(MINIMAL, ["beam.width=5", "optimizer.learning_rate=3e-4", "replay.mode=none"])
    config = from_dict(RunConfig, data)
    assert (config.beam.width, config.optimizer.learning_rate, config.replay.mode) == (5, 3e-4, "none")
    assert "beam" not in MINIMAL


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({**MINIMAL, "beam": {"widht": 3}}, ["beam.widht", "beam.width"]),
        ({**MINIMAL, "colour": 1}, ["colour"]),
        ({"name": "x"}, ["model", "missing"]),
        ({**MINIMAL, "beam": {"width": "three"}}, ["beam.width", "'three'", "int"]),
        ({**MINIMAL, "beam": {"width": True}}, ["beam.width", "int"]),
        ({**MINIMAL, "beam": {"width": 0}}, ["beam.width", "at least 1"]),
        ({**MINIMAL, "replay": {"alpha": 1.5}}, ["replay.alpha", "between 0 and 1"]),
        ({**MINIMAL, "replay": {"scheme": "ranked"}}, ["replay.scheme", "rank"]),
        ({**MINIMAL, "execution": {"timeout_s": 0}}, ["execution.timeout_s", "above 0"]),
        ({**MINIMAL, "train": {"batch_size": 6, "accumulate": 4}}, ["train.batch_size", "multiple"]),
        ({**MINIMAL, "beam": 3}, ["beam", "mapping"]),
        ({**MINIMAL, "name": "a/b"}, ["name", "slash"]),
    ],
)
def test_bad_values_are_one_sentence_with_their_path(data, words):
    with pytest.raises(UserError) as caught:
        from_dict(RunConfig, data)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_unreadable_files_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        load_yaml(tmp_path / "missing.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1,\nb: 2")
    with pytest.raises(UserError, match=r"line \d+ is not valid YAML"):
        load_yaml(bad)
    bad.write_text("- 1\n- 2\n")
    with pytest.raises(UserError, match="top level"):
        load_yaml(bad)


@pytest.mark.parametrize("override", ["beam", "=3", "name.x=3"])
def test_bad_overrides_are_named(override):
    with pytest.raises(UserError, match="override"):
        apply_overrides(MINIMAL, [override])


def test_shipped_run_configurations_are_valid_and_small(project_root):
    paths = [p for p in (project_root / "configs").glob("*.yaml") if "pretrain" not in p.name]
    assert paths
    for path in paths:
        config = load_config(RunConfig, path)
        keys = [line for line in path.read_text().splitlines() if ":" in line and not line.lstrip().startswith("#")]
        assert len(keys) <= 40, path
        assert dataclasses.is_dataclass(config)
        assert path.read_text().startswith("#"), f"{path} needs a header with its command and result"
