import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.errors import UserError
from pper_jax.loop.config import RunConfig, load_run_config
from pper_jax.settings import apply_overrides, dump_yaml, from_dict, load_yaml, to_dict

MINIMAL = {"name": "demo", "model": "models/micro"}


def test_defaults_fill_what_the_file_leaves_out():
    config = from_dict(RunConfig, MINIMAL)
    assert config.beam.width == 3
    assert config.replay.alpha == 0.5


def test_a_written_configuration_reads_back_equal(tmp_path):
    config = from_dict(RunConfig, {**MINIMAL, "tasks": {"eval": {"held": {"split": "test", "count": 3}}}})
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(config))
    assert load_run_config(path) == config


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed=0x_", "cannot be read"),
        ("seed=!!int abc", "cannot be read"),
        ("seed=" + "1" * 5000, "cannot be read"),
        ("seed=0x" + "f" * 6000, "64 bits"),
        ("seed=18446744073709551616", "64 bits"),
        ("seed=4294967296", "below 4294967296"),
        ("seed=-1", "at least 0"),
        ("name=!!timestamp abc", "timestamp"),
        ("name=!!bool abc", "cannot be read"),
        ("name=!!python/object:os.system x", "python/object"),
        ("name=" + "[" * 2000, "nested too deep"),
        ("name=" + "[" * 100 + "]" * 100, "nested too deep"),
        ("name=&a [*a]", "refers to itself"),
        ("tasks=&a {train: *a}", "refers to itself"),
        ("name=\0", "special characters"),
        ('name="a\\0b"', "NUL"),
        ('out="\\ud800"', "surrogate"),
        ("name={a: 1, a: 2}", "'a' stands twice"),
        ("beam={1: 2}", "beam.1"),
        ("beam={[1]: 2}", "unhashable"),
        ("name=2", "quotes"),
        ("name=..", "name"),
        ("name=" + "x" * 300, "bytes"),
        ("name=a\tb", "name"),
        ("tasks.eval={a/b: {count: 1}}", "slash"),
        ("tasks.eval={'1': {count: 1}, 1: {count: 1}}", "two names"),
        ("tasks.eval={null: {count: 1}}", "None"),
        ("optimizer.learning_rate=.nan", "finite"),
        ("optimizer.learning_rate=nan", "finite"),
        ("replay.alpha=-.inf", "finite"),
        ("replay.alpha=1e999", "finite"),
        ("replay.alpha=" + "9" * 400, "float"),
        ("a..b=1", "override"),
        *((f"{name}=1000000000000", name) for name in ("beam.width", "beam.max_new_tokens", "beam.batch_size")),
        *((f"{name}=1000000000000", name) for name in ("train.batch_size", "train.max_length", "train.steps")),
        *((f"{name}=1000000000000", name) for name in ("evaluation.width", "replay.capacity", "execution.workers")),
        *((f"{name}=1000000000000", name) for name in ("execution.memory_mb", "execution.timeout_s")),
        ("x" * 10**6 + "=1", "unknown configuration key"),
        ("replay.mode=" + "x" * 10**6, "choose one of"),
        ("beam.width=" + "x" * 10**6, "beam.width"),
        ("beam=" + "x" * 10**6, "mapping"),
    ],
    ids=lambda text: text[:30],
)
def test_whatever_an_override_holds_is_one_short_sentence(text, words):
    with pytest.raises(UserError) as caught:
        from_dict(RunConfig, apply_overrides(MINIMAL, [text]))
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize("name", ["2020-01-01", "2020-13-45", "2020-01-01T00:00:00Z", "1e5", "a b", "ü", "3.1.4"])
def test_a_name_that_looks_like_something_else_is_text(name):
    assert from_dict(RunConfig, apply_overrides(MINIMAL, [f"name={name}"])).name == name


@given(
    key=st.sampled_from(["name", "seed", "beam", "tasks.eval", "optimizer.learning_rate"]),
    text=st.text(max_size=30) | st.text(alphabet="&*a1[]{}:,!<>=-?|'\"0x_.\n ", max_size=40),
)
@settings(max_examples=500, deadline=None, derandomize=True)
def test_no_text_is_a_traceback(key, text):
    try:
        config = from_dict(RunConfig, apply_overrides(MINIMAL, [f"{key}={text}"]))
    except UserError as error:
        message = str(error)
    else:
        message = ""
        assert from_dict(RunConfig, to_dict(config)) == config
    assert len(message) < 500


def test_a_file_with_a_key_twice_is_refused_with_its_line(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nmodel: b\nbeam:\n  width: 1\n  width: 2\n")
    with pytest.raises(UserError, match=r"twice.yaml, line 5 is not valid YAML: the key 'width' stands twice"):
        load_yaml(path)
    path.write_text("base: &base {width: 1, batch_size: 2}\nbeam: {<<: *base, width: 3}\n")  # merging is no repetition
    assert load_yaml(path)["beam"] == {"width": 3, "batch_size": 2}


def test_aliases_that_multiply_end_at_once(tmp_path):
    path = tmp_path / "laughs.yaml"
    rows = ["a0: &a0 {x: 1, y: 2}", *(f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}" for i in range(1, 38))]
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(UserError, match="holds more than"):
        load_yaml(path)


@pytest.mark.parametrize("override", ["beam", "=3", "name.x=3"])
def test_bad_overrides_are_named(override):
    with pytest.raises(UserError, match="override"):
        apply_overrides(MINIMAL, [override])


def test_shipped_run_configurations_are_valid_and_small(project_root):
    paths = [p for p in (project_root / "configs").glob("*.yaml") if "pretrain" not in p.name]
    assert paths
    for path in paths:
        config = load_run_config(path)
        keys = [line for line in path.read_text().splitlines() if ":" in line and not line.lstrip().startswith("#")]
        assert len(keys) <= 40, path
        assert dataclasses.is_dataclass(config)
        assert path.read_text().startswith("#"), f"{path} needs a header with its command and result"
