import copy
import hashlib
import json
import random
from collections import Counter

import pytest

from pper_jax.errors import UserError
from pper_jax.tasks import program_text, trim_at_stop
from pper_jax.tasks.micro_python import SPLITS, generate, inject_bug, pretraining_corpus
from pper_jax.tasks.micro_python.generate import (
    find_spec,
    make_prompt,
    make_task,
    passes,
    run_body,
    write_mistake,
    write_program,
)
from pper_jax.tasks.micro_python.operations import OPERATIONS
from pper_jax.tasks.micro_python.universe import (
    ARGUMENTS,
    Spec,
    Step,
    assigned,
    body,
    probes,
    reference_body,
    universe,
)

HELD_OUT = SPLITS[1:]
LONGEST_PROMPT, LONGEST_COMPLETION = 320, 200  # characters: with room in the demo model's 256 tokens


@pytest.fixture(scope="module")
def tasks():
    """Split -> 150 tasks."""
    return {split: generate(split, 150, 0) for split in SPLITS}


@pytest.fixture(scope="module")
def every_task(tasks):
    return [task for split in SPLITS for task in tasks[split]]


def function_of(program, name):
    """The function that a whole program defines, by nothing but Python."""
    scope = {}
    exec(program, scope)
    return scope[name]


def pass_rate(task, completion):
    """Share of the task's cases that a completion passes, by nothing but Python."""
    function = function_of(program_text(task, completion), task.entry_point)
    passed = 0
    for case in copy.deepcopy(task.tests["cases"]):
        try:
            result = function(*case["args"])
        except Exception:
            continue
        passed += type(result) is type(case["expected"]) and result == case["expected"]
    return passed / len(task.tests["cases"])


def behaviour_of(takes, completion):
    """What a completion returns on every probe."""
    function = function_of(f"def f({ARGUMENTS[takes]}):\n{completion}", "f")
    return takes, *(repr(function(*copy.deepcopy(args))) for args in probes(takes))


@pytest.fixture(scope="module")
def behaviours():
    """Split -> the behaviours of all references that it could ever give, whatever the seed."""
    return {
        split: [behaviour_of(spec.takes, reference_body(spec)) for spec in specs.values()]
        for split, specs in universe().items()
    }


def test_there_are_many_kinds(tasks):
    assert len({task.difficulty for task in tasks["train"]}) >= 12
    kinds = {split: {spec.kind for spec in universe()[split].values()} for split in SPLITS}
    assert kinds["heldout_kind"] <= kinds["train"]  # other behaviours of kinds that training has
    assert kinds["heldout_composition"] <= kinds["train"]
    assert len(kinds["heldout_kind"]) >= 12


def test_no_kind_is_crowded_out(tasks):
    counts = Counter(task.difficulty for task in tasks["train"])
    assert max(counts.values()) < 5 * min(counts.values())


def test_references_pass_all_their_cases(every_task):
    assert [task.task_id for task in every_task if pass_rate(task, task.reference) != 1] == []


def test_the_doctest_of_a_prompt_is_what_the_reference_returns(every_task):
    for task in every_task:
        shown = task.prompt.split(">>> ")[1].splitlines()
        name = task.entry_point
        function = function_of(program_text(task, task.reference), name)
        assert repr(eval(shown[0], {name: function})) == shown[1].strip()


def test_ten_to_twenty_cases_all_different_that_json_gives_back(every_task):
    for task in every_task:
        cases = task.tests["cases"]
        assert 10 <= len(cases) <= 20
        assert len({repr(case["args"]) for case in cases}) == len(cases)
        assert json.loads(json.dumps(cases)) == cases


def test_fields_of_a_task(every_task):
    for task in every_task:
        assert task.source == "micro_python"
        assert task.task_id.split("/")[:3] == ["micro", task.split, task.difficulty]
        assert task.tests["kind"] == "call"
        assert task.entry_point == task.tests["fn_name"]
    ids = [f"{split}/{behaviour[:8]}" for split, specs in universe().items() for behaviour in specs]
    assert len(set(ids)) == len(ids)


def test_no_stop_would_cut_a_reference_or_a_bug(every_task):
    for task in every_task:
        for text in (task.reference, inject_bug(task, random.Random(1)) or ""):
            assert trim_at_stop(text, task.stop) == (text, None)


