"""The paper's tables: its layout for any runs, the counts behind figures, pairing, and three forms of one table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import report_runs

from pper_jax.cli import main
from pper_jax.report import Table, as_markdown, as_text, load_run, paper_tables, write_report

APPS = [("introductory", 4), ("competition", 3), ("interview", 4)]


def verdict(task: str, rate: float, **labels: Any) -> dict[str, Any]:
    status = "pass" if rate == 1 else "fail"
    return {"task_id": task, "pass_rate": rate, "status": status, "task_digest": f"content of {task}", **labels}


def apps(rate: float, *, source: str = "apps") -> list[dict[str, Any]]:
    """APPS' 11: those of the competition fail, the others pass ``rate`` of their tests."""
    names = [(label, f"apps/{label}/{i}") for label, count in APPS for i in range(count)]
    return [
        verdict(task, 0.0 if label == "competition" else rate, task_difficulty=label, task_source=source)
        for label, task in names
    ]


def a_run(folder: Path, **sets: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> Path:
    """A finished run of two rounds with verdicts on its held-out sets, (before, after)."""
    report_runs.build(folder, rounds=2, steps=1, name=folder.name)
    (folder / "summary.json").write_text(json.dumps({"name": folder.name, "seed": 0, "finished": True, "rounds": 2}))
    (folder / "metrics.jsonl").write_text("")
    for name, (before, after) in sets.items():
        for index, rows in ((0, before), (1, before), (2, after)):
            report_runs.jsonl(folder / "verdicts" / f"eval_{index:03d}_{name}.jsonl", rows)
    return folder


def tables(*folders: Path) -> dict[str, Table]:
    runs = [load_run(folder) for folder in folders]
    return {table.title: table for table in paper_tables(runs, [run.name for run in runs])}


def test_the_papers_layout_by_difficulty(tmp_path: Path) -> None:
    table = tables(a_run(tmp_path / "gpt2", apps=(apps(0.5), apps(1.0))))["apps: pass rate and accuracy by difficulty"]
    assert table.header == ("model", "percent", "introductory", "interview", "competition", "mixed")
    rows = {row[:2]: row[2:] for row in table.rows}
    assert rows["gpt2", "tasks"] == ("4", "4", "3", "11")
    assert [cell.split()[0] for cell in rows["gpt2, before", "pass rate"]] == ["50.0", "50.0", "0.0", "36.4"]
    assert [cell.split()[0] for cell in rows["gpt2, before", "accuracy"]] == ["0.0"] * 4
    assert [cell.split()[0] for cell in rows["gpt2, after", "accuracy"]] == ["100.0", "100.0", "0.0", "72.7"]
    assert [cell.split()[0] for cell in rows["gpt2, gain", "pass rate"]] == ["+50.0", "+50.0", "+0.0", "+36.4"]
    assert rows["gpt2, after", "accuracy"][0] == "100.0 [51.0, 100.0]"  # Wilson's of 4 in 4
    assert all(re.fullmatch(r"[-+.0-9]+ \[[-+.0-9]+, [-+.0-9]+\]", cell) for row in table.rows[1:] for cell in row[2:])


def test_a_run_without_difficulties_has_the_rows_that_it_has(tmp_path: Path) -> None:
    plain = [verdict(f"t{i}", 1.0) for i in range(3)]
    found = tables(a_run(tmp_path / "plain", held=(plain, plain)))
    assert found["held: pass rate and accuracy"].header == ("model", "percent", "all")
    assert (
        "What was learnt from, and what was judged" not in found
    )  # one set of one data set: nothing to set side by side


def test_many_difficulties_are_rows(tmp_path: Path) -> None:
    rows = [
        verdict(f"t{rating}", 0.5, task_difficulty=f"{rating}") for rating in (900, 1200, 800, 1000, 3500, 1100, 700)
    ]
    table = tables(a_run(tmp_path / "contests", held=(rows, rows)))[
        "held: pass rate and accuracy by difficulty, contests"
    ]
    assert [row[0] for row in table.rows] == ["700", "800", "900", "1000", "1100", "1200", "3500", "mixed"]
    assert table.header[:4] == ("difficulty", "tasks", "pass rate before", "accuracy before")
    assert [row[1] for row in table.rows] == ["1"] * 7 + ["7"]


def test_what_was_learnt_from_against_what_was_judged(tmp_path: Path) -> None:
    contests = [verdict(f"c{i}", 0.25, task_source="codecontests") for i in range(5)]
    mixed = [*apps(1.0), *contests]
    own = a_run(tmp_path / "own", apps=(apps(0.5), apps(1.0)), codecontests=(contests, contests))
    cross = a_run(tmp_path / "cross", apps=(apps(0.5), apps(0.5)), both=(mixed, mixed))
    tasks = [{"task_id": str(i), "prompt": "", "source": "apps" if i else "humaneval"} for i in range(4)]
    held_out = [{"task_id": row["task_id"], "prompt": "", "source": "held out"} for row in mixed]
    report_runs.jsonl(cross / "tasks.jsonl", [*tasks, *held_out])
    sources = {"self": {"kind": "self", "weight": 1.0}, "gpt4": {"kind": "samples", "path": "x", "weight": 3.0}}
    (cross / "config.yaml").write_text(json.dumps({"name": "cross", "sources": sources}))
    table = tables(own, cross)["What was learnt from, and what was judged"]
    sets = ("apps", "codecontests", "both: apps", "both: codecontests", "both: mixed")
    assert table.header == ("model", "learnt from", "percent", *sets)
    rows = {row[:3]: [cell.split()[0] for cell in row[3:]] for row in table.rows}
    learnt = "humaneval 25 %, apps 75 %; self 25 %, gpt4 75 %"
    assert rows["cross", learnt, "pass rate"] == ["36.4", "–", "72.7", "25.0", "57.8"]
    assert rows["own", "nothing yet", "pass rate"] == ["36.4", "25.0", "–", "–", "–"]
    assert {row[1] for row in table.rows if row[0] == "own"} == {"nothing yet", "unknown tasks; own programs"}


def test_comparisons_are_paired_tested_and_adjusted_together(tmp_path: Path) -> None:
    first = a_run(tmp_path / "first", apps=(apps(0.5), apps(0.5)))
    second = a_run(tmp_path / "second", apps=(apps(0.5), apps(1.0)))
    table = tables(first, second)["Compared on the same tasks"]
    rows = {row[1]: row for row in table.rows}
    assert [*rows] == ["first: before, after", "second: before, after", "first, second: after"]
    p_value = 2 / 2**8  # 8 tasks won, none lost
    assert rows["first, second: after"][5:] == ("8, 0", f"{p_value:.3g}", f"{3 * p_value:.3g}")
    assert rows["first: before, after"][5:] == ("0, 0", "1", "1")
    assert rows["first, second: after"][4].startswith("+72.7 [")


def test_tasks_of_other_content_are_not_paired(tmp_path: Path) -> None:
    other = [{**row, "task_digest": "another"} for row in apps(1.0)]
    first, second = a_run(tmp_path / "a", apps=(apps(0.5), apps(0.5))), a_run(tmp_path / "b", apps=(other, other))
    rows = {row[1] for row in tables(first, second)["Compared on the same tasks"].rows}
    assert rows == {"a: before, after", "b: before, after"}


def test_a_run_that_was_rolled_back_is_judged_by_the_round_that_stands(tmp_path: Path) -> None:
    run = a_run(tmp_path / "back", apps=(apps(1.0), apps(0.0)))
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "rolled_back_to": 1}))
    rows = {row[:2]: row for row in tables(run)["apps: pass rate and accuracy by difficulty"].rows}
    assert rows["back, after", "accuracy"][-1].startswith("72.7 ")


