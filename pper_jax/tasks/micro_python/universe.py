"""Every micro_python behaviour there is, and the split that each belongs to.

A *spec* is a chain of operations with their constants. Two specs whose references agree on all probe inputs are one
behaviour; its simplest spec stands for it. A behaviour belongs to one split, whatever the seed: so no held-out task can
be in the training text or in the loop. A held-out behaviour that hardly differs from a training one is left out.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from pper_jax.tasks.micro_python.left_out import LEFT_OUT
from pper_jax.tasks.micro_python.operations import (
    LIST_ENDS,
    LIST_STEPS,
    OPERATIONS,
    SINGLES,
    STRING_ENDS,
    STRING_STEPS,
    Operation,
)

SPLITS = ("train", "heldout_kind", "heldout_composition")
HELD_OUT_KIND = 6  # one behaviour in six
HELD_OUT_PAIR = 5  # one pair of neighbouring operations in five
VARIABLES = {"list": "xs", "str": "s", "int": "n", "int2": "a", "dict": "d", "words": "words"}
ARGUMENTS = {**VARIABLES, "int2": "a, b"}


@dataclass(frozen=True)
class Step:
    """An operation with its constants."""

    op: str
    c: int | str
    d: int | str

    @property
    def operation(self) -> Operation:
        """The operation's texts."""
        return OPERATIONS[self.op]

    def fill(self, template: str, variable: str) -> str:
        """``template`` with variable and constants put in."""
        return template.format(v=variable, c=self.c, d=self.d)


@dataclass(frozen=True)
class Spec:
    """A chain of one to three steps."""

    steps: tuple[Step, ...]

    @property
    def takes(self) -> str:
        """Type of the argument."""
        return self.steps[0].operation.takes

    @property
    def variable(self) -> str:
        """Name of the argument that the steps work on."""
        return VARIABLES[self.takes]

    @property
    def kind(self) -> str:
        """Kind of task: the operation's own for one step, the form of the chain otherwise."""
        if len(self.steps) == 1:
            return self.steps[0].operation.kind
        family = "list" if self.takes == "list" else "string"
        form = {2: "then_measure" if self.steps[-1].operation.ends else "two_steps", 3: "three_steps"}
        return f"{family}_{form[len(self.steps)]}"

    @property
    def pairs(self) -> list[str]:
        """Names of neighbouring operations, what compositions are held out by."""
        return [f"{first.op}>{second.op}" for first, second in zip(self.steps, self.steps[1:], strict=False)]


def stable_hash(text: str) -> int:
    """A hash that is the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def body(lines: Sequence[str], variable: str) -> str:
    """Lines of code as a function's body, a ``return`` added where the last line has none."""
    text = "\n".join(lines)
    if not lines or "return" not in lines[-1]:
        text += ("\n" if text else "") + f"return {variable}"
    return "".join(f"    {line}\n" for line in text.split("\n"))


def reference_body(spec: Spec) -> str:
    """The right program's body."""
    return body([step.fill(step.operation.code, spec.variable) for step in spec.steps], spec.variable)


@lru_cache(maxsize=100_000)
def compile_body(takes: str, text: str) -> Callable[..., Any]:
    """The function with that body."""
    scope: dict[str, Any] = {}
    exec(f"def f({ARGUMENTS[takes]}):\n{text}", scope)
    return scope["f"]


def copied(args: Sequence[Any]) -> list[Any]:
    """Arguments that a call may not change for the next one."""
    return [arg.copy() if isinstance(arg, (list, dict)) else arg for arg in args]


def _words(rng: random.Random) -> str:
    letters = "aeostrnAEOSTRNbdgB"
    return "".join(rng.choice(letters) for _ in range(rng.choice((1, 2, 3, 4, 5, 6, 7, 8))))


def draw_arguments(takes: str, rng: random.Random, near: Sequence[int]) -> list[Any]:
    """Arguments of a type; integers are often at or beside those of ``near`` (the constants of a task)."""

    def integer() -> int:
        if near and rng.random() < 0.45:
            return rng.choice(near) + rng.choice((-1, 0, 0, 1))
        return rng.randint(-6, 14)

    if takes == "list":
        return [[integer() for _ in range(rng.choice((0, 1, 2, 3, 4, 5, 6, 7)))]]
    if takes == "str":
        text = _words(rng)
        return [text + text[::-1] if rng.random() < 0.25 else text + _words(rng)]
    if takes == "int":
        return [integer() if rng.random() < 0.6 else rng.choice((-1, 1)) * rng.randint(0, 140)]
    if takes == "int2":
        return [integer(), integer()]
    if takes == "dict":
        return [{key: integer() for key in rng.sample("abcdef", rng.randint(0, 5))}]
    return [[_words(rng) for _ in range(rng.randint(0, 4))] * rng.choice((1, 1, 2))]