def digest(*texts):
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def test_the_splits_and_texts_are_those_that_the_demo_model_was_trained_on(tasks):
    """The demo model's held-out figures rest on this: change the digests only together with the model."""
    splits = [f"{behaviour} {split}" for split in SPLITS for behaviour in sorted(assigned()[split])]
    assert digest(*splits) == "5222d1ab4975b184"
    assert digest(*(prompt + text for prompt, text in pretraining_corpus(500, 0, 0.5))) == "9c42eb91baafff7b"
    assert digest(*(task.prompt for task in tasks["train"])) == "1bafaac07074753a"


def test_the_tasks_are_those_of_the_figures_in_the_readme(tasks):
    """Change the digest only together with the figures."""
    assert digest(*(json.dumps(task.to_json()) for split in SPLITS for task in tasks[split])) == "e33d71e7167e392e"


def test_the_seed_decides(tasks):
    assert generate("train", 150, 0) == tasks["train"]
    other = generate("train", 150, 1)
    assert {task.task_id for task in other} != {task.task_id for task in tasks["train"]}
    assert list(pretraining_corpus(50, 3, 0.5)) == list(pretraining_corpus(50, 3, 0.5))
    assert list(pretraining_corpus(50, 3, 0.5)) != list(pretraining_corpus(50, 4, 0.5))


def test_more_tasks_are_the_same_tasks_and_more(tasks):
    assert generate("train", 40, 0) == tasks["train"][:40]


def test_all_behaviours_differ_within_and_between_splits(behaviours):
    everything = [behaviour for split in SPLITS for behaviour in behaviours[split]]
    assert len(everything) == sum(map(len, universe().values()))
    assert len(set(everything)) == len(everything)
    assert all(len(set(behaviour[1:])) > 1 for behaviour in everything)


@pytest.mark.parametrize("split", SPLITS)
def test_tasks_of_a_split_have_its_behaviours_whatever_the_seed(behaviours, split):
    its_own = set(behaviours[split])
    for seed in (0, 1, 2):
        for task in generate(split, 60, seed):
            assert behaviour_of(find_spec(task).takes, task.reference) in its_own


def test_no_compositions_but_the_held_out_ones_have_their_pairs():
    pairs = {split: [set(spec.pairs) for spec in specs.values()] for split, specs in universe().items()}
    seen_in_training = set().union(*pairs["train"], *pairs["heldout_kind"])
    assert all(these - seen_in_training for these in pairs["heldout_composition"])
    held_out = set().union(*pairs["heldout_composition"]) - seen_in_training
    assert len(held_out) >= 50
    names = {name for pair in held_out for name in pair.split(">")}
    assert names <= {name for pair in seen_in_training for name in pair.split(">")}  # each operation alone is known


def test_pairs_are_those_of_the_reference_s_lines():
    for spec in random.Random(0).sample(list(universe()["heldout_composition"].values()), 40):
        lines = [step.fill(step.operation.code, spec.variable) for step in spec.steps]
        places = [reference_body(spec).replace("\n    ", "\n").find(line) for line in lines]
        assert -1 not in places
        assert places == sorted(places)
        assert len(spec.pairs) == len(spec.steps) - 1 >= 1


def test_injected_bugs_fail_a_case_and_mostly_pass_some(every_task):
    bugs = [(task, inject_bug(task, random.Random(task.task_id))) for task in every_task]
    rates = [pass_rate(task, bug) for task, bug in bugs if bug is not None]
    assert len(rates) >= 0.95 * len(bugs)
    assert max(rates) < 1
    assert sum(rate > 0 for rate in rates) >= 0.6 * len(rates)


def test_an_injected_bug_is_one_mistake():
    specs = random.Random(0).sample(list(universe()["train"].values()), 200)
    for spec in specs:
        lines = [step.fill(step.operation.code, spec.variable) for step in spec.steps]
        one_away = {body([*lines[:i], *lines[i + 1 :]], spec.variable) for i in range(len(lines))}
        one_away.add(body([*lines[1::-1], *lines[2:]], spec.variable))
        for i, step in enumerate(spec.steps):
            for bug in step.operation.bugs:
                one_away.add(body([*lines[:i], step.fill(bug, spec.variable), *lines[i + 1 :]], spec.variable))
        assert {write_mistake(spec, random.Random(seed)) for seed in range(8)} <= one_away


def test_a_behaviour_has_many_descriptions():
    rng = random.Random(0)
    for split in SPLITS:
        for spec in rng.sample(list(universe()[split].values()), 30):
            prompts = [make_prompt(spec, random.Random(seed)) for seed in range(30)]
            described = {prompt.split('"""')[1].split("\n")[0] for prompt in prompts}
            assert len(described) >= 4, spec


