"""The pages of a study: what the tables say, what is missing, names that are no mark-up, nothing loaded, same bytes."""

from __future__ import annotations

import copy
import json
import re
import xml.etree.ElementTree as tree
from pathlib import Path
from typing import Any

import pytest
from html_pages import Page
from hypothesis import given
from hypothesis import strategies as st

from pper_jax.report import svg
from pper_jax.report.tables import plain_markdown
from pper_jax.study.page import FAILED, SECTIONS, SHARED, costs_of, lines, study_page, write_pages
from pper_jax.study.plots import MOST_LINES, frontier
from pper_jax.study.table import PARTS, markdown

AMOUNTS = ("sampled_tokens", "programs", "target_tokens", "updates")


def interval(difference: float, low: float, high: float, **more: float) -> dict[str, float]:
    return {"difference": difference, "low": low, "high": high, "p": 0.004, "least_effect": 0.062, **more}


def an_arm(*settings: str, **more: Any) -> dict[str, Any]:
    spent = dict(zip(AMOUNTS, (120_000.0, 4_800.0, 64_000.4, 96.0), strict=True))
    return {
        "settings": list(settings), "seeds": [0, 1], "ledger": spent, "apart": {}, "effective_sample_size": 0.4321,
        "distinct_programs": 0.91, "tasks_solved": 0.25, "tasks_partly": 0.5, "rounds_without_learning": 0,
        "entropy": [], **more,
    }  # fmt: skip


def judged(gain: float, against: dict[str, float] | None = None) -> dict[str, Any]:
    curve = [
        {"round": index, "pass_rate": 0.3 + gain * index / 2, **dict.fromkeys(AMOUNTS, 1000.5 * index)}
        for index in range(3)
    ]
    found = {"after": 0.3 + gain, "solved": 0.1, "gain": interval(gain, gain - 0.02, gain + 0.02), "curve": curve}
    return {**found, "each": {"0": gain}, **({} if against is None else {"against": against})}


def some_figures() -> dict[str, Any]:
    """Three arms on one set, all of them judged; the reference is not the first."""
    compared = {"wins": 2, "of": 2, "holm": 0.008}
    arms = {
        "p2value": judged(0.1, interval(0.055, 0.021, 0.089, **compared)),
        "uniform": judged(0.045),
        "greedy": judged(0.04, interval(-0.005, -0.03, 0.02, wins=0, of=2, holm=0.6)),
    }
    return {
        "study": "replay", "hypothesis": "P2Value gains\nmore than uniform draws.\n", "base": "../base.yaml",
        "settings": ["rounds=2"], "part": "dev", "reference": "uniform", "seeds": [0, 1], "failed": {},
        "arms": {
            "p2value": an_arm("replay.mode=p2value", "replay.alpha=0.5"),
            "uniform": an_arm(),
            "greedy": an_arm("replay.mode=greedy"),
        },
        "sets": {"held": {"arms": arms, "tasks": 64, "before": 0.3}},
    }  # fmt: skip


