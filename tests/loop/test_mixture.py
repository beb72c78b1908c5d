"""Mixtures of sources: how many programs of each, and runs that learn from files, a teacher and themselves."""

import json
from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import rows, small

from pper_jax.errors import UserError
from pper_jax.loop import run
from pper_jax.loop.mixture import mix
from pper_jax.models import ModelConfig, build_model, save_model
from pper_jax.tasks import Sample, load_tasks
from tests.text.text_stand_ins import byte_fallback, byte_level

COUNTS = st.lists(st.integers(0, 7), min_size=1, max_size=6)


def offered(name, counts):
    return [Sample(f"t{i}", completion=f"{name}{i}.{n}") for i, count in enumerate(counts) for n in range(count)]


def chosen(offers, weights, width, turn=0):
    return mix(offers, weights, [f"t{i}" for i in range(6)], width, turn)


@settings(deadline=None)
@given(COUNTS, COUNTS, st.integers(1, 5), st.floats(0.1, 10), st.integers(0, 5))
def test_each_task_gets_width_programs_where_there_are_so_many_and_none_twice(one, two, width, weight, turn):
    offers = {"one": offered("one", one), "two": offered("two", two)}
    found = chosen(offers, {"one": 1.0, "two": weight}, width, turn)
    for i in range(6):
        had = sum(sample.task_id == f"t{i}" for samples in offers.values() for sample in samples)
        assert sum(sample.task_id == f"t{i}" for sample in found) == min(width, had)
    texts = [sample.completion for sample in found]
    assert len({*texts}) == len(texts)
    assert all(sample.completion.startswith(sample.extra["source"]) for sample in found)


@settings(deadline=None)
@given(st.integers(1, 5), st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
def test_shares_come_out_to_a_program_where_every_source_has_enough(width, given_weights):
    weights = dict(zip("abc", given_weights, strict=True))
    found = chosen({name: offered(name, [width] * 6) for name in weights}, weights, width)
    counts, total = Counter(sample.extra["source"] for sample in found), sum(given_weights)
    for name, weight in weights.items():
        assert abs(counts[name] - 6 * width * weight / total) < 3


def test_the_best_of_a_source_come_first_and_who_has_more_gives_others_in_the_next_turn():
    offers, weights = {"own": offered("own", [4]), "file": offered("file", [8])}, {"own": 1.0, "file": 1.0}
    turns = [[sample.completion for sample in chosen(offers, weights, 4, turn)] for turn in (0, 1, 2, 4)]
    assert turns[0] == ["own0.0", "file0.0", "own0.1", "file0.1"]
    assert turns[1] == ["own0.0", "file0.2", "own0.1", "file0.3"]
    assert turns[2] == ["own0.0", "file0.4", "own0.1", "file0.5"]
    assert turns[3] == turns[0]


def save_random(path, tokenizer, family):
    """A random model of ``family`` with ``tokenizer``."""
    llama = {"num_kv_heads": 1, "activation": "silu", "max_positions": 512}
    gpt2 = {"num_kv_heads": 2, "attention_bias": True, "mlp_bias": True, "max_positions": 512}
    shape = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "head_dim": 8, "mlp_size": 32}
    config = ModelConfig(family, len(tokenizer), **shape, **(llama if family == "llama" else gpt2))
    module, tokens = build_model(config), jnp.zeros((1, 4), jnp.int32)
    params = module.init(jax.random.key(len(family)), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]
    save_model(path, module, params, tokenizer)
    return str(path)


