"""What one device does in a compiled module, counted in its text: matrix products, memory traffic, collectives.

``compiled.cost_analysis()`` counts the body of a loop once; here it counts as often as the loop runs (XLA's own
``known_trip_count``, or the constant that the condition compares its counter with). Of branches the dearest counts.

The bytes that a collective moves a device are those of the ring and of the direct exchange, which are the least (Chan,
Heimlich, Purkayastha and van de Geijn 2007, "Collective communication", tables of bandwidth terms). For ``n`` devices
and an array of ``b`` bytes, whole: all-reduce ``2 (n - 1) / n * b``; all-gather and reduce-scatter ``(n - 1) / n * b``;
all-to-all ``(n - 1) / n * b`` of what a device holds; collective-permute ``b`` of what a device sends.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pper_jax.plan.groups import Group, axes_of, continues, permuted, replica_group
from pper_jax.plan.hlo_text import Computation, Instruction, Module, parse
from pper_jax.plan.products import MATRIX_CALLS, call_flops, convolution_flops, dot_flops
from pper_jax.plan.traffic import traffic

REDUCE, GATHER, SCATTER, EXCHANGE = "all-reduce", "all-gather", "reduce-scatter", "all-to-all"
PERMUTE, RAGGED, BROADCAST = "collective-permute", "ragged-all-to-all", "collective-broadcast"
COLLECTIVES = (REDUCE, GATHER, SCATTER, EXCHANGE, PERMUTE, RAGGED, BROADCAST)
# what a custom call may be that neither multiplies matrices nor hides work
_HARMLESS = re.compile(r"Allocate|Assume|Async|Bitpacked|Bitcast|Sharding|annotate|[Tt]op[Kk]|LayoutConstraint|[Pp]in$")


@dataclass(frozen=True)
class Account:
    """What one device does in one run of the module.

    Attributes:
        matrix_flops: floating-point operations of matrix products and convolutions; a multiply-add is two.
        bytes: read from and written to the device's main memory, as the module's instructions state it (a cache
            may serve some of them).
        collectives: ``"kind/axes"`` -> bytes that a device moves, such as ``{"all-reduce/data": 1.5e6}``; several axes
            are joined by ``+`` in the mesh's order.
        calls: how many times each of these runs.
        opaque: target -> times, of custom calls whose work is not counted.
        unknown_loops: loops whose count neither XLA nor the text says, taken as ``trips``.
        rematerialized: instructions that the compiler computes again to save memory.
    """

    matrix_flops: float = 0.0
    bytes: float = 0.0
    collectives: Mapping[str, float] = field(default_factory=dict)
    calls: Mapping[str, float] = field(default_factory=dict)
    opaque: Mapping[str, float] = field(default_factory=dict)
    unknown_loops: int = 0
    rematerialized: int = 0

    @property
    def collective_bytes(self) -> float:
        """All that a device moves."""
        return sum(self.collectives.values())

    def plus(self, other: Account, times: float = 1) -> Account:
        """This and ``other``, ``times`` over."""

        def sums(name: str) -> dict[str, float]:
            mine, more = getattr(self, name), getattr(other, name)
            return {key: mine.get(key, 0) + times * more.get(key, 0) for key in {**mine, **more}}

        return Account(
            self.matrix_flops + times * other.matrix_flops,
            self.bytes + times * other.bytes,
            sums("collectives"),
            sums("calls"),
            sums("opaque"),
            self.unknown_loops + other.unknown_loops,
            self.rematerialized + other.rematerialized,
        )


def account(text: str, mesh: Any, *, trips: float | Sequence[float] = 1) -> Account:
    """Count the optimized module ``text`` (``compiled.as_text()``), partitioned over ``mesh``.

    Args:
        text: HLO as XLA prints it after optimization: the program of one device.
        mesh: a ``Mesh`` or ``AbstractMesh``, or the mapping of axis names to sizes, in the order of its devices.
        trips: how often a loop runs whose count is not known when it is compiled; several numbers are for such loops
            within each other, the outermost first, and what lies deeper runs once.

    Raises:
        ValueError: the text is no module.
    """
    module, axes = parse(text), dict(getattr(mesh, "shape", mesh))
    found = _Counting(module, axes, trips).total(module.entry, _Context())
    remade = sum(".remat" in name for each in module.computations.values() for name in each.instructions)
    return Account(**{**vars(found), "rematerialized": remade})


def involuntary(log: str) -> int:
    """How many values the partitioner had to replicate whole: its complaints in what the compiler wrote to stderr."""
    return len(set(re.findall(r"Involuntary full rematerialization.*?HLO operation (%?[\w.\-]+)", log)))


@dataclass(frozen=True)
class _Context:
    """Whether within a fusion, whose memory traffic is its caller's; and within how many loops of unknown count."""

    fused: bool = False
    depth: int = 0


