"""The race: every runner searches for the same programs, and what is printed and stored says how they fared."""

import json
from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console

from pper_jax.bench import machine, models, race
from pper_jax.bench.beam import Options, parse_numbers, score_losses
from pper_jax.bench.plot import plot_races
from pper_jax.bench.race import Lane, agreement, lane_summary, median_ratio, run_race
from pper_jax.bench.roofline import Rates, count
from pper_jax.bench.runners import Job, PperRunner, batches, make_runner, through_eos
from pper_jax.bench.table import COLUMNS, print_race, remarks
from pper_jax.bench.worker import Prepared, Turn
from pper_jax.cli import main
from pper_jax.errors import UserError
from pper_jax.models import load_model


@pytest.fixture(scope="module", params=["no-eos", "eos"])
def job(request, tmp_path_factory) -> Job:
    """Five ragged prompts, two batches, on the tiny shape."""
    folder = tmp_path_factory.mktemp("bench") / request.param
    folder, prompts, eos_ids = models.set_up("tiny", request.param, folder, count=5, lengths=(3, 9), limit=12)
    return Job(folder, prompts, k=3, max_new_tokens=12, eos_ids=eos_ids, batch_size=4)


@pytest.fixture(scope="module")
def ours(job) -> list[list[tuple[int, ...]]]:
    runner = PperRunner()
    runner.prepare(job)
    return runner.run()


@pytest.mark.parametrize("name", ["torch", "gather"])
def test_runners_find_the_same_programs(job, ours, name):
    runner = make_runner(name)
    runner.prepare(job)
    assert runner.run() == ours
    assert runner.details()


def test_without_eos_all_programs_run_to_the_limit_and_with_it_they_end_apart(job, ours):
    lengths = {len(program) for row in ours for program in row}
    assert len(ours) == 5
    assert lengths == {12} if not job.eos_ids else len(lengths) > 3


def test_losses_are_0_for_the_same_programs_and_positive_for_worse_ones(job, ours):
    module, params, _ = load_model(job.folder)
    losses = score_losses(module, params, job, {"a": ours, "b": ours, "c": [row[::-1] for row in ours]}, "a")
    assert losses["a"] == losses["b"] == 0.0
    assert losses["c"] > 0.1


def lane(seconds: list[float], programs: list[list[tuple[int, ...]]]) -> Lane:
    turns = [Turn(wall_s=s, cpu_s=2 * s) for s in seconds]
    return Lane(Prepared(1.0, 2.0, 0.5, 3), turns, programs, {"peak_bytes": 2**20})


def test_the_picture_has_two_bars_a_runner_as_long_as_their_ratios():
    runners = {"ours": {"cpu_ratio": 1.0, "wall_ratio": 1.0}, "a<b": {"cpu_ratio": 4.0, "wall_ratio": 2.0}}
    race = {"model": "m", "k": 3, "workload": "eos", "dtype": "float32", "batch_size": 8, "reference": "ours"}
    root = ElementTree.fromstring(plot_races([race | {"runners": runners}] * 2))
    svg = "{http://www.w3.org/2000/svg}"
    bars = [bar for bar in root.iter(f"{svg}rect") if bar.get("class") in ("cpu", "wall")][2:]  # after the legend's
    cpu_ours, wall_ours, cpu, wall = (float(bar.get("width")) for bar in bars[:4])
    assert len(bars) == 8
    assert cpu_ours == wall_ours
    assert (cpu, wall) == pytest.approx((4 * cpu_ours, 2 * cpu_ours), abs=0.2)
    assert "a<b" in [text.text for text in root.iter(f"{svg}text")]


def test_ratios_are_medians_over_rounds():
    assert median_ratio([1.0, 2.0, 4.0], [2.0, 2.0, 40.0]) == 2.0


