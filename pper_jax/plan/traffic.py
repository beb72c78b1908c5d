"""Bytes that an instruction reads from and writes to a device's main memory."""

from __future__ import annotations

from collections.abc import Iterable

from pper_jax.plan.groups import continues
from pper_jax.plan.hlo_text import HBM, Computation, Instruction, Module, Shape

FREE = frozenset(
    "parameter constant tuple get-tuple-element bitcast while conditional call after-all partition-id replica-id "
    "opt-barrier add-dependency domain".split()
)
SLICES = ("dynamic-slice", "slice", "gather")


def traffic(one: Instruction, where: Computation, module: Module) -> float:
    """Bytes of one instruction that stands in no fusion: operands read, results written.

    What slices read is what they give, what updates in place touch is the update; memory that is no main memory
    (a TPU's scratchpad) is none.
    """
    if one.opcode in FREE or (one.opcode.endswith(("-done", "-update")) and one.opcode != "dynamic-update-slice"):
        return 0.0
    if one.opcode.endswith("-start"):  # its type holds both sides
        return _bytes(one.shapes)
    if one.opcode == "fusion":
        return _fusion(one, where, module.computations[one.called("calls")[0]])
    if one.opcode in SLICES:
        return _bytes(one.shapes) + _like(one.shapes, where.inputs(one)[0])
    if one.opcode in ("dynamic-update-slice", "scatter"):
        update = where.inputs(one)[1 if one.opcode == "dynamic-update-slice" else -1]
        return _bytes(update) + _like(update, one.shapes)
    return _bytes(one.shapes) + sum(map(_bytes, where.inputs(one)))


def _bytes(arrays: Iterable[Shape]) -> float:
    return sum(shape.bytes for shape in arrays if shape.space == HBM)


def _like(part: Iterable[Shape], whole: Iterable[Shape]) -> float:
    """The bytes of ``part``, where it is a part of something in main memory."""
    return sum(shape.bytes for shape in part) if any(shape.space == HBM for shape in whole) else 0.0


def _fusion(one: Instruction, where: Computation, inside: Computation) -> float:
    if 'custom_call_target="AsyncCollectiveDone"' in inside.root.attributes:
        return 0.0
    read = 0.0
    for number, operand in enumerate(where.inputs(one)):
        parameter = inside.parameters.get(number)
        read += _bytes(operand) if parameter is None else _read(parameter, operand, inside)
    return read + _written(one, inside)


def _read(parameter: Instruction, operand: tuple[Shape, ...], inside: Computation) -> float:
    """What a fusion reads of one operand: all, unless it takes slices alone, or updates it in place."""
    parts, waiting = 0.0, [(parameter.name, user) for user in inside.users.get(parameter.name, [])]
    while waiting:
        name, user = waiting.pop()
        if user.opcode == "bitcast":
            waiting += [(user.name, further) for further in inside.users.get(user.name, [])]
        elif user.opcode in SLICES and user.operands[0] == name:
            parts += _like(user.shapes, operand)
        elif not _leaves(user, name):
            return _bytes(operand)
    return min(parts, _bytes(operand))


def _leaves(user: Instruction, name: str) -> bool:
    """Whether ``user`` passes ``name`` on without reading it: as a result, to a collective under way, or updated."""
    if user.opcode == "dynamic-update-slice":
        return user.operands[0] == name
    return (user.opcode == "tuple" and user.root) or continues(user.attributes)


def _written(one: Instruction, inside: Computation) -> float:
    """What a fusion writes: its results, but for what it passes on; of one that is updated in place, the update."""
    root = inside.root
    names = root.operands if root.opcode == "tuple" else (root.name,)
    if len(names) != len(one.shapes):
        return _bytes(one.shapes)
    total = 0.0
    for name, shape in zip(names, one.shapes, strict=True):
        source = inside.through(name, "bitcast")
        if source is not None and source.opcode == "dynamic-update-slice":
            total += _like(inside.inputs(source)[1], (shape,))
        elif source is None or not (source.opcode == "parameter" or continues(source.attributes)):
            total += _bytes((shape,))
    return total
