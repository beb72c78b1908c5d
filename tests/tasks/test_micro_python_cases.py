"""micro_python's cases tell right from wrong; programs are our own and are run in this process."""

import random
from collections import Counter

import pytest
from micro_python_leaks import leaks

from pper_jax.tasks.micro_python import SPLITS, generate
from pper_jax.tasks.micro_python.cases import EMPTY, constants, make_cases
from pper_jax.tasks.micro_python.generate import find_spec
from pper_jax.tasks.micro_python.left_out import LEFT_OUT
from pper_jax.tasks.micro_python.mistakes import all_mistakes, single_mistakes, write_mistake, write_program
from pper_jax.tasks.micro_python.universe import (
    assigned,
    body,
    compile_body,
    copied,
    draw_arguments,
    reference_body,
    universe,
)

TYPES = tuple(EMPTY)
SAMPLE = 40  # tasks of each split, everyday


def fresh_inputs(spec, count, seed):
    """Inputs that no task was made of."""
    rng = random.Random(f"fresh {spec} {seed}")
    return [draw_arguments(spec.takes, rng, constants(spec)) for _ in range(count)]


def results(takes, text, inputs):
    """What a body returns on each input; the exception's type where it raises."""
    function = compile_body(takes, text)
    found = []
    for args in inputs:
        try:
            found.append(function(*copied(args)))
        except Exception as error:
            found.append(type(error))
    return found


def passes_all(spec, text, cases):
    function = compile_body(spec.takes, text)
    try:
        return all(function(*copied(case["args"])) == case["expected"] for case in cases)
    except Exception:
        return False


def differs(spec, text, inputs):
    return results(spec.takes, text, inputs) != results(spec.takes, reference_body(spec), inputs)


def of_lines(spec, programs):
    return [body(lines, spec.variable) for lines in programs]


def passing_others(spec, cases):
    """References of all other behaviours of the universe with the same arguments that pass."""
    specs = (other for split in assigned().values() for other in split.values())
    texts = (reference_body(other) for other in specs if other.takes == spec.takes and other != spec)
    return [text for text in texts if passes_all(spec, text, cases)]


def specs_and_cases(count):
    """``count`` behaviours of each split (None: all) with the cases of a task of each."""
    for split in SPLITS:
        specs = list(universe()[split].values())
        for spec in specs if count is None else random.Random(split).sample(specs, count):
            yield spec, make_cases(spec, random.Random(f"cases {spec}"))


@pytest.fixture(scope="module")
def sampled():
    return list(specs_and_cases(SAMPLE))


def passing(spec, cases):
    """What passes: the reference, references of other behaviours, programs with one or more mistakes."""
    mistaken = [text for text in of_lines(spec, all_mistakes(spec)) if passes_all(spec, text, cases)]
    return [reference_body(spec), *passing_others(spec, cases), *mistaken]


def refuted(spec, texts):
    """Those that 150 fresh inputs show to be wrong."""
    inputs = fresh_inputs(spec, 150, "after passing")
    return [(spec, text) for text in texts if differs(spec, text, inputs)]


def test_the_first_case_is_the_empty_input(sampled):
    assert [spec for spec, cases in sampled if cases[0]["args"] != EMPTY[spec.takes]] == []


@pytest.mark.parametrize("split", SPLITS)
def test_no_constant_passes(split):
    for task in generate(split, 320, 0):
        expected = [case["expected"] for case in task.tests["cases"]]
        assert any(value != expected[0] for value in expected), task.task_id


@pytest.mark.parametrize(
    "text", ["{v}", "{v}[0]", "{v}[:1]", "len({v})", "sorted({v})", "list({v})", "not {v}", "None"]
)
def test_no_simple_program_passes_but_one_that_is_right(sampled, text):
    for spec, cases in sampled:
        program = body([f"return {text.format(v=spec.variable)}"], spec.variable)
        if passes_all(spec, program, cases):
            assert not differs(spec, program, fresh_inputs(spec, 150, "simple"))


def test_no_other_behaviour_s_reference_passes(sampled):
    assert [(spec, text) for spec, cases in sampled for text in passing_others(spec, cases)] == []