def renamed(figures: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The same figures with an arm of another name."""
    found = copy.deepcopy(figures)
    for place in (found, *found["sets"].values()):
        place["arms"] = {new if name == old else name: arm for name, arm in place["arms"].items()}
    return found


def rows_of(text: str, title: str) -> list[list[str]]:
    """The cells of the Markdown table under a title, its header first."""
    lines = text.split(f"**{title}**\n\n")[1].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [cells[0], *cells[2:]]


def test_the_table_of_a_held_out_set() -> None:
    assert rows_of(markdown(some_figures()), "held: 64 tasks") == [
        ["arm", "settings", "pass rate, %", "gain, points", "difference to uniform, points", "Holm p", "seeds won",
         "least effect, points"],
        ["p2value", "replay.mode=p2value; replay.alpha=0.5", "30.0 → 40.0", "+10.0 [+8.0, +12.0]",
         "+5.5 [+2.1, +8.9]", "0.008", "2 of 2", "6.2"],
        ["uniform", "–", "30.0 → 34.5", "+4.5 [+2.5, +6.5]", "reference", "–", "–", "–"],
        ["greedy", "replay.mode=greedy", "30.0 → 34.0", "+4.0 [+2.0, +6.0]", "-0.5 [-3.0, +2.0]", "0.6", "0 of 2",
         "6.2"],
    ]  # fmt: skip


def test_the_table_of_the_budget() -> None:
    table = rows_of(markdown(some_figures()), "Budget, means over runs")
    assert table[0][:6] == ["arm", "runs", "sampled tokens", "programs tested", "target tokens", "updates"]
    assert table[0][6:] == ["effective sample size, %", "tasks solved, %", "partly passed, %", "distinct programs, %"]
    assert table[1] == ["p2value", "2", "120,000", "4,800", "64,000", "96", "43.2", "25.0", "50.0", "91.0"]
    assert [row[0] for row in table[1:]] == ["p2value", "uniform", "greedy"]


def test_the_table_of_rounds_stands_where_one_between_was_judged() -> None:
    figures = some_figures()
    assert rows_of(markdown(figures), "held: pass rate by round, %") == [
        ["arm", "round 0", "round 1", "round 2"],
        ["p2value", "30.0", "35.0", "40.0"],
        ["uniform", "30.0", "32.2", "34.5"],
        ["greedy", "30.0", "32.0", "34.0"],
    ]
    for arm in figures["sets"]["held"]["arms"].values():
        del arm["curve"][1]
    assert "by round" not in markdown(figures)


def test_the_table_of_entropy_stands_where_it_was_measured() -> None:
    figures = some_figures()
    assert "Entropy" not in markdown(figures)
    figures["arms"]["uniform"]["entropy"] = [{"round": 0, "nats": 12.345}, {"round": 2, "nats": 9.0}]
    figures["arms"]["greedy"]["entropy"] = [{"round": 0, "nats": 12.345}]
    assert rows_of(markdown(figures), "Entropy by round, nats a program") == [
        ["arm", "round 0", "round 2"],
        ["uniform", "12.3", "9"],
        ["greedy", "12.3", "–"],
    ]


@pytest.mark.parametrize("part", ["dev", "test"])
def test_what_was_asked_stands_at_the_top(part: str) -> None:
    text = markdown({**some_figures(), "part": part})
    assert text.startswith("# replay\n\n> P2Value gains\n> more than uniform draws.\n\n- Held-out tasks, ")
    assert f"- Held-out tasks, {part}: {PARTS[part]}\n" in text
    assert "- Base ../base.yaml; all arms: rounds=2\n- Reference: uniform\n- Seeds: 0, 1\n" in text
    assert "with care" not in text


def troubled() -> dict[str, Any]:
    """One arm of which all runs failed, one of another budget, one that learnt nothing twice and has one seed."""
    found = some_figures()
    found["failed"] = {"gone-0": "no memory\nwas left", "gone-1": "it | broke"}
    found["arms"]["gone"] = an_arm(
        seeds=[], ledger={}, effective_sample_size=None, distinct_programs=None, tasks_solved=None, tasks_partly=None
    )
    found["arms"]["p2value"]["apart"] = {"target_tokens": 0.051, "programs": None}
    del found["sets"]["held"]["arms"]["p2value"]["against"]
    found["arms"]["greedy"] |= {"rounds_without_learning": 2, "seeds": [1]}
    return found


def test_what_is_to_be_read_with_care() -> None:
    text = markdown(troubled())
    assert text.split("To read with care:\n\n")[1].split("\n\n")[0].splitlines() == [
        "- gone-0 failed: no memory was left",
        r"- gone-1 failed: it \| broke",
        "- p2value is not compared, for its budget differs by more than 2 %: target tokens +5.1 %, "
        "programs tested any, where the reference has none",
        "- greedy had nothing to learn in 2 rounds",
        "- greedy has one seed: its interval is over tasks alone and says nothing of other seeds",
    ]
    rows = {row[0]: row[1:] for row in rows_of(text, "held: 64 tasks")}
    assert rows["gone"] == ["–", "–", "–", "no finished run", "–", "–", "–"]
    assert rows["p2value"][3:] == ["budget differs", "–", "–", "–"]
    assert rows["p2value"][1] == "30.0 → 40.0"
    assert rows_of(text, "Budget, means over runs")[-1] == ["gone", "0", *["–"] * 8]
    shown = Page(study_page(troubled(), {})).text[None]
    assert all(words in shown for words in ("gone-1 failed: it | broke", "greedy had nothing to learn in 2 rounds"))


def unknown(value: Any) -> Any:
    """The figures with null for every float."""
    if isinstance(value, dict):
        return {name: unknown(each) for name, each in value.items()}
    if isinstance(value, list):
        return [unknown(each) for each in value]
    return None if isinstance(value, float) else value


def bare() -> dict[str, Any]:
    """No arm was judged: the reference's runs failed, and all others."""
    found = some_figures()
    for arm in found["arms"].values():
        arm |= {"seeds": [], "ledger": {}}
    found["sets"] = {"held": {"arms": {}}}
    return found


def uncurved() -> dict[str, Any]:
    found = some_figures()
    for arm in found["sets"]["held"]["arms"].values():
        arm["curve"] = []
    return found


def untrained() -> dict[str, Any]:
    """Nothing was spent and nothing changed: one point a curve, at zero."""
    found = some_figures()
    for arm in found["sets"]["held"]["arms"].values():
        arm["curve"] = arm["curve"][:1]
        arm["gain"] = interval(0.0, 0.0, 0.0)
    return found


@pytest.mark.parametrize("figures", [some_figures(), troubled(), unknown(some_figures()), bare(), uncurved(),
                                     untrained(), {**some_figures(), "sets": {}}])  # fmt: skip
def test_every_arm_is_named_on_whole_pages_whatever_is_missing(figures: dict[str, Any]) -> None:
    page = Page(study_page(figures, {}))
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == [name for name, _ in SECTIONS]
    for row in [row[0] for row in rows_of(markdown(figures), "Budget, means over runs")[1:]]:
        assert row in page.text["budget"]
        assert row in page.text["settings"]
    assert {row[0] for row in rows_of(markdown(figures), "Budget, means over runs")[1:]} == set(figures["arms"])
    places = [str(attrs.get(key, "")) for _, attrs in page.tags for key in ("d", "x", "y", "cx", "cy")]
    assert not any("nan" in place or "inf" in place for place in places)
    assert all(line == line.rstrip() for line in lines(figures))
    assert "None" not in markdown(figures) + "".join(map(str, page.text.values()))


def test_what_is_not_known_is_a_dash() -> None:
    row = rows_of(markdown(unknown(some_figures())), "held: 64 tasks")[1]
    assert row[2:] == ["– → –", "–", "–", "–", "2 of 2", "–"]
    assert lines(unknown(some_figures()))[0] == "held  p2value  – -> –  to uniform –, Holm p –, 2 of 2 seeds"


def test_what_the_command_prints_stands_in_columns() -> None:
    figures = renamed(troubled(), "greedy", "greedy, with a longer name")
    assert lines(figures) == [
        "held  p2value                     30.0 % -> 40.0 %  not compared: its budget differs",
        "held  uniform                     30.0 % -> 34.5 %",
        "held  greedy, with a longer name  30.0 % -> 34.0 %  to uniform -0.5 [-3.0, +2.0], Holm p 0.600, 0 of 2 seeds",
    ]


def test_the_page_draws_each_comparison() -> None:
    page = Page(study_page(some_figures(), {"p2value": {"runs": 2, "cpu_s": 8.0, "wall_s": 6.0, "test_s": 1.0}}))
    assert page.charts() == [
        "held: difference to uniform",
        "held: gain",
        "held: pass rate by sampled tokens",
        "held: pass rate by programs tested",
        "held: pass rate by target tokens",
        "held: gain against target tokens",
        "held: gain against CPU seconds",
    ]
    assert "held: p2value above uniform (Holm p below 0.05)" in page.text[None]
    assert "p2value1,00035.0 %" in page.text["curves"]  # half of the tokens: 1000.5
    assert "p2value4+10.0yes" in page.text["cost"]  # 8 s of CPU in two runs
    assert "Entropy was not measured." in page.text["entropy"]


def test_entropy_stands_beside_gain() -> None:
    figures = some_figures()
    figures["arms"]["greedy"]["entropy"] = [{"round": 0, "nats": 12.5}, {"round": 2, "nats": 7.25}]
    page = Page(study_page(figures, {}))
    assert {"Entropy by round", "held: gain by round"} < set(page.charts())
    assert "greedy27.25" in page.text["entropy"]  # after round 2
    assert "p2value1+5.0" in page.text["entropy"]  # gain after round 1


def test_no_arm_that_differs_is_said_so() -> None:
    figures = some_figures()
    figures["sets"]["held"]["arms"]["p2value"]["against"]["holm"] = 0.05
    assert "held: none of 2 arms differs clearly from uniform" in Page(study_page(figures, {})).text[None]
    assert "held: no arm was compared" in Page(study_page(bare(), {})).text[None]


def test_many_arms_are_drawn_in_parts_that_all_have_the_reference() -> None:
    figures = some_figures()
    for index in range(20):
        figures["arms"][f"arm{index}"] = an_arm()
        figures["sets"]["held"]["arms"][f"arm{index}"] = judged(0.01 * index)
    text = study_page(figures, {})
    parts = [name for name in Page(text).charts() if name.startswith("held: pass rate by target tokens")]
    assert parts == [f"held: pass rate by target tokens ({index} of 4)" for index in (1, 2, 3, 4)]
    for part in parts:
        legend = text.split(f"<figcaption>{part}</figcaption>")[1].split("</ul>")[0]
        assert legend.count("<li>") <= MOST_LINES
        assert "</svg>uniform</li>" in legend
    markers = re.findall(r"<li>(<svg.*?</svg>)", text.split("<figcaption>held: gain against target tokens")[1])
    assert len(set(markers[:23])) == 23  # each arm has a marker of its own


EVIL = "<b onclick='x'>|`*a*`](x) & \"\\_y_"


def test_names_are_no_mark_up() -> None:
    figures = renamed(some_figures(), "p2value", EVIL)
    figures |= {"failed": {f"{EVIL}-0": EVIL}, "hypothesis": EVIL, "study": EVIL}
    figures["sets"] = {EVIL: figures["sets"]["held"]}
    page = Page(study_page(figures, {EVIL: {"runs": 1, "cpu_s": 8.0, "wall_s": 6.0, "test_s": 1.0}}))
    assert not [tag for tag, attrs in page.tags if tag == "b" and attrs]
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    for section in ("differences", "curves", "cost", "budget", "clock", "settings"):
        assert EVIL in page.text[section]
    text = markdown(figures)
    rows = rows_of(text, plain_markdown(f"{EVIL}: 64 tasks"))
    assert [len(row) for row in rows] == [8] * 4
    assert rows[1][0] == r"\<b onclick='x'\>\|\`\*a\*\`]\(x) \& " + r'"\\\_y\_'
    assert EVIL not in text


@given(st.text(max_size=30))
def test_plain_markdown_is_one_line_that_unescapes_to_the_text(text: str) -> None:
    shown = plain_markdown(text)
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", shown) == " ".join(text.split())
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<`*]", shown)
    assert "\n" not in shown


def test_a_page_loads_nothing() -> None:
    text = study_page(some_figures(), {})
    assert not re.search(r"https?:|url\(|@import|xlink", text)
    page = Page(text)
    loads = [attrs.get(key) for _, attrs in page.tags for key in ("src", "href", "data", "srcset") if attrs.get(key)]
    assert all(str(value).startswith(("#", "data:,")) for value in loads)
    assert {"img", "iframe", "object", "script"}.isdisjoint(tag for tag, _ in page.tags)
    assert "Made by pper study." in page.text[None]
    assert "prefers-color-scheme:dark" in text


def a_folder(folder: Path, figures: dict[str, Any], cost: float) -> Path:
    """A study's folder whose runs took ``cost`` seconds of CPU each, half of it running tests."""
    names = [("runs", f"{arm}-{seed}") for arm in figures["arms"] for seed in figures["seeds"]]
    for kind, name in [*names, ("shared", "before-0123")]:
        (folder / kind / name).mkdir(parents=True)
        rows = [{"event": "phase", "round": 1, "phase": phase, "seconds": cost / 2} for phase in ("test", "train")]
        (folder / kind / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "costs").mkdir(exist_ok=True)
        (folder / "costs" / f"{name}.json").write_text(json.dumps({"wall_s": 2 * cost, "cpu_s": cost}))
    (folder / "study.json").write_text(json.dumps(figures))
    return folder


def test_the_clock_is_on_the_page_alone(tmp_path: Path) -> None:
    quick, slow = (a_folder(tmp_path / str(cost), some_figures(), cost) for cost in (3.0, 7.0))
    assert write_pages(quick) == write_pages(slow) == some_figures()
    pages = [(folder / "study.html").read_text() for folder in (quick, slow)]
    assert (quick / "study.md").read_bytes() == (slow / "study.md").read_bytes() == markdown(some_figures()).encode()
    assert [Page(text).text["clock"].count("7.0 s") for text in pages] == [0, 4]
    write_pages(quick)
    assert (quick / "study.html").read_text() == pages[0]


def test_costs_are_those_of_each_arm_and_of_what_they_share_once(tmp_path: Path) -> None:
    figures = some_figures()
    figures["failed"] = {"greedy-1": "broke"}
    figures["arms"]["greedy"]["seeds"] = [0]
    folder = a_folder(tmp_path / "study", figures, 3.0)
    (folder / "costs" / "uniform-1.json").unlink()
    one = {"runs": 1, "cpu_s": 3.0, "wall_s": 6.0, "test_s": 1.5}
    two = {"runs": 2, "cpu_s": 6.0, "wall_s": 12.0, "test_s": 3.0}
    assert costs_of(folder, figures) == {"p2value": two, "uniform": one, "greedy": one, FAILED: one, SHARED: one}
    text = Page(study_page(figures, costs_of(folder, figures))).text["clock"]
    assert "p2value23.0 s6.0 s1.5 s" in text  # of one of its two runs
    assert "all runs together618 s36 s9.0 s" in text


POINTS = st.lists(st.tuples(st.integers(0, 9).map(float), st.integers(-5, 5).map(float)), max_size=12)


@given(POINTS)
def test_the_frontier_is_what_no_other_beats(points: list[tuple[float, float]]) -> None:
    beaten = {
        (cost, gain)
        for cost, gain in points
        if any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)
    }
    assert frontier(points) == sorted(set(points) - beaten)


def test_a_scatter_puts_points_where_they_are() -> None:
    series = [svg.Series("a", 1, (svg.Point(0, 0.0),)), svg.Series("b", 9, (svg.Point(10, 1.0, 0.5, 1.0),))]
    text = svg.scatter("t", series, x_label="x", y_format=str, frontier=[(0, 0.0), (10, 1.0)])
    left, right = svg.LEFT + 16, svg.WIDTH - svg.RIGHT - 24
    bottom, top = svg.HEIGHT - svg.BOTTOM, svg.TOP
    assert f'<circle class="dot" cx="{left}" cy="{bottom}"' in text
    assert f'd="M{left} {bottom}L{right} {top}"' in text
    assert f'<path class="bar" d="M{right} {(top + bottom) // 2}V{top}' in text
    assert text.count('<g class="c1">') == 2  # the ninth has the first colour, and another marker
    assert text.count("<circle") == 1


def test_the_differences_are_drawings_of_their_own(tmp_path: Path) -> None:
    figures = some_figures()
    (tmp_path / "study.json").write_text(json.dumps(figures))
    write_pages(tmp_path)
    for split in figures["sets"]:
        found = tree.parse(tmp_path / f"differences_{split}.svg").getroot()
        assert found.tag == "{http://www.w3.org/2000/svg}svg"
        assert "--ink" in (found[0].text or "")