class _Counting:
    """The accounts of a module's computations, each made once."""

    def __init__(self, module: Module, axes: Mapping[str, int], trips: float | Sequence[float]) -> None:
        self.module, self.axes, self.trips = module, axes, trips
        self.known: dict[tuple[str, _Context], Account] = {}

    def total(self, name: str, context: _Context) -> Account:
        """The account of a computation, in the context that it is called in."""
        if (name, context) not in self.known:
            computation, found = self.module.computations[name], Account()
            for one in computation.instructions.values():
                found = found.plus(self._own(one, computation, context.fused))
                for called, times in self._called(one, computation, context):
                    found = found.plus(called, times)
            self.known[name, context] = found
        return self.known[name, context]

    def _unknown(self, depth: int) -> float:
        """How often a loop of unknown count runs that lies in ``depth`` others."""
        if isinstance(self.trips, Sequence):
            return self.trips[depth] if depth < len(self.trips) else 1
        return self.trips

    def _own(self, one: Instruction, where: Computation, fused: bool) -> Account:
        flops, opaque = self._flops(one, where), {}
        if one.opcode == "custom-call" and flops is None:
            target = _target(one)
            opaque = {} if _HARMLESS.search(target) else {target: 1.0}
        moved = self._moved(one, where)
        return Account(
            flops or 0.0,
            0.0 if fused else traffic(one, where, self.module),
            moved,
            dict.fromkeys(moved, 1.0),
            opaque,
        )

    def _flops(self, one: Instruction, where: Computation) -> float | None:
        if one.opcode == "dot":
            return dot_flops(one, where)
        if one.opcode == "convolution":
            return convolution_flops(one, where)
        if one.opcode == "custom-call" and MATRIX_CALLS.search(_target(one)):
            return call_flops(one, where)
        return None

    def _called(self, one: Instruction, where: Computation, at: _Context) -> list[tuple[Account, float]]:
        """The accounts of what ``one`` calls, and how many times each runs."""
        if one.opcode == "while":
            count = trip_count(one, where, self.module)
            if count is not None:
                return [(self.total(one.called("body")[0], at), count)]
            body = self.total(one.called("body")[0], replace(at, depth=at.depth + 1))
            return [(body, self._unknown(at.depth)), (Account(unknown_loops=1), 1)]
        if one.opcode == "conditional":
            names = one.called("branch_computations", "true_computation", "false_computation")
            branches = [self.total(name, at) for name in names]
            return [(max(branches, key=lambda each: (each.matrix_flops, each.bytes)), 1)]
        if one.opcode == "fusion":
            return [(self.total(name, replace(at, fused=True)), 1) for name in one.called("calls")]
        if one.opcode in ("call", "async-start"):
            return [(self.total(name, at), 1) for name in one.called("to_apply", "calls")]
        return []

    def _moved(self, one: Instruction, where: Computation) -> dict[str, float]:
        kind = one.opcode.removesuffix("-start")
        if kind not in COLLECTIVES or continues(one.attributes):
            return {}
        sent = sum(shape.bytes for operand in where.inputs(one) for shape in operand)
        group = (permuted if kind == PERMUTE else replica_group)(one.attributes, self.axes)
        if kind == REDUCE and where.name.startswith("all-reduce-scatter"):
            kind = SCATTER  # as TPUs fuse an all-reduce with the slice that is kept of it
        moved = _bytes_moved(kind, sent, group)
        return {f"{kind}/{axes_of(group)}": moved} if moved else {}


def _bytes_moved(kind: str, sent: float, group: Group) -> float:
    """Bytes of a device that puts ``sent`` bytes into a collective of ``group``."""
    n = group.size
    if n <= 1:
        return 0.0
    if kind in (PERMUTE, BROADCAST):
        return sent
    share = (n - 1) / n
    return {REDUCE: 2 * share * sent, GATHER: share * n * sent}.get(kind, share * sent)


def _target(one: Instruction) -> str:
    found = re.search(r'custom_call_target="([^"]*)"', one.attributes)
    return found.group(1) if found else ""


def trip_count(loop: Instruction, where: Computation, module: Module) -> int | None:
    """How often the body of a ``while`` runs; None where the text does not say."""
    if stated := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(stated.group(1))
    condition, body = (module.computations[name] for name in (*loop.called("condition"), *loop.called("body")))
    test = condition.root
    begin = where.through(loop.operands[0], "copy", "opt-barrier")
    if test.opcode != "compare" or begin is None or begin.opcode != "tuple":
        return None
    constant = partial(_constant, begin, where)
    left, right = (condition.through(name, "bitcast", "copy", "convert") for name in test.operands)
    index, limit = _element(left), constant(right)
    if index is None or limit is None:
        return None
    start, step = constant(left), _increment(body, index)
    if start is None or not step:
        return None
    direction = re.search(r"direction=(\w+)", test.attributes)
    inclusive = direction is not None and direction.group(1) in ("LE", "GE")
    return max(0, math.ceil((limit - start + inclusive * (1 if step > 0 else -1)) / step))


def _element(one: Instruction | None) -> int | None:
    """The number of the loop's variable that an instruction of its condition or body reads."""
    if one is None or one.opcode != "get-tuple-element":
        return None
    found = re.search(r"index=(\d+)", one.attributes)
    return int(found.group(1)) if found else None


def _constant(begin: Instruction, where: Computation, one: Instruction | None) -> int | None:
    """A whole number that stands in the condition, or that the loop's variables begin with."""
    if (index := _element(one)) is not None:
        one = where.through(begin.operands[index], "copy", "bitcast", "convert")
    if one is None or one.opcode != "constant":
        return None
    return int(one.arguments) if re.fullmatch(r"-?\d+", one.arguments) else None


def _increment(body: Computation, index: int) -> int | None:
    """What an iteration adds to the loop's variable ``index``."""
    root = body.root
    if root.opcode != "tuple":
        return None
    one = body.through(root.operands[index], "copy", "bitcast")
    if one is None or one.opcode not in ("add", "subtract"):
        return None
    read = [body.through(name, "copy", "bitcast") for name in one.operands]
    steps = [int(each.arguments) for each in read if each is not None and each.opcode == "constant"]
    if len(steps) != 1 or index not in map(_element, read):
        return None
    return steps[0] if one.opcode == "add" else -steps[0]


def totals(collectives: Mapping[str, float], by: str) -> dict[str, float]:
    """The bytes of :attr:`Account.collectives` summed ``by`` ``"kind"`` or ``"axes"``."""
    found: Counter[str] = Counter()
    for key, moved in collectives.items():
        found[key.split("/")[by == "axes"]] += moved  # type: ignore[assignment]
    return dict(found)