def test_every_single_mistake_that_fresh_inputs_show_fails_a_case(sampled):
    for spec, cases in sampled:
        inputs = fresh_inputs(spec, 150, "single")
        for text in of_lines(spec, single_mistakes(spec)):
            assert not (passes_all(spec, text, cases) and differs(spec, text, inputs)), (spec, text)


def test_single_mistakes_are_those_that_the_pretraining_text_makes(sampled):
    for spec, _ in sampled:
        written = {write_mistake(spec, random.Random(seed)) for seed in range(60)}
        assert written <= set(of_lines(spec, single_mistakes(spec)))
        written = {write_program(spec, random.Random(seed), 0.9) for seed in range(60)}
        assert written <= {reference_body(spec), *of_lines(spec, all_mistakes(spec))}


def test_of_the_programs_that_pass_hardly_any_is_wrong(sampled):
    found = [(spec, passing(spec, cases)) for spec, cases in sampled[::4]]
    passed = sum(len(texts) for _, texts in found)
    wrong = [pair for spec, texts in found for pair in refuted(spec, texts)]
    assert passed > len(found)
    assert len(wrong) <= 0.005 * passed, wrong


def test_a_task_has_few_cases(sampled):
    sizes = Counter(len(cases) for _, cases in sampled)
    assert min(sizes) == sizes.most_common(1)[0][0] == 12
    assert max(sizes) <= 16


def test_a_task_s_own_data_is_shared_with_no_other_task():
    spec = next(spec for spec in universe()["train"].values() if spec.takes == "list")
    first, second = (make_cases(spec, random.Random(0)) for _ in range(2))
    assert first == second
    for case in first:
        case["args"][0].append(99)
    assert make_cases(spec, random.Random(0)) == second


@pytest.mark.parametrize("near", [(), range(-5, 15)])
def test_no_held_out_behaviour_equals_a_training_one_on_60_fresh_inputs(near):
    for takes in TYPES:
        rng = random.Random(f"fresh {takes} {near}")
        inputs = [draw_arguments(takes, rng, near) for _ in range(60)]

        def seen(split, takes=takes, inputs=inputs):
            specs = (spec for spec in universe()[split].values() if spec.takes == takes)
            return {repr(results(takes, reference_body(spec), inputs)) for spec in specs}

        assert not seen("train") & (seen("heldout_kind") | seen("heldout_composition"))


def test_left_out_behaviours_are_held_out_ones_and_no_task_has_one():
    names = {name[:8] for split in SPLITS[1:] for name in assigned()[split]}
    assert names >= LEFT_OUT
    assert assigned()["train"] == universe()["train"]
    for split in SPLITS[1:]:
        drawn = {task.task_id.split("/")[-1] for task in generate(split, 100, 0)}
        assert not drawn & LEFT_OUT
        assert len(universe()[split]) >= 400


def test_a_task_of_a_behaviour_that_is_left_out_since_is_still_known():
    name, spec = next((name, spec) for name, spec in assigned()["heldout_kind"].items() if name[:8] in LEFT_OUT)
    task = generate("heldout_kind", 1, 0)[0]
    task = type(task)(f"micro/heldout_kind/{spec.kind}/{name[:8]}", task.prompt, task.tests)
    assert find_spec(task) == spec


@pytest.mark.slow
def test_the_list_of_left_out_behaviours_is_what_the_measure_gives():
    assert {name[:8] for name in leaks()} == LEFT_OUT


@pytest.mark.slow
def test_every_behaviour_of_the_universe_is_told_from_every_other_and_from_its_mistakes():
    """The cases of one task of each behaviour, against all behaviours of its type and all mistakes."""
    pairs = list(specs_and_cases(None))
    assert [spec for spec, cases in pairs if all(case["expected"] == cases[0]["expected"] for case in cases)] == []
    assert max(len(cases) for _, cases in pairs) <= 20
    found = [(spec, passing(spec, cases)) for spec, cases in pairs]
    passed = sum(len(texts) for _, texts in found)
    wrong = [pair for spec, texts in found for pair in refuted(spec, texts)]
    assert passed > len(pairs)
    assert len(wrong) <= 0.0005 * passed, wrong
