"""The report: every section, nothing loaded, escaped text, the same bytes, and whole pages from broken folders."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import report_runs
from html_pages import Page
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.errors import UserError
from pper_jax.report import gain_lines, load_run, write_report
from pper_jax.report.page import run_page

SECTIONS = ["headline", "heldout", "tables", "buffer", "verdicts", "time", "training", "replayed", "health", "settings"]


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return report_runs.build(tmp_path / "quickstart", steps=5)


def test_every_section_and_its_figures(run: Path) -> None:
    out = write_report([run])
    assert out == run / "report.html"
    page = read(out)
    assert [str(attrs["id"]) for attrs in page.of("section")] == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    links = [str(attrs["href"]) for attrs in page.of("a") if attrs.get("href")]
    assert {link[1:] for link in links} <= set(page.ids)
    charts = [attrs for attrs in page.of("svg") if attrs.get("class") == "chart"]
    assert len(charts) == 10
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    assert len({attrs["aria-label"] for attrs in charts}) == len(charts)
    assert len(page.of("figure")) == len(page.of("figcaption")) == len(charts)
    assert len(page.of("details")) == len(charts) + 10


def test_headline_says_gain_and_interval(run: Path) -> None:
    page = read(write_report([run]))
    expected = (
        "After 3 rounds the pass rate on heldout_kind (120 tasks) rose from 31.0 % to 39.4 %, "
        "a gain of 8.4 percentage points (95 % interval +5.3 to +11.8)."
    )
    assert expected in page.text[None]
    assert "clear gain" in page.text[None]
    assert "not finished" not in page.text[None]
    assert "31.0 % → 39.4 %" in page.text["headline"]


@pytest.mark.parametrize(
    ("difference", "low", "high", "said", "chip"),
    [
        (
            0.02,
            -0.01,
            0.05,
            "the 95 % interval of the change, −1.0 to +5.0, includes zero: no clear effect",
            "no clear effect",
        ),
        (-0.04, -0.06, -0.02, "a loss of 4.0 percentage points (95 % interval −6.0 to −2.0)", "clear loss"),
        (0.0, -0.02, 0.02, "stayed at 31.0 %, but the 95 % interval", "no clear effect"),
    ],
)
def test_headline_does_not_oversell(
    run: Path, difference: float, low: float, high: float, said: str, chip: str
) -> None:
    summary = json.loads((run / "summary.json").read_text())
    row = summary["splits"]["heldout_kind"]
    row["after"]["pass_rate"] = row["before"]["pass_rate"] + difference
    row["gain"]["pass_rate"] = {"difference": difference, "low": low, "high": high}
    (run / "summary.json").write_text(json.dumps(summary))
    text = read(write_report([run])).text[None]
    assert said in text
    assert chip in text


def test_numbers_of_the_tables(run: Path) -> None:
    page = read(write_report([run]))
    assert "31.1 % to" not in page.text["heldout"]
    assert "26.0 % to 36.5 %" in page.text["heldout"]  # the interval of round 0
    assert "90 (25.2 %)" in page.text["verdicts"]  # 90 of 357 programs pass in round 1
    assert "11 min 00 s in all; 34 % of it: test." in page.text["time"]
    assert "output limit" in page.text["verdicts"]
    assert "3 programs" not in page.text[None]
    assert "2 programs have no verdict" in page.text[None]


def test_settings_reproduce(run: Path) -> None:
    text = read(write_report([run])).text["settings"]
    for part in ("pper run configs/quickstart.yaml", "4e04899c1f7b2d", "0.10.2", "omega: 0.7", "cpu:0"):
        assert part in text


def test_replayed_programs_are_escaped_and_readable(run: Path) -> None:
    out = write_report([run])
    page = read(out)
    assert page.of("script") == []
    assert "<script>alert" not in out.read_text()
    text = page.text["replayed"]
    assert text.count(report_runs.COMPLETION) == 10
    assert "def f0(items):" in text  # the prompt came from tasks.jsonl
    assert "Rank 1 of 1,080 by P2Value" in text
    assert "(4 of 5 tests)" in text  # from the verdicts
    assert "micro/109" in text
    assert "micro/110" not in text


def test_nothing_is_loaded(run: Path) -> None:
    out = write_report([run])
    source = out.read_text()
    assert not re.search(r"https?:|url\(|@import|xlink", source)
    page = read(out)
    loads = [attrs.get(key) for _, attrs in page.tags for key in ("src", "href", "data", "srcset") if attrs.get(key)]
    assert all(str(value).startswith(("#", "data:,")) for value in loads)
    assert {"img", "iframe", "object", "script"}.isdisjoint(tag for tag, _ in page.tags)
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)


def test_same_folder_same_bytes(run: Path, tmp_path: Path) -> None:
    first = write_report([run]).read_bytes()
    assert write_report([run], tmp_path / "again.html").read_bytes() == first
    assert not list(run.glob("*.part"))


def test_html_in_every_name_is_escaped(run: Path) -> None:
    evil = "<b onclick='x'>\"&"
    (run / "summary.json").unlink()
    text = (run / "metrics.jsonl").read_text()
    for word in ("heldout_kind", '"fail"', '"evaluate"'):
        text = text.replace(word, json.dumps(evil) if word.startswith('"') else json.dumps(evil)[1:-1])
    (run / "metrics.jsonl").write_text(text)
    (run / "config.yaml").write_text(f"name: {json.dumps(evil)}\nrounds: 3\n")
    (run / "environment.json").write_text(
        json.dumps({"git": evil, "command": evil, "started": evil, "devices": [evil], evil: evil})
    )
    (run / "replayed.json").write_text(
        json.dumps({"programs": [{"task_id": evil, "reason": evil, "prompt": evil, "status": evil}]})
    )
    page = read(write_report([run]))
    assert page.of("b") == [{}] * 4  # only our own, around the facts of the header
    assert evil in page.text["settings"]
    assert evil in page.text["replayed"]


def test_half_done_run_says_so(run: Path) -> None:
    for name in ("summary.json", "replayed.json"):
        (run / name).unlink()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    stop = next(at for at, line in enumerate(lines) if '"train", "round": 2' in line)
    (run / "metrics.jsonl").write_text("\n".join(lines[: stop + 2]) + '\n{"event": "train", "ro')
    page = read(write_report([run]))
    assert "not finished: its last record is of training, in round 2 of 3" in page.text[None]
    assert "After 1 round the pass rate on heldout_kind (120 tasks) rose from 31.0 % to 33.8 %" in page.text[None]
    assert "no interval has been computed" in page.text[None]
    assert "could not be read" not in page.text[None]
    assert "not written down yet" in page.text["replayed"]


def test_run_that_only_began(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("rounds: 3\n")
    page = read(write_report([tmp_path]))
    assert [str(attrs["id"]) for attrs in page.of("section")] == SECTIONS
    assert "nothing has been recorded yet" in page.text[None]
    assert "metrics.jsonl is not there." in page.text[None]
    assert all("yet" in page.text[name] for name in SECTIONS[:-1])


def test_broken_lines_are_counted_and_the_rest_is_read(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([lines[0], "{torn", "[1, 2]", *lines[1:]]) + "\n")
    (run / "environment.json").write_text("{")
    (run / "config.yaml").write_text("a: [1\n")
    data = load_run(run)
    assert data.notes == (
        "config.yaml is not valid YAML.",
        "1 line of metrics.jsonl could not be read.",
        "environment.json is not valid JSON.",
    )
    assert len(data.of("eval")) == 8
    assert "1 line of metrics.jsonl could not be read." in read(write_report([run])).text[None]


def test_rows_written_again_after_a_resume_replace_the_first(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"event": "train", "round": 3, "step": 15, "loss": 9.5}) + "\n")
        file.write(json.dumps({"event": "phase", "round": 3, "phase": "train", "seconds": 7}) + "\n")
    data = load_run(run)
    rows = [row for row in data.of("train") if row["step"] == 15]
    assert [row["loss"] for row in rows] == [9.5]
    assert data.seconds()[3]["train"] == 70.0


def test_verdict_files_stand_in_for_missing_test_events(run: Path) -> None:
    lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"event": "test"' not in line]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert load_run(run).statuses == {1: {"fail": 3}}


def test_warnings_from_the_numbers_and_from_the_run(run: Path) -> None:
    rows = [
        {"event": "replay", "round": 1, "zero_pass_share": 0.61, "effective_sample_size": 0.015},
        {"event": "replay", "round": 2, "zero_pass_share": 0.9, "warnings": ["the loop's own words"]},
        {"event": "train", "round": 1, "step": 1, "loss": 1.0, "grad_norm": 0.0},
        {"event": "train", "round": 2, "step": 2, "loss": float("nan"), "grad_norm": 1.0},
    ]
    report_runs.jsonl(run / "metrics.jsonl", rows)
    text = read(write_report([run])).text["health"]
    assert "Round 1: 61 % of the draws go to programs that pass no test" in text
    assert "the effective sample size is 1.5 % of the buffer" in text
    assert "Round 2: the loop's own words" in text
    assert "90 %" not in text.split("Warnings:")[1]
    assert "Round 1: no weight changed" in text
    assert "Round 2: the loss is not a number in 1 step." in text


def test_healthy_run_has_no_warning(run: Path) -> None:
    text = (run / "metrics.jsonl").read_text().replace('"infrastructure": 2', '"infrastructure": 0')
    (run / "metrics.jsonl").write_text(text)
    page = read(write_report([run]))
    assert "No warnings" in page.text["health"]
    assert "with care" not in page.text[None]


def test_comparison(run: Path, tmp_path: Path) -> None:
    other = report_runs.build(tmp_path / "uniform", steps=5, name="uniform", shift=-0.022)
    (other / "environment.json").unlink()
    out = write_report([run, other])
    assert out == tmp_path.resolve() / "comparison.html"
    page = read(out)
    assert [attrs["id"] for attrs in page.of("section")] == ["gains", "tables", "curves", "work", "settings"]
    assert "The largest gain in pass rate on heldout_kind is that of quickstart: +8.4 points" in page.text[None]
    assert "1 run shows a clear gain" in page.text[None]
    assert "+1.8" in page.text["gains"]
    assert "−1.3 to +5.2" in page.text["gains"]
    assert "replay.omega" in page.text["settings"]
    assert "beam.width" not in page.text["settings"]
    assert len([attrs for attrs in page.of("svg") if attrs.get("class") == "chart"]) == 8


def test_comparison_of_unlike_and_unfinished_runs(run: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.yaml").write_text("name: quickstart\n")
    page = read(write_report([bare, run], tmp_path / "both.html"))
    assert "bare: This run is not finished" in page.text[None]  # folder names, as the names of the runs are the same
    assert "that of quickstart" in page.text[None]
    empty = read(write_report([bare, bare]))
    assert "None of these runs has a result to compare yet." in empty.text[None]


def test_wrong_use_is_one_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder was given"):
        write_report([])
    with pytest.raises(UserError, match=r"there is no run folder at .*nowhere"):
        write_report([tmp_path / "nowhere"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="is not a run folder"):
        write_report([empty])
    with pytest.raises(UserError, match="cannot be written"):
        write_report([run], tmp_path / "no" / "such" / "folder.html")
    with pytest.raises(UserError, match="cannot be written"):
        write_report([run], empty)


def test_a_page_never_takes_the_place_of_a_file_of_the_run(run: Path) -> None:
    for name in ("config.yaml", "metrics.jsonl", "tasks.jsonl"):
        before = (run / name).read_bytes()
        with pytest.raises(UserError, match="cannot write"):
            write_report([run], run / name)
        assert (run / name).read_bytes() == before


def test_runs_of_different_tasks_say_so(run: Path, tmp_path: Path) -> None:
    other = report_runs.build(tmp_path / "other", steps=5)
    assert "None differ" in read(write_report([run, other])).text["settings"]
    lines = (other / "tasks.jsonl").read_text().splitlines()
    (other / "tasks.jsonl").write_text("\n".join([json.dumps({**json.loads(lines[0]), "prompt": "x"}), *lines[1:]]))
    text = read(write_report([run, other])).text["settings"]
    assert "content of the tasks" in text
    assert f"{len(lines)} tasks" in text


def test_gain_lines_of_a_summary_without_figures_say_unknown() -> None:
    for gain in ({}, {"difference": None, "low": None, "high": None}, {"difference": float("nan")}, 3):
        lines = gain_lines({"splits": {"held": {"before": {"pass_rate": None}, "gain": {"pass_rate": gain}}}})
        assert len(lines) == 2
        assert "unknown -> unknown" in lines[0]
    assert gain_lines({"splits": [1]}) == gain_lines({}) == []


@pytest.mark.parametrize(
    "text", ["name: 2020-13-45\n", "seed: 0x_\n", "a: " + "[" * 3000, "a: &a [*a]\n", "a: 1\na: 2\n"]
)
def test_a_configuration_that_is_none_still_gives_a_page(run: Path, text: str) -> None:
    (run / "config.yaml").write_text(text)
    write_report([run])


NUMBERS = st.one_of(st.floats(-1e9, 1e9), st.integers(-3, 10**6), st.just(10**400), st.just(float("nan")))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from(["", "x", "<&>"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=4,
)
HISTOGRAMS = st.one_of(
    VALUES, st.fixed_dictionaries({"edges": st.lists(NUMBERS, max_size=4), "counts": st.lists(NUMBERS, max_size=3)})
)
ROWS = st.fixed_dictionaries(
    {"event": st.sampled_from(["eval", "sample", "test", "replay", "train", "phase", "other"])},
    optional=dict.fromkeys(("round", "split", "step", "statuses", "warnings", "phase", "tasks", "size"), VALUES)
    | dict.fromkeys(("pass_rate", "pass_rate_low", "accuracy", "loss", "grad_norm", "seconds"), NUMBERS)
    | dict.fromkeys(("p2value_hist", "pass_rate_hist"), HISTOGRAMS)
    | dict.fromkeys(("effective_sample_size", "zero_pass_share"), NUMBERS),
)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(rows=st.lists(ROWS, max_size=6), summary=VALUES, splits=VALUES, replayed=VALUES)
def test_any_json_gives_a_page(
    tmp_path_factory: pytest.TempPathFactory, rows: list[object], summary: object, splits: object, replayed: object
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {"finished": True, "rounds": summary, "splits": {"s": splits}, "programs": splits}
    (folder / "summary.json").write_text(json.dumps(named if splits else summary))
    (folder / "replayed.json").write_text(
        json.dumps({"programs": [replayed, {"task_id": replayed, "completion": summary}]})
    )
    page = Page(run_page(load_run(folder)))
    assert [str(attrs["id"]) for attrs in page.of("section")] == SECTIONS
    drawn = [
        str(attrs.get(key, "")) for tag, attrs in page.tags if tag != "th" for key in ("d", "x", "y", "width", "height")
    ]
    assert not any("nan" in place or "inf" in place for place in drawn)


def test_reporting_needs_no_jax() -> None:
    code = "import sys, pper_jax.report; sys.exit(any(name in sys.modules for name in ('jax', 'matplotlib', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
