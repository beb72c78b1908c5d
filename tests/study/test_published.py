"""docs/studies.md and README hold what the studies' own figures give, to the digit."""

import json
from pathlib import Path

import pytest

from pper_jax.report.tables import as_markdown, change
from pper_jax.study.table import budget_table, course_tables, result_table

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "docs/studies").glob("*.json"))}


@pytest.mark.parametrize("name", FIGURES)
def test_the_page_has_each_study_and_its_tables(name):
    page, figures = (ROOT / "docs/studies.md").read_text(), FIGURES[name]
    assert figures["study"] == name
    assert f"`pper study configs/studies/{name}.yaml" in page
    for split in figures["sets"]:
        assert as_markdown(result_table(figures, split)) in page
        assert f"studies/{name}_differences_{split}.svg" in page
        assert (ROOT / f"docs/studies/{name}_differences_{split}.svg").exists()
    for table in (*course_tables(figures), budget_table(figures)):
        assert as_markdown(table) in page


def test_readme_has_the_quickstart_on_seeds_that_no_choice_was_made_on():
    lines = (ROOT / "README.md").read_text().splitlines()
    runs = json.loads((ROOT / "docs/quickstart.json").read_text())
    assert list(runs) == ["100", "101", "102", "103", "104"]
    for seed, found in runs.items():
        cells = [seed]
        for split in ("heldout_kind", "heldout_composition"):
            judged = found["splits"][split]
            assert judged["gain"]["low"] > 0
            cells += [f"{100 * judged['before']:.1f} → {100 * judged['after']:.1f}", change(judged["gain"])]
        assert f"| {' | '.join(cells)} |" in lines
    sizes = [size for found in runs.values() for size in found["effective_sample_size"]]
    assert any(
        f"{100 * min(sizes):.0f} to {100 * max(sizes):.0f} % of the buffer take the draws" in line for line in lines
    )


@pytest.mark.parametrize("name", ["best", "best_hard"])
def test_readme_has_the_rows_of_untouched_tasks_and_seeds(name):
    figures = FIGURES[name]
    assert figures["part"] == "test"
    rows = [line.split(" | ") for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| ")]
    kind = "one round in the hardest band: " if name == "best_hard" else ""
    for split, found in figures["sets"].items():
        ours = [row for row in rows if row[0] == f"| {kind}{split}"]
        assert len(ours) == len(figures["arms"]) == 3
        for row, arm in zip(ours, ("best", "raft", "uniform"), strict=True):
            judged = found["arms"][arm]
            assert row[2] == f"{100 * found['before']:.1f} → {100 * judged['after']:.1f}"
            assert row[3] == change(judged["gain"])
            if against := judged.get("against"):
                lead = {"difference": -against["difference"], "low": -against["high"], "high": -against["low"]}
                assert row[4] == f"{change(lead)}, {against['of'] - against['wins']} of {against['of']} |"


def test_readme_has_the_real_model():
    readme = (ROOT / "README.md").read_text()
    found = FIGURES["smollm2_mbpp"]["sets"]["test"]
    for word, arm in (("draws by pass rate", "best"), ("RAFT", "raft"), ("uniform", "uniform")):
        judged = found["arms"][arm]
        rates = f"{word} {100 * found['before']:.1f} → {100 * judged['after']:.1f} %, "
        assert rates in readme
        assert readme.split(rates)[1].removeprefix("a gain of ").startswith(change(judged["gain"]))
