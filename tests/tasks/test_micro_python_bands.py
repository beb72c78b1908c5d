"""The bands of micro_python: harder chains, held out by behaviour, with cases that grade; programs are our own."""

import hashlib
import json
import random
import re
from itertools import combinations

import pytest

from pper_jax.errors import UserError
from pper_jax.models import resolve_model
from pper_jax.models.hf import load_tokenizer
from pper_jax.tasks import load_tasks, open_tasks, program_text, trim_at_stop
from pper_jax.tasks.micro_python import BAND_SPLITS, SPLITS, generate, inject_bug
from pper_jax.tasks.micro_python.band_cases import GRADED, MOST, SAME, make_graded_cases
from pper_jax.tasks.micro_python.bands import BANDS, CLOSE, SIDES, band_of, band_universe, habit_lines
from pper_jax.tasks.micro_python.cases import constants
from pper_jax.tasks.micro_python.generate import find_spec, passes
from pper_jax.tasks.micro_python.mistakes import single_mistakes
from pper_jax.tasks.micro_python.operation import HARD
from pper_jax.tasks.micro_python.universe import (
    HELD_OUT_PAIR,
    assigned,
    body,
    draw_arguments,
    fingerprint,
    lines_of,
    probes,
    reference_body,
    run_lines,
    stable_hash,
)

PROMPT, COMPLETION = 128, 64  # tokens of the demo model's, of its context of 256
TASKS = 24  # of each split


@pytest.fixture(scope="module")
def tasks():
    """Split -> its first tasks."""
    return {split: generate(split, TASKS, 0) for split in BAND_SPLITS}


@pytest.fixture(scope="module")
def specs_and_cases(tasks):
    return [(find_spec(task), task.tests["cases"]) for split in BAND_SPLITS for task in tasks[split]]


def pass_rate(spec, lines, cases):
    return sum(passes(spec, body(lines, spec.variable), case) for case in cases) / len(cases)


def with_habits(spec, mistaken):
    """The lines of the right program with the steps of ``mistaken`` wrong by habit."""
    pairs = zip(lines_of(spec), habit_lines(spec), strict=True)
    return tuple(habit if i in mistaken else right for i, (right, habit) in enumerate(pairs))


def mean_pass_rates(specs_and_cases):
    """For each number of steps that are wrong by habit, the mean pass rate over tasks and choices of those steps."""
    rates = {wrong: [] for wrong in range(4)}
    for spec, cases in specs_and_cases:
        for wrong, found in rates.items():
            found += [pass_rate(spec, with_habits(spec, steps), cases) for steps in combinations(range(3), wrong)]
    return [sum(found) / len(found) for found in rates.values()]


def results_on_probes(spec):
    return [run_lines(spec.takes, lines_of(spec), args) for args in probes(spec.takes)]


@pytest.mark.parametrize("split", BAND_SPLITS)
def test_a_split_has_room_for_512_tasks_with_names_of_their_own(split):
    assert len({name[:8] for name in band_universe(split)}) == len(band_universe(split)) >= 512


@pytest.mark.parametrize("split", BAND_SPLITS)
def test_a_band_is_how_hard_the_operations_are(split):
    for spec in band_universe(split).values():
        operations = [step.operation for step in spec.steps]
        assert f"band{band_of(operations)}" == split.split("_")[1]
        hard = sum(operation.difficulty == HARD for operation in operations)
        assert hard >= 2 if split.endswith("4") else hard == split.endswith("3")
        assert len({operation.name for operation in operations}) == 3
        assert spec.kind == "list_three_steps"


def test_no_behaviour_is_on_both_sides_or_in_the_other_splits():
    names = {side: {n for band in BANDS for n in band_universe(f"{side}_band{band}")} for side in SIDES}
    assert not names["train"] & names["heldout"]
    others = {name for split in SPLITS for name in assigned()[split]}
    assert not (names["train"] | names["heldout"]) & others
    for split in BAND_SPLITS:
        sample = random.Random(split).sample(sorted(band_universe(split).items()), 50)
        assert [name for name, spec in sample if fingerprint(spec) != name] == []


@pytest.mark.parametrize("band", BANDS)
def test_no_held_out_behaviour_is_close_to_a_training_one_of_its_band(band):
    training = [results_on_probes(spec) for spec in band_universe(f"train_band{band}").values()]
    held_out = list(band_universe(f"heldout_band{band}").values())
    for spec in random.Random(band).sample(held_out, 100):
        results = results_on_probes(spec)
        assert max(sum(a == b for a, b in zip(results, other, strict=True)) for other in training) < CLOSE


@pytest.mark.parametrize("split", BAND_SPLITS)
def test_no_pair_is_one_that_heldout_composition_holds_out(split):
    pairs = {pair for spec in band_universe(split).values() for pair in spec.pairs}
    assert [pair for pair in pairs if stable_hash(pair) % HELD_OUT_PAIR == 0] == []


def test_tasks_depend_on_split_count_and_seed_alone(tasks):
    for split in ("train_band4", "heldout_band1"):
        assert generate(split, TASKS, 0) == tasks[split]
        assert generate(split, 5, 0) == tasks[split][:5]
        assert generate(split, 5, 1) != tasks[split][:5]