def test_a_teacher_of_another_family_and_tokenizer_writes_and_the_model_learns(tmp_path):
    student = save_random(tmp_path / "student", byte_level(), "gpt2")
    teacher = save_random(tmp_path / "teacher", byte_fallback(), "llama")
    asked = {
        "model": student,
        "teacher": teacher,
        "train__max_length": 512,
        "beam__max_new_tokens": 4,
        "tasks__eval": {},
    }
    folder = run(small(tmp_path, rounds=2, train__steps=1, **asked))
    theirs = rows(folder.samples("source_teacher"))  # written once, and scored in every round
    for index in (1, 2):
        written = rows(folder.samples(f"round_{index:03d}"))
        assert {row["model"] for row in written} == {teacher}
        assert [row["completion"] for row in written] == [row["completion"] for row in theirs]
        tokenizer = byte_level()
        for row, other in zip(written, theirs, strict=True):
            assert row["tokens"] != other["tokens"]
            said = tokenizer.decode([token for token in row["tokens"] if token != 2])
            assert said == row["completion"]
            assert (row["tokens"][-1:] == [2]) == (row["stop_reason"] == "eos")
    scores = [[row["logprob"] for row in rows(folder.samples(f"round_{index:03d}"))] for index in (1, 2)]
    assert scores[0] != scores[1]  # the model has moved
    (tmp_path / "teacher" / "config.json").unlink()
    with pytest.raises(UserError, match="teacher"):
        run(small(tmp_path, "second", **asked))
    assert not (tmp_path / "second").exists()


def test_a_mixture_of_own_beams_a_file_and_a_folder(tmp_path):
    tasks = load_tasks("micro_python", split="train", count=4, seed=0)
    file, programs = tmp_path / "theirs.jsonl", tmp_path / "programs"
    bodies = [f"    return {n}\n" for n in range(6)]
    lines = [{"task_id": task.task_id, "completion": body} for task in tasks for body in bodies]
    lines += [{"task_id": "elsewhere", "completion": "x"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for task in tasks:
        (programs / task.task_id.replace("/", "_")).mkdir(parents=True)
        (programs / task.task_id.replace("/", "_") / "1.py").write_text(task.prompt + "    return None\n")
        (programs / task.task_id.replace("/", "_") / "2.py").write_text("def other(): ...\n")  # no completion
    sources = {
        "own": {"kind": "self"},
        "file": {"kind": "samples", "path": str(file), "weight": 2.0},
        "folder": {"kind": "samples", "path": str(programs)},
    }
    asked = {"beam__width": 4, "beam__max_new_tokens": 8, "tasks__eval": {}}
    config = small(tmp_path, sources=sources, **asked)
    folder = run(config)
    written = rows(folder.samples("round_001"))
    counts = {"own": 4, "file": 8, "folder": 4}
    assert Counter(row["source"] for row in written) == counts
    assert [row["sources"] for row in rows(folder.metrics) if row["event"] == "sample"] == [counts]
    assert all(row["tokens"] and row["logprob"] < 0 for row in written)
    own = {(row["task_id"], row["completion"]) for row in rows(folder.samples("round_001.own"))}
    assert {(row["task_id"], row.get("completion")) for row in written if row["source"] == "own"} <= own

    file.write_text(file.read_text().replace("return 5", "return 6"))
    with pytest.raises(UserError, match="the content of the source file changed since"):
        run(replace(config, rounds=2))
    with pytest.raises(UserError, match=r"another configuration \(it differs in sources.own.weight\)"):
        run(small(tmp_path, sources={**sources, "own": {"weight": 3.0}}, **asked))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"samples": "a", "teacher": "b"}, "samples and teacher are given, and each says where programs come from"),
        ({"sources": {"a": {"kind": "teacher"}}}, r"sources\.a\.path is missing with kind teacher"),
        ({"sources": {"a": {"path": "x"}}}, r"path is x with kind self; .* kind self takes none"),
        ({"sources": {"a": {"weight": 0.0}}}, r"sources\.a\.weight is 0\.0; it must be a finite number above 0"),
        ({"sources": {"a": {"profile": "apps"}}}, "profile is apps with kind self; only a teacher"),
        ({"sources": {"a/b": {}}}, "it must have no slash"),
        ({"profile": "x"}, "no prompt profile is called 'x'"),
        ({"examples": "x"}, "profile base shows none; leave it out"),
    ],
)
def test_sources_that_contradict_themselves_are_said(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        small(tmp_path, **changes)


def test_sources_that_have_nothing_are_said_before_anything_is_written(tmp_path):
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text('{"task_id": "x", "completion": "y"}\n')
    with pytest.raises(UserError, match="holds no samples for the tasks that are asked"):
        run(small(tmp_path, samples=str(theirs)))
    with pytest.raises(UserError, match=r"nowhere"):
        run(small(tmp_path, teacher=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="needs a tokenizer with a chat template"):
        run(small(tmp_path, profile="chat"))
    assert not (tmp_path / "run").exists()