def test_text_markdown_and_the_page_have_the_same_cells(tmp_path: Path) -> None:
    run = a_run(tmp_path / "gpt2", apps=(apps(0.5), apps(1.0)))
    page = write_report([run]).read_text()
    for table in tables(run).values():
        text, markdown = as_text(table), as_markdown(table)
        assert text.splitlines()[0] == table.title
        lines = [line for line in markdown.splitlines() if line.startswith("| ")]
        assert [tuple(cell.strip() for cell in line.strip("| ").split(" | ")) for line in (lines[0], *lines[2:])] == [
            table.header,
            *table.rows,
        ]
        for row in table.rows:
            assert "  ".join(row[: table.words]) in re.sub(" {2,}", "  ", text)
            assert "".join(f"<td>{cell}</td>" for cell in row) in page
    # what stands in a name is no mark-up
    assert r"| a\|b |" in as_markdown(Table("t", ("a|b",), ()))


@pytest.mark.parametrize("flag", [[], ["--markdown"]])
def test_the_command_prints_the_tables(tmp_path: Path, flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "gpt2", apps=(apps(0.5), apps(1.0)))
    assert main(["report", str(run), *flag]) == 0
    out = capsys.readouterr().out
    assert "100.0 [51.0, 100.0]" in out
    assert ("| gpt2, after | accuracy |" in out) == bool(flag)
    assert (out.splitlines()[-1] == str(run / "report.html")) != bool(flag)


@pytest.mark.parametrize(
    "row", ["[1]", "{}", '{"task_id": 3}', '{"task_id": "a", "status": "fail", "pass_rate": 7}', "{torn"]
)
def test_rows_that_are_no_verdicts_are_left_out(tmp_path: Path, row: str) -> None:
    run = a_run(tmp_path / "gpt2", apps=(apps(0.5), apps(1.0)))
    whole = tables(run)
    for index in (0, 2):
        with (run / "verdicts" / f"eval_{index:03d}_apps.jsonl").open("a") as file:
            file.write(row + "\n")
    assert tables(run) == whole
    (run / "verdicts" / "eval_002_apps.jsonl").write_text(row + "\n")
    write_report([run])
