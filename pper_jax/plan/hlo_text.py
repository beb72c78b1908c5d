"""The text of a compiled module (``compiled.as_text()``) as computations and instructions; pure functions of text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

HBM = 0  # the memory space of what no layout puts elsewhere (``S(1)`` is a TPU's scratchpad)
_BITS = re.compile(r"\d+")
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,<= ]*)\](\{[^}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_NAME = re.compile(r"%([\w.\-]+)")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")


@dataclass(frozen=True)
class Shape:
    """One array: its type (``"f32"``), its sizes, and the memory space that it lies in."""

    dtype: str
    dims: tuple[int, ...]
    space: int = HBM

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> float:
        """What they take; none for tokens and opaque values."""
        return self.size * _bits(self.dtype) / 8


def _bits(dtype: str) -> int:
    if dtype == "pred":
        return 8
    found = _BITS.search(dtype)  # f8e4m3fn has 8, bf16 has 16, s4 has 4
    return int(found.group()) if found else 0


def shapes(text: str) -> tuple[Shape, ...]:
    """The arrays that a type names, those within tuples one after the other."""
    return tuple(
        Shape(
            dtype,
            tuple(int(dim.strip().lstrip("<=")) for dim in dims.split(",") if dim.strip()),
            int(space.group(1)) if layout and (space := _SPACE.search(layout)) else HBM,
        )
        for dtype, dims, layout in _SHAPE.findall(text)
    )


@dataclass(frozen=True)
class Instruction:
    """One line: ``%name = type opcode(arguments), attributes``."""

    name: str
    type: str
    opcode: str
    arguments: str
    attributes: str
    root: bool

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """What it gives."""
        return shapes(self.type)

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """The names of the instructions that it reads."""
        return tuple(_NAME.findall(self.arguments))

    def called(self, *keys: str) -> tuple[str, ...]:
        """The computations that an attribute of one of these names gives."""
        found = []
        for key in keys:
            for group in re.findall(rf"\b{key}=(\{{[^}}]*\}}|%[\w.\-]+)", self.attributes):
                found += _NAME.findall(group)
        return tuple(found)

    def numbers(self, key: str) -> tuple[int, ...]:
        """The attribute ``key={1,2}``; none where it is absent."""
        found = re.search(rf"\b{key}=\{{([\d,]*)\}}", self.attributes)
        return tuple(map(int, found.group(1).split(","))) if found and found.group(1) else ()


@dataclass(frozen=True)
class Computation:
    """A named list of instructions."""

    name: str
    instructions: Mapping[str, Instruction]

    @cached_property
    def root(self) -> Instruction:
        """The instruction whose value is the computation's."""
        return next(
            (one for one in self.instructions.values() if one.root), next(reversed(list(self.instructions.values())))
        )

    @cached_property
    def parameters(self) -> dict[int, Instruction]:
        """Number -> parameter."""
        return {int(one.arguments): one for one in self.instructions.values() if one.opcode == "parameter"}

    @cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """Name -> the instructions that read it."""
        found: dict[str, list[Instruction]] = {}
        for one in self.instructions.values():
            for name in dict.fromkeys(one.operands):
                found.setdefault(name, []).append(one)
        return found

    def inputs(self, one: Instruction) -> list[tuple[Shape, ...]]:
        """What each operand of ``one`` is."""
        return [self.instructions[name].shapes for name in one.operands if name in self.instructions]

    def through(self, name: str, *opcodes: str) -> Instruction | None:
        """The instruction behind ``name``, past those of ``opcodes``, which pass on what they read."""
        one = self.instructions.get(name)
        while one is not None and one.opcode in opcodes and one.operands:
            one = self.instructions.get(one.operands[0])
        return one


@dataclass(frozen=True)
class Module:
    """All computations, and the name of the one that begins."""

    computations: Mapping[str, Computation]
    entry: str


def parse(text: str) -> Module:
    """Read a module, past lines that are no instructions. Raises ValueError where it has no computation."""
    computations: dict[str, Computation] = {}
    entry, name, body = "", None, {}  # type: str, str | None, dict[str, Instruction]
    for line in text.splitlines():
        if name is None:
            if head := _HEAD.match(line):
                name, body = head.group(2), {}
                entry = name if head.group(1) else entry
        elif line.startswith("}"):
            computations[name], name = Computation(name, body), None
        elif one := _instruction(line):
            body[one.name] = one
    if not entry:
        raise ValueError("the text holds no computation to begin with; give what compiled.as_text() returns")
    return Module(computations, entry)


def _instruction(line: str) -> Instruction | None:
    head = _LINE.match(line)
    if head is None:
        return None
    rest = line[head.end() :]
    end = _closed(rest, 0) if rest[0] == "(" else rest.index(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    opening = rest.index("(")
    end = _closed(rest, opening)
    return Instruction(
        head.group(2), kind, rest[:opening], rest[opening + 1 : end - 1], rest[end:], bool(head.group(1))
    )


def _closed(text: str, start: int) -> int:
    """The place behind the bracket that closes the one at ``start``."""
    depth = 0
    for found in _brackets(text, start):
        depth += 1 if text[found] == "(" else -1
        if depth == 0:
            return found + 1
    return len(text)


def _brackets(text: str, start: int) -> Iterator[int]:
    for found in re.finditer(r"[()]", text[start:]):
        yield start + found.start()
