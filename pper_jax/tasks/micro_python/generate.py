"""Tasks and pretraining text from micro_python specs: descriptions, doctest, tests, and programs with mistakes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from pper_jax.errors import UserError
from pper_jax.tasks.micro_python.band_cases import make_graded_cases
from pper_jax.tasks.micro_python.bands import BAND_SPLITS, LADDERS, band_universe
from pper_jax.tasks.micro_python.cases import constants, make_cases
from pper_jax.tasks.micro_python.mistakes import write_mistake, write_program
from pper_jax.tasks.micro_python.universe import (
    ARGUMENTS,
    SPLITS,
    Spec,
    assigned,
    compile_body,
    copied,
    draw_arguments,
    reference_body,
    universe,
)
from pper_jax.tasks.task import Task

STOPS = ("\ndef", "\nclass", "\nif", "\nprint", "\n#", "\n\n\n")
NAMES = ("solve", "process", "transform", "compute", "apply", "convert", "run", "handle")
OPENINGS = {
    "list": ("Given a list of integers, ", "Take the list xs: ", "For the numbers in xs, ", ""),
    "str": ("Given a string, ", "Take the string s: ", "For the text s, ", ""),
    "int": ("Given an integer n, ", "For the number n: ", ""),
    "int2": ("Given two integers, ", "For numbers a and b: ", ""),
    "dict": ("Given a dict of integers d, ", "In the dict d: ", ""),
    "words": ("Given a list of words, ", "For a list of words: ", ""),
}
JOINS = (", then ", " and then ", "; next, ", ", and ")
FINALS = (" and return the result", ", and return it", "; return what you get", " and give that back")


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def describe_task(spec: Spec, rng: random.Random) -> str:
    """A natural description, one of many paraphrases."""
    text = rng.choice(OPENINGS[spec.takes])
    for i, step in enumerate(spec.steps):
        if i:
            text += rng.choice(JOINS)
        text += step.fill(rng.choice(step.operation.phrases), spec.variable)
    if not spec.steps[-1].operation.ends:
        text += rng.choice(FINALS)
    return _upper_first(text) + "."


def run_body(spec: Spec, text: str, args: list[Any]) -> Any:
    """Result of the function with body ``text`` on a copy of ``args``."""
    return compile_body(spec.takes, text)(*copied(args))


def make_prompt(spec: Spec, rng: random.Random) -> str:
    """Signature, description and one doctest, in HumanEval's form."""
    name = rng.choice(NAMES)
    right = reference_body(spec)
    args = max((draw_arguments(spec.takes, rng, constants(spec)) for _ in range(3)), key=lambda a: len(str(a[0])) % 23)
    shown = ", ".join(map(repr, args))
    return (
        f'def {name}({ARGUMENTS[spec.takes]}):\n    """{describe_task(spec, rng)}\n\n'
        f'    >>> {name}({shown})\n    {run_body(spec, right, args)!r}\n    """\n'
    )


def make_task(spec: Spec, behaviour: str, split: str, rng: random.Random) -> Task:
    """The task of a spec; wording and cases come from ``rng``."""
    prompt = make_prompt(spec, rng)
    name = prompt[len("def ") : prompt.index("(")]
    cases = make_graded_cases if split in BAND_SPLITS else make_cases
    return Task(
        task_id=f"micro/{split}/{spec.kind}/{behaviour[:8]}",
        prompt=prompt,
        tests={"kind": "call", "fn_name": name, "cases": cases(spec, rng)},
        entry_point=name,
        stop=STOPS,
        reference=reference_body(spec),
        difficulty=spec.kind,
        source="micro_python",
        split=split,
    )


def _specs(split: str) -> dict[str, Spec]:
    """Behaviours that tasks of a split are made of."""
    return band_universe(split) if split in BAND_SPLITS else universe()[split]


def _by_kind(split: str, rng: random.Random) -> Iterator[tuple[str, Spec]]:
    """Behaviours of a split in a random order that takes the kinds in turn, so that none is crowded out."""
    groups: dict[str, list[tuple[str, Spec]]] = {}
    for behaviour, spec in assigned()[split].items():
        groups.setdefault(spec.kind, []).append((behaviour, spec))
    for group in groups.values():
        rng.shuffle(group)
    while groups:
        kinds = sorted(groups)
        rng.shuffle(kinds)
        for kind in kinds:
            behaviour, spec = groups[kind].pop()
            if behaviour in universe()[split]:
                yield behaviour, spec
            if not groups[kind]:
                del groups[kind]


