"""Entropy of what the model writes, over the rounds of a run: what it is, and that nobody else notices."""

import shutil
from dataclasses import replace
from math import log

import jax
import numpy as np
import pytest
from small_runs import results, rows, small

from pper_jax.decode import decode_prompts
from pper_jax.errors import UserError
from pper_jax.loop import run
from pper_jax.loop.entropy import entropy_of, method
from pper_jax.tasks import Sample
from tests.decode.decode_stand_ins import table_lm

LIMIT, END, TIMES, EACH = 3, 0, 80, 50
TABLE = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.3, 0.6, 0.05, 0.05], [0.25, 0.25, 0.25, 0.25]])


def programs(last, size=0):
    """``(probability, tokens)`` of every program that ``TABLE`` may write behind the token ``last``."""
    for token, probability in enumerate(TABLE[last]):
        if token == END or size + 1 == LIMIT:
            yield probability, size + 1
        else:
            yield from ((probability * p, tokens) for p, tokens in programs(token, size + 1))


def drawn(config):
    """Programs behind two prompts, each asked ``TIMES`` times, as samples of two tasks."""
    module, params = table_lm(TABLE)
    prompts, config = [[1], [2, 3]] * TIMES, replace(config, eos_ids=(END,))
    found = decode_prompts(module, params, prompts, config=config, batch_size=16, key=jax.random.key(3))
    return [
        Sample(f"task {index % 2}", completion="", logprob=program.logprob, num_tokens=len(program.tokens))
        for index, written in found
        for program in written
    ]


@pytest.mark.slow
def test_the_estimate_is_the_exact_entropy_of_all_programs_within_its_error():
    count = TIMES * EACH
    entropies, variances, lengths = [], [], []
    for last in (1, 3):
        p, tokens = (np.array(column) for column in zip(*programs(last), strict=True))
        assert p.sum() == pytest.approx(1)
        entropies.append(-(p * np.log(p)).sum())
        variances.append((p * np.log(p) ** 2).sum() - entropies[-1] ** 2)
        lengths.append(p @ tokens)
    figures = entropy_of(drawn(method(EACH, LIMIT)))
    error = (sum(variances) / count) ** 0.5 / 2  # of the mean of two tasks
    assert abs(figures["nats"] - np.mean(entropies)) < 4 * error
    assert figures["nats_per_token"] == pytest.approx(sum(entropies) / sum(lengths), rel=0.02)
    assert figures["programs"] == 2 * count


def test_tasks_count_alike_and_tokens_count_alike():
    samples = [
        Sample("one", completion="", logprob=-log(2), num_tokens=1),
        Sample("one", completion="", logprob=-log(8), num_tokens=2),
        Sample("two", completion="", logprob=-log(16), num_tokens=5),
        Sample("two", completion="", logprob=-0.0, num_tokens=2),
    ]
    assert entropy_of(samples) == pytest.approx({"nats": 2 * log(2), "nats_per_token": 0.8 * log(2), "programs": 4})


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return run(small(tmp_path_factory.mktemp("measured"), evaluation__entropy=3)).path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(small(tmp_path_factory.mktemp("plain"))).path


def entropies(path):
    return [row for row in rows(path / "metrics.jsonl") if row["event"] == "entropy"]


def test_a_run_logs_it_at_every_evaluation_from_programs_that_it_keeps_and_does_not_test(measured):
    found = entropies(measured)
    assert [(row["round"], row["split"], row["programs"]) for row in found] == [(0, "held", 9), (1, "held", 9)]
    for index, row in enumerate(found):
        kept = rows(measured / "samples" / f"entropy_{index:03d}_held.jsonl")
        assert row["nats"] == pytest.approx(-np.mean([sample["logprob"] for sample in kept]))
        tokens = sum(sample["num_tokens"] for sample in kept)
        assert row["nats_per_token"] * tokens == pytest.approx(row["nats"] * 9)
        assert len({sample["completion"] for sample in kept}) > 1
    assert found[0]["nats"] != found[1]["nats"]
    assert not [*(measured / "verdicts").glob("entropy*")]


def test_a_run_that_measures_it_learns_what_one_learns_that_does_not(measured, plain):
    assert not entropies(plain)
    assert not [*plain.glob("samples/entropy*")]
    with_it = {name: found for name, found in results(measured).items() if "entropy" not in name}
    with_it["metrics.jsonl"] = [row for row in with_it["metrics.jsonl"] if row["event"] != "entropy"]
    assert with_it == results(plain)


@pytest.mark.slow
def test_it_is_read_where_it_stands_and_written_again_the_same_where_it_is_gone(measured, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(measured, moved)
    kept = results(moved)
    file = moved / "samples" / "entropy_001_held.jsonl"
    before = file.stat().st_mtime_ns
    (moved / "summary.json").unlink()
    run(small(tmp_path, evaluation__entropy=3))
    assert file.stat().st_mtime_ns == before
    assert results(moved) == kept
    file.unlink()
    (moved / "summary.json").unlink()
    lines = (moved / "metrics.jsonl").read_text().splitlines(keepends=True)
    (at,) = (i for i, line in enumerate(lines) if '"entropy"' in line and '"round": 1' in line)
    (moved / "metrics.jsonl").write_text("".join(lines[:at]))  # as if cut before
    run(small(tmp_path, evaluation__entropy=3))
    assert results(moved) == kept


@pytest.mark.slow
def test_a_run_from_before_the_key_goes_on_and_another_number_is_refused(measured, plain, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(plain, old)
    text = (old / "config.yaml").read_text()
    without = "".join(line for line in text.splitlines(keepends=True) if line.strip() != "entropy: 0")
    assert without != text
    (old / "config.yaml").write_text(without)
    (old / "summary.json").unlink()
    run(small(tmp_path, "old"))  # another name of the same asking
    assert (old / "summary.json").exists()
    assert not entropies(old)
    shutil.copytree(measured, tmp_path / "run")
    with pytest.raises(UserError, match=r"evaluation\.entropy"):
        run(small(tmp_path, evaluation__entropy=4))