def test_the_tasks_are_those_of_the_figures_in_the_notes(tasks):
    """Change the digest only together with the figures."""
    texts = [json.dumps(task.to_json()) for split in BAND_SPLITS for task in tasks[split]]
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16] == "4b9818f7647b2d7b"


def test_the_three_splits_are_as_they_were_before_there_were_bands():
    texts = [json.dumps(task.to_json()) for split in SPLITS for task in generate(split, 10, 7)]
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16] == "a8b6869b9822c6ee"


def test_references_pass_all_their_cases(specs_and_cases):
    assert [spec for spec, cases in specs_and_cases if pass_rate(spec, lines_of(spec), cases) != 1] == []


def test_no_constant_passes_half_of_the_cases(specs_and_cases):
    for spec, cases in specs_and_cases:
        expected = [case["expected"] for case in cases]
        assert max(map(expected.count, expected)) < len(cases) / 2, spec


def test_every_single_mistake_that_fresh_inputs_show_fails_a_case(specs_and_cases):
    shown = 0
    for spec, cases in specs_and_cases:
        rng = random.Random(f"fresh {spec}")
        fresh = [draw_arguments(spec.takes, rng, constants(spec)) for _ in range(60)]
        right = [{"args": args, "expected": run_lines(spec.takes, lines_of(spec), args)} for args in fresh]
        for lines in single_mistakes(spec):
            if pass_rate(spec, lines, right) < 1:
                shown += 1
                assert pass_rate(spec, lines, cases) < 1, (spec, lines)
    assert shown > 5 * len(specs_and_cases)


def test_the_more_steps_are_right_the_more_cases_pass(specs_and_cases):
    right, one, two, three = mean_pass_rates(specs_and_cases)
    assert right == 1
    assert 0.25 < one < 0.5
    assert 2 * two < one
    assert 2 * three < two


def test_most_programs_with_one_step_wrong_by_habit_pass_some_cases_and_none_passes_all(specs_and_cases):
    rates = [pass_rate(spec, with_habits(spec, [i]), cases) for spec, cases in specs_and_cases for i in range(3)]
    assert max(rates) < 1
    assert sum(rate > 0 for rate in rates) > 0.7 * len(rates)


def test_cases_are_few_distinct_and_json_gives_them_back(specs_and_cases):
    for _, cases in specs_and_cases:
        assert SAME <= len(cases) <= MOST
        assert len({repr(case["args"]) for case in cases}) == len(cases)
        assert json.loads(json.dumps(cases)) == cases
    sizes = [len(cases) for _, cases in specs_and_cases]
    assert sum(size >= GRADED for size in sizes) > 0.9 * len(sizes)


def test_the_cases_of_a_task_are_shared_with_no_other():
    spec = next(iter(band_universe("train_band4").values()))
    first, second = (make_graded_cases(spec, random.Random(0)) for _ in range(2))
    assert first == second
    for case in first:
        case["args"][0].append(99)
    assert make_graded_cases(spec, random.Random(0)) == second


def test_prompts_and_references_fit_into_the_demo_model(tasks):
    tokenizer = load_tokenizer(resolve_model("micro"), None)
    for split in BAND_SPLITS:
        for task in tasks[split]:
            assert len(tokenizer(task.prompt)["input_ids"]) <= PROMPT
            assert len(tokenizer(task.reference)["input_ids"]) < COMPLETION


def test_a_task_is_one_of_its_split_and_no_stop_cuts_it(tasks):
    for split in BAND_SPLITS:
        for task in tasks[split]:
            assert re.fullmatch(f"micro/{split}/list_three_steps/[0-9a-f]{{8}}", task.task_id)
            assert (task.split, task.source) == (split, "micro_python")
            assert reference_body(find_spec(task)) == task.reference
            assert trim_at_stop(task.reference, task.stop) == (task.reference, None)
            scope = {}
            exec(program_text(task, task.reference), scope)
            shown = task.prompt.split(">>> ")[1].splitlines()
            assert repr(eval(shown[0], scope)) == shown[1].strip()


def test_a_bug_can_be_injected(tasks):
    for task in tasks["heldout_band4"]:
        bug = inject_bug(task, random.Random(0))
        assert bug is not None
        assert not all(passes(find_spec(task), bug, case) for case in task.tests["cases"])


def test_bands_are_asked_for_as_every_split_is(tasks):
    assert open_tasks("micro_python:heldout_band4:5:0") == tasks["heldout_band4"][:5]
    assert load_tasks("micro_python", split="train_band2", count=5, seed=0) == tasks["train_band2"][:5]
    with pytest.raises(UserError, match=r"no split 'train_band5'; choose one of train, .*heldout_band4"):
        generate("train_band5", 1, 0)
    with pytest.raises(UserError, match=r"has \d+ tasks in split train_band4; 100000 cannot be drawn"):
        generate("train_band4", 100000, 0)


def test_a_ladder_has_as_many_of_each_band_and_the_easy_ones_first():
    ladder = generate("heldout_bands", 10, 3)
    assert [task.split for task in ladder] == [f"heldout_band{band}" for band in (1, 1, 1, 2, 2, 2, 3, 3, 4, 4)]
    assert ladder[3:6] == generate("heldout_band2", 3, 3)
    assert len(generate("train_bands", 2, 0)) == 2
    for count in (0, -1):
        with pytest.raises(UserError, match=f"2304 tasks in split train_bands; {count} cannot be drawn"):
            generate("train_bands", count, 0)