@cache
def probes(takes: str) -> tuple[Any, ...]:
    """Fixed probe arguments of a type: wide-spread, with every constant in reach."""
    rng = random.Random(f"probes {takes}")
    return tuple(draw_arguments(takes, rng, range(-5, 15)) for _ in range(40))


def lines_of(spec: Spec) -> tuple[str, ...]:
    """The right program's lines, one a step."""
    return tuple(step.fill(step.operation.code, spec.variable) for step in spec.steps)


@lru_cache(maxsize=10_000)
def line_function(takes: str, line: str) -> Callable[..., Any]:
    """The function of one line."""
    return compile_body(takes, body([line], VARIABLES[takes]))


def run_lines(takes: str, lines: Sequence[str], args: Sequence[Any]) -> Any:
    """Result of our own program of ``lines`` (which changes no argument), without compiling it as a whole."""
    value = line_function(takes, lines[0])(*args)
    for line in lines[1:]:
        value = line_function(takes, line)(value)
    return value


@lru_cache(maxsize=256)
def _first_values(takes: str, line: str, inputs: Callable[[str], Sequence[Any]]) -> list[Any]:
    return [line_function(takes, line)(*args) for args in inputs(takes)]


def values(spec: Spec, inputs: Callable[[str], Sequence[Any]]) -> list[Any]:
    """Results of the spec's reference on all of ``inputs(takes)``."""
    first, *rest = lines_of(spec)
    results = _first_values(spec.takes, first, inputs)
    for line in rest:
        results = list(map(line_function(spec.takes, line), results))
    return results


def fingerprint(spec: Spec) -> str | None:
    """A name for what the spec does on all probes; None when that is trivial (constant, or nothing)."""
    texts = [repr(value) for value in values(spec, probes)]
    if len(set(texts)) < 2 or texts == [repr(args[0]) for args in probes(spec.takes)]:
        return None
    return hashlib.sha256("\n".join([spec.takes, *texts]).encode()).hexdigest()[:16]


def _instances(operations: Sequence[Operation]) -> list[Step]:
    return [Step(op.name, c, d) for op in operations for c, d in op.constants]


def _thinned(steps: tuple[Step, ...], keep_one_in: int) -> bool:
    return stable_hash(f"thin {steps}") % keep_one_in == 0


def _all_specs() -> Iterator[Spec]:
    """All chains of one and two steps, thinned where there are too many, and some of three; simplest first."""
    list_steps, list_ends = _instances(LIST_STEPS), _instances(LIST_ENDS)
    string_steps, string_ends = _instances(STRING_STEPS), _instances(STRING_ENDS)
    for step in (*_instances(SINGLES), *list_steps, *list_ends, *string_steps, *string_ends):
        yield Spec((step,))
    for steps, ends, thin in ((list_steps, list_ends, 4), (string_steps, string_ends, 2)):
        for first in steps:
            for second in ends:
                yield Spec((first, second))
            for second in steps:
                if first.op != second.op and _thinned((first, second), thin):
                    yield Spec((first, second))
    rng = random.Random("three steps")
    for _ in range(6000):
        first, second = rng.choice(list_steps), rng.choice(list_steps)
        if first.op != second.op:
            yield Spec((first, second, rng.choice(list_ends)))


def _split(spec: Spec, behaviour: str) -> str:
    if any(stable_hash(pair) % HELD_OUT_PAIR == 0 for pair in spec.pairs):
        return "heldout_composition"
    return "heldout_kind" if stable_hash(behaviour) % HELD_OUT_KIND == 0 else "train"


@cache
def assigned() -> dict[str, dict[str, Spec]]:
    """Split -> behaviour -> its simplest spec. Made once a process, in half a second."""
    behaviours: dict[str, Spec] = {}
    for spec in _all_specs():
        behaviour = fingerprint(spec)
        if behaviour is not None:
            behaviours.setdefault(behaviour, spec)
    splits: dict[str, dict[str, Spec]] = {name: {} for name in SPLITS}
    for behaviour, spec in behaviours.items():
        splits[_split(spec, behaviour)][behaviour] = spec
    return splits


@cache
def universe() -> dict[str, dict[str, Spec]]:
    """The behaviours that tasks are made of: those assigned, but for held-out ones too close to a training one."""
    return {
        split: {name: spec for name, spec in specs.items() if name[:8] not in LEFT_OUT}
        for split, specs in assigned().items()
    }
