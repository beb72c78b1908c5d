"""`pper bench train`: the same steps on both sides, operations counted by hand, and sentences for wrong use."""

import json

import pytest

from pper_jax.bench.models import shape_of
from pper_jax.bench.train import Options, bench_train, parse_batches, remarks, step_flops
from pper_jax.bench.train_scaling import ideal_bytes, meshes
from pper_jax.cli import main
from pper_jax.errors import UserError


@pytest.mark.slow
def test_a_race_times_every_runner_and_both_compute_the_same_losses(capsys):
    result = json.loads(json.dumps(bench_train(Options(models=("micro",), batches=((2, 16),), repeats=2, steps=3))))
    (race,) = result["races"]
    assert set(race["runners"]) == {"pper", "torch"}
    assert race["left_out"] == {}
    for lane in race["runners"].values():
        assert len(lane["rounds"]) == 2
        assert len(lane["losses"]) == 6
        assert lane["cpu_s"] > 0
        assert lane["peak_bytes"] > 0
        assert lane["losses"][-1] < lane["losses"][0]
    assert race["runners"]["pper"]["cpu_ratio"] == 1
    assert not any("WRONG" in line for line in remarks(race))
    assert "micro, 2 x 16 tokens" in capsys.readouterr().out


def test_operations_of_a_step_are_those_counted_by_hand():
    layer = 768 * 768 * 4 + 2 * 768 * 3072
    products = 2 * 1024 * (12 * layer + 50257 * 768)
    attention = 12 * 4 * 2 * 2 * 768 * sum(range(1, 257))
    assert step_flops(shape_of("gpt2-124m"), 4, 256) == 3 * (products + attention)


def test_the_least_bytes_of_a_mesh():
    assert ideal_bytes((1, 1, 1), 800) == 0
    assert ideal_bytes((8, 1, 1), 800) == 2 * 7 / 8 * 800
    assert ideal_bytes((1, 8, 1), 800) == 3 * 7 / 8 * 800
    assert [axes for n in (1, 2, 8) for axes in meshes(n)] == [
        (1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "4", "4x", "x4", "0x8", "4x1", "4x8,", "4x8x2", "-1x8"])
def test_batches_that_are_none_are_refused(text):
    with pytest.raises(UserError, match="--batches is"):
        parse_batches(text)


def test_wrong_use_is_one_sentence(capsys):
    for arguments, said in (
        (["--model", "gpt3"], "no model 'gpt3'"),
        (["--runners", "torch"], "must name pper"),
        (["--runners", "pper,keras"], "no runner 'keras'"),
    ):
        assert main(["bench", "train", *arguments]) == 2
        assert said in capsys.readouterr().err
