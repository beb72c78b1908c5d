"""`pper pretrain` knows before its work whether it can be done, and judges its numbers."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from pper_jax import pretrain as room
from pper_jax.errors import RunFailure, UserError
from pper_jax.loop.config import TrainSection
from pper_jax.pretrain import CorpusSection, PretrainConfig, ShapeSection, pretrain
from pper_jax.train import OptimizerConfig


def small(out, **options):
    given = {
        "corpus": CorpusSection(examples=64, vocab_size=257),
        "model": ShapeSection(hidden_size=8, num_layers=1, num_heads=1, max_positions=16),
        "train": TrainSection(steps=2, batch_size=8, max_length=16),
        **options,
    }
    return PretrainConfig(out=str(out), **given)


@pytest.fixture(autouse=True)
def small_corpus(monkeypatch):
    def corpus(count, seed, bug_rate):
        return itertools.islice(itertools.cycle([("f(1", ") == 1"), ("f(2", ") == 2")]), count)

    monkeypatch.setattr(room, "pretraining_corpus", corpus)


@pytest.fixture
def no_work(monkeypatch):
    def corpus(*arguments):
        pytest.fail("work began")

    monkeypatch.setattr(room, "pretraining_corpus", corpus)


def test_it_leaves_a_model_and_its_configuration(tmp_path, capsys):
    out = pretrain(small(tmp_path / "new" / "m"))
    assert json.loads((out / "config.json").read_text())["n_layer"] == 1
    assert "max_length: 16" in (out / "pretrain.yaml").read_text()
    assert "64 examples" in capsys.readouterr().out
    pretrain(small(out))  # a model folder is replaced


def test_examples_longer_than_a_row_are_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(room, "pretraining_corpus", lambda *_: [("f(1", ") == 1")] * 40 + [("f" * 20, "()")] * 3)
    pretrain(small(tmp_path / "m"))
    assert "3 longer than train.max_length=16 are left out" in capsys.readouterr().out


@pytest.mark.parametrize("examples", [1, 7])
def test_a_corpus_of_fewer_rows_than_a_batch_is_one_sentence(tmp_path, examples):
    config = small(tmp_path / "m", corpus=CorpusSection(examples=examples, vocab_size=257))
    with pytest.raises(UserError, match=r"fewer than train\.batch_size=8"):
        pretrain(config)


def test_a_batch_that_the_devices_do_not_divide_is_said_before_the_work(tmp_path, no_work):
    with pytest.raises(UserError, match=r"train\.batch_size is 12; it must be a multiple of 8, which is mesh data 8"):
        pretrain(small(tmp_path / "m", train=TrainSection(batch_size=12, max_length=16)))


@pytest.mark.parametrize("out", ["file", "file/m", "full", "", "..", "a\0b", "x" * 300, "x" * 246])
def test_where_no_model_can_be_put_is_known_before_the_work(tmp_path, monkeypatch, no_work, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("kept")
    with pytest.raises(UserError, match=r"^.{10,300}$"):
        pretrain(small(out))
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "thesis.tex").read_text() == "kept"


def test_training_that_never_moves_ends_in_a_sentence_and_leaves_the_old_model(tmp_path):
    out = pretrain(small(tmp_path / "m"))
    wild = OptimizerConfig(learning_rate=1e30, warmup_steps=0)
    train = TrainSection(steps=2, batch_size=8, max_length=16, stop_after_skipped=2)
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(RunFailure, match="in 2 steps in a row"):
        pretrain(small(out, optimizer=wild, train=train))
    assert (out / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("corpus", "examples", 0),
        ("corpus", "examples", 1.5),
        ("corpus", "bug_rate", float("nan")),
        ("corpus", "bug_rate", -0.1),
        ("corpus", "vocab_size", 256),
        ("corpus", "vocab_size", 10**30),
        ("model", "hidden_size", 0),
        ("model", "hidden_size", 100),
        ("model", "num_layers", -1),
        ("model", "num_heads", True),
        ("model", "max_positions", float("inf")),
    ],
)
def test_numbers_of_the_corpus_and_the_shape_are_judged(section, name, value):
    kind = {"corpus": CorpusSection, "model": ShapeSection}[section]
    with pytest.raises(UserError, match=rf"^{name} is "):
        kind(**{name: value})


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, float("nan")])
def test_a_seed_is_judged(tmp_path, seed):
    with pytest.raises(UserError, match=r"^seed is "):
        small(tmp_path, seed=seed)


def test_rows_longer_than_the_context_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"beyond model\.max_positions"):
        replace(small(tmp_path), train=TrainSection(max_length=17))


def test_every_row_is_drawn_once_an_epoch():
    rows = room.pack_examples([([i], [i]) for i in range(8)], 2)
    batches = room._batches(rows, 4, seed=0)
    epoch = np.concatenate([next(batches).tokens[:, 0] for _ in range(2)])
    assert sorted(epoch.tolist()) == list(range(8))
