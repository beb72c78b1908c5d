import json

import numpy as np
import pytest

from pper_jax.bench import replay as bench
from pper_jax.cli import main


def absent(priorities, batch):
    raise ImportError("No module named 'absent'\nand more")


def test_rows_ratios_and_what_is_missing(monkeypatch):
    monkeypatch.setitem(bench.LIBRARIES, "absent", absent)
    monkeypatch.setattr(bench, "SCAN_STEPS", 2)
    libraries = ["pper exact", "pper dithered", "absent"]
    rows, missing = bench.compare([64], [8], libraries=libraries, rounds=1, block_s=0, draws=4096)
    assert [(row["capacity"], row["batch"], row["library"]) for row in rows] == [
        (64, 8, name) for name in libraries[:2]
    ]
    assert missing == {"absent": "No module named 'absent'"}
    for row in rows:
        assert all(row[measure] > 0 for measure in bench.MEASURES)
        assert 0 < row["chi_square"] < 1 + 4 * np.sqrt(2 / 30)  # of some 30 to 60 cells; strata can only lower it
    text = bench.table(rows, missing)
    assert "absent is left out: No module named 'absent'" in text
    json.dumps(rows)


def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "SCAN_STEPS", 2)
    monkeypatch.setitem(bench.LIBRARIES, "cpprb", absent)
    out = tmp_path / "rows.json"
    options = ["--capacities", "64", "--batches", "8", "--rounds", "1", "--draws", "64", "--out", str(out)]
    assert main(["bench", "replay", *options, "--libraries", "pper dithered,cpprb"]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    printed = capsys.readouterr().out
    assert f"{row['sample']:.1f}" in printed
    assert "cpprb is left out" in printed
    assert main(["bench", "replay", *options, "--libraries", "mine"]) == 2
    assert "no library 'mine'" in capsys.readouterr().err
    assert main(["bench", "replay", *options, "--capacities", "1"]) == 2
    assert "capacities must be at least 2" in capsys.readouterr().err


def test_ratios_are_theirs_over_ours_where_both_were_timed():
    def row(library, batch, **figures):
        return {"library": library, "capacity": 4, "batch": batch, **figures}

    rows = [row("ours", 1, sample=2.0), row("ours", 2, sample=4.0), row("theirs", 1, sample=6.0), row("theirs", 2)]
    assert bench.ratios(rows, "theirs", "sample", "ours") == [3.0]


def test_chi_square_counts_every_batch_of_a_sampler_that_reuses_its_memory():
    leaves, rng = np.ones(40, np.float32), np.random.default_rng(0)

    class Reusing:
        batch = np.zeros(8, np.int64)

        def draw(self):
            self.batch[:] = rng.integers(0, 40, 8)
            return self.batch

    assert bench.chi_square(Reusing(), leaves, 40_000) == pytest.approx(1, abs=4 * np.sqrt(2 / 39))


def test_chi_square_tells_a_wrong_sampler_from_a_right_one():
    leaves = np.arange(1, 41, dtype=np.float32)

    class Numpy:
        def __init__(self, p):
            self.rng, self.p = np.random.default_rng(0), p / p.sum()

        def draw(self):
            return self.rng.choice(self.p.size, 50_000, p=self.p)

    right = bench.chi_square(Numpy(leaves.astype(float)), leaves, 1e6)
    wrong = leaves.astype(float)
    wrong[-1] *= 1.1
    assert right == pytest.approx(1, abs=4 * np.sqrt(2 / 39))
    assert bench.chi_square(Numpy(wrong), leaves, 1e6) > 5