def generate(split: str, count: int, seed: int) -> list[Task]:
    """``count`` tasks of a split, behaviourally distinct; a pure function of its arguments.

    Args:
        split: ``train``, ``heldout_kind`` (kinds of the training split, other behaviours) or ``heldout_composition``
            (compositions of which at least one pair of neighbouring operations never meets in training), or a
            band of difficulty (``bands``): ``train_band1`` to ``train_band4``, ``heldout_band1`` to ``heldout_band4``;
            ``train_bands`` and ``heldout_bands`` take as many of each band, the easy ones first.
        count: number of tasks.
        seed: which behaviours, their wording and their test inputs.

    Raises:
        UserError: an unknown split, or more tasks than it has.
    """
    if split in LADDERS and count >= 1:
        rungs = LADDERS[split]
        counts = [count // len(rungs) + (rung < count % len(rungs)) for rung in range(len(rungs))]
        return [task for rung, few in zip(rungs, counts, strict=True) if few for task in generate(rung, few, seed)]
    if split not in (*SPLITS, *BAND_SPLITS, *LADDERS):
        known = ", ".join((*SPLITS, *BAND_SPLITS, *LADDERS))
        raise UserError(f"micro_python has no split {split!r}; choose one of {known}")
    available = sum(len(_specs(one)) for one in LADDERS.get(split, (split,)))
    if not 1 <= count <= available:
        raise UserError(f"micro_python has {available} tasks in split {split}; {count} cannot be drawn")
    rng = random.Random(f"{split} {seed}")
    if split in BAND_SPLITS:
        chosen = rng.sample(list(_specs(split).items()), available)[:count]
    else:
        chosen = [pair for pair, _ in zip(_by_kind(split, rng), range(count), strict=False)]
    return [make_task(spec, behaviour, split, random.Random(f"{behaviour} {seed}")) for behaviour, spec in chosen]


def pretraining_corpus(count: int, seed: int, bug_rate: float) -> Iterator[tuple[str, str]]:
    """``count`` pairs (prompt, completion) of training behaviours, with mistakes; wording and values vary.

    A kind's share grows with the square root of the number of its behaviours. ``bug_rate`` is scaled by each
    operation's difficulty (0.3, 0.8 or 1.3): with 0.5 a hard operation is right in 35 % of the text and its habit
    stands in 52 %, so that a model which has learned this prefers the habit, and writes the right program second.
    """
    rng = random.Random(f"corpus {seed}")
    groups: dict[str, list[Spec]] = {}
    for spec in universe()["train"].values():
        groups.setdefault(spec.kind, []).append(spec)
    shares = [len(group) ** 0.5 for group in groups.values()]
    for group in rng.choices(list(groups.values()), shares, k=count):
        spec = rng.choice(group)
        yield make_prompt(spec, rng), write_program(spec, rng, bug_rate)


def find_spec(task: Task) -> Spec:
    """The spec behind a task of this family.

    Raises:
        UserError: no such behaviour.
    """
    _, split, _, prefix = task.task_id.split("/")
    specs = _specs(split) if split in BAND_SPLITS else assigned()[split]
    for behaviour, spec in specs.items():
        if behaviour.startswith(prefix):
            return spec
    raise UserError(f"task {task.task_id} is not of the micro_python family")


def passes(spec: Spec, text: str, case: dict[str, Any]) -> bool:
    """Whether the body ``text`` gives the expected value of a case; an exception is a failure."""
    try:
        result = run_body(spec, text, case["args"])
    except Exception:
        return False
    return type(result) is type(case["expected"]) and result == case["expected"]


def inject_bug(task: Task, rng: random.Random) -> str | None:
    """The reference with one mistake that at least one test catches, or None when no attempt gave one."""
    spec = find_spec(task)
    for _ in range(20):
        wrong = write_mistake(spec, rng)
        if wrong != task.reference and not all(passes(spec, wrong, case) for case in task.tests["cases"]):
            return wrong
    return None