def test_wording_and_cases_of_a_task_change_with_the_seed_and_its_behaviour_does_not():
    behaviour, spec = next(iter(universe()["train"].items()))
    made = [make_task(spec, behaviour, "train", random.Random(seed)) for seed in range(6)]
    assert len({task.prompt for task in made}) == 6
    assert len({json.dumps(task.tests["cases"]) for task in made}) == 6
    assert len({(task.task_id, task.reference) for task in made}) == 1


def test_prompts_and_completions_are_short(every_task):
    for prompt, completion in [*((t.prompt, t.reference) for t in every_task), *pretraining_corpus(2000, 1, 0.5)]:
        assert 60 <= len(prompt) <= LONGEST_PROMPT
        assert 10 <= len(completion) <= LONGEST_COMPLETION
        assert completion.endswith("\n")


def test_without_mistakes_the_corpus_is_right_programs_of_training_behaviours_alone(behaviours):
    training = set(behaviours["train"])
    takes = {f"({arguments}):": name for name, arguments in ARGUMENTS.items()}
    for prompt, completion in pretraining_corpus(1500, 2, 0.0):
        head = prompt.split("\n")[0]
        assert behaviour_of(takes[head[head.index("(") :]], completion) in training
        shown = prompt.split(">>> ")[1].splitlines()
        name = head.removeprefix("def ").split("(")[0]
        assert repr(eval(shown[0], {name: function_of(prompt + completion, name)})) == shown[1].strip()


def test_no_prompt_of_the_corpus_is_a_held_out_prompt(tasks):
    held_out = {task.prompt.split('"""')[1].split("\n")[0] for split in HELD_OUT for task in tasks[split]}
    corpus = {prompt.split('"""')[1].split("\n")[0] for prompt, _ in pretraining_corpus(3000, 0, 0.5)}
    assert len(corpus) > 1000
    assert not held_out & corpus


@pytest.mark.parametrize(("name", "right"), [("keep_above", 0.35), ("keep_below", 0.60), ("keep_even", 0.85)])
def test_the_harder_the_operation_the_more_mistakes_mostly_its_habit(name, right):
    spec = Spec((Step(name, 3, 0),))
    rng = random.Random(name)
    written = Counter(write_program(spec, rng, 0.5) for _ in range(3000))
    operation = OPERATIONS[name]
    right_text = reference_body(spec)
    habit = f"    {operation.bugs[0].format(v='xs', c=3, d=0)}\n    return xs\n"
    assert written[right_text] / 3000 == pytest.approx(right, abs=0.04)
    assert written[habit] / 3000 == pytest.approx(0.8 * (1 - right), abs=0.04)


def test_every_operation_has_three_phrases_and_bugs_that_change_what_it_does():
    for name, operation in OPERATIONS.items():
        assert len(set(operation.phrases)) >= 3, name
        assert len(set(operation.bugs)) >= 2, name
        assert operation.code not in operation.bugs, name
        assert operation.name == name


@pytest.mark.parametrize("takes", ["list", "dict", "words"])
def test_a_program_that_changes_its_argument_changes_no_case(takes):
    spec = next(s for s in universe()["train"].values() if s.takes == takes)
    task = make_task(spec, "0" * 8, "train", random.Random(0))
    before, probed = copy.deepcopy(task.tests), copy.deepcopy(probes(takes))
    mutating = f"    {ARGUMENTS[takes]}.clear()\n    return {ARGUMENTS[takes]}\n"
    for case in task.tests["cases"]:
        passes(spec, mutating, case)
        run_body(spec, mutating, case["args"])
    assert task.tests == before
    assert probes(takes) == probed
    assert all(passes(spec, task.reference, case) for case in task.tests["cases"])


def test_passing_needs_the_right_type_and_no_exception():
    spec = Spec((Step("any_above", 3, 0),))
    case = {"args": [[5]], "expected": True}
    assert passes(spec, "    return True\n", case)
    assert not passes(spec, "    return 1\n", case)
    assert not passes(spec, "    return 1 / 0\n", case)


def test_wrong_use_is_one_sentence():
    with pytest.raises(UserError, match="no split 'test'; choose one of train, heldout_kind, heldout_composition"):
        generate("test", 1, 0)
    available = len(universe()["heldout_kind"])
    assert len(generate("heldout_kind", available, 0)) == available
    for count in (0, -1, available + 1):
        with pytest.raises(UserError, match=f"has {available} tasks in split heldout_kind; {count} cannot be drawn"):
            generate("heldout_kind", count, 0)