def test_a_summary_counts_tokens_and_shares_of_the_bound():
    programs = [[(1, 2, 3), (1, 2)], [(4,), (5,)]]
    reference, other = lane([1.0, 1.0, 4.0], programs), lane([2.0, 2.0, 4.0], [[(1, 2, 3), (9,)], [(5,), (4,)]])
    work = count(models.shape_of("tiny"), [4, 4], [3, 1], k=2, batch=2, itemsize=4)
    rates = Rates(operations_s=work.operations, bytes_s=1e30)
    summary = lane_summary(other, reference, work, rates)
    assert (summary["wall_s"], summary["cpu_s"], summary["wall_ratio"], summary["cpu_ratio"]) == (2.0, 4.0, 2.0, 2.0)
    assert (summary["tokens"], summary["tokens_s"]) == (6, 3.0)
    assert summary["share_of_operations"] == summary["share_of_bound"] == pytest.approx(0.5)
    assert summary["agreement"] == {"best": 0.5, "programs": 0.75}


def test_agreement_of_equal_results_is_whole():
    assert agreement([[(1,), (2,)]], [[(1,), (2,)]]) == {"best": 1.0, "programs": 1.0}


def test_batches_hold_prompts_of_similar_length_each_once():
    assert batches([[1], [1] * 5, [1] * 3], 2) == [[1, 2], [0]]


def test_a_program_ends_with_its_first_eos():
    assert through_eos([5, 0, 7, 0], (0,)) == (5, 0)
    assert through_eos([5, 7], (0,)) == (5, 7)


def test_a_runner_whose_package_is_missing_is_left_out_and_the_others_run(job, monkeypatch):
    monkeypatch.setattr(race, "missing_packages", lambda name: ["ctranslate2"])
    lanes, left_out = run_race(["ctranslate2-int8"], job, 1, lambda text: None)
    assert not lanes
    assert "pip install 'pper-jax[bench]'" in left_out["ctranslate2-int8"]


@pytest.mark.slow
def test_a_race_of_two_processes_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(machine, "SECONDS", 0.0)  # no more than three runs a rate
    out, plot = tmp_path / "race.json", tmp_path / "race.svg"
    options = ["--model", "tiny", "--prompts", "2", "--prompt-tokens", "3,5", "--max-new-tokens", "4", "--repeats", "1"]
    assert main(["bench", "beam", *options, "--k", "2", "--runners", "gather,torch,pper-kernels", "--out", str(out),
                 "--plot", str(plot)]) == 0  # fmt: skip
    result = json.loads(out.read_text())
    (found,) = result["races"]
    assert result["machine"]["cores"] >= 1
    assert result["rates"]["operations_s"] > result["rates"]["bytes_s"] > 0
    assert found["reference"] == "gather"
    assert found["row_lengths"] == [4, 4]
    assert found["runners"]["torch"]["agreement"] == {"best": 1.0, "programs": 1.0}
    assert found["runners"]["gather"]["compilations"] > 0
    assert found["runners"]["torch"]["peak_bytes"] > 0
    printed = capsys.readouterr().out
    assert "torch" in printed
    assert "WRONG" not in printed
    assert "pper-kernels needs a GPU or a TPU" in printed

    assert plot.read_text() == plot_races(result["races"])

    console = Console(width=200, record=True, file=StringIO())
    print_race(found, console)
    table = console.export_text()
    assert all(column in table for column in COLUMNS)
    found["runners"]["torch"] |= {"agreement": {"best": 0.0, "programs": 0.0}, "score_loss": 3.0}
    assert any(line.startswith("WRONG? torch") for line in remarks(found))
    found["runners"]["its-int8"] = found["runners"].pop("torch")
    assert any(line.startswith("its-int8 rounds the weights") for line in remarks(found))
    assert not any(line.startswith("WRONG?") for line in remarks(found))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"models": ("gpt5",)}, "no model 'gpt5'"),
        ({"workloads": ("often",)}, "no workload 'often'"),
        ({"runners": ("vllm",)}, "no runner 'vllm'"),
        ({"dtype": "int4"}, "no dtype 'int4'"),
        ({"ks": (0,)}, "at least 1"),
        ({"prompt_tokens": (9, 3)}, "shortest,longest"),
    ],
)
def test_wrong_options_are_named(wrong, says):
    with pytest.raises(UserError, match=says):
        Options(**wrong)


def test_numbers_with_commas():
    assert parse_numbers("1,3,10", "--k") == (1, 3, 10)
    with pytest.raises(UserError, match="--k is '1,x'"):
        parse_numbers("1,x", "--k")
