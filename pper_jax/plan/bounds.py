"""How long a compiled call takes at best, and what binds it (Williams, Waterman, Patterson 2009, "Roofline").

Each resource alone would take: the matrix products ``flops / rate``; the main memory ``bytes / bandwidth``; the
interconnect, for each axis of the mesh, ``bytes / rate of the axis``. No call is faster than the slowest of them, where
all overlap. The prediction lets products and memory overlap, and the interconnect not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pper_jax.plan.chips import axis_rate
from pper_jax.plan.compiling import Compiled
from pper_jax.plan.hlo import totals
from pper_jax.plan.topology import Topology

PRODUCTS, MEMORY = "matrix products", "memory"


@dataclass(frozen=True)
class Bound:
    """Seconds that each resource takes alone: ``matrix products``, ``memory``, and ``axis`` or ``axis+axis``."""

    seconds: dict[str, float]

    @property
    def binds(self) -> str:
        """The resource that takes longest."""
        return max(self.seconds, key=lambda name: self.seconds[name])

    @property
    def at_least_s(self) -> float:
        """Where all of them overlap."""
        return self.seconds[self.binds]

    @property
    def predicted_s(self) -> float:
        """Where products and memory overlap, and the interconnect comes on top."""
        wires = sum(took for name, took in self.seconds.items() if name not in (PRODUCTS, MEMORY))
        return max(self.seconds[PRODUCTS], self.seconds[MEMORY]) + wires


def bound(call: Compiled, topology: Topology, mesh: Mapping[str, int]) -> Bound | None:
    """The seconds of a call on the topology's chips; None where the chip has no rates, or the call no figures."""
    chip = topology.chip
    if chip.flops_s is None or call.refused:
        return None
    seconds = {PRODUCTS: call.account.matrix_flops / chip.flops_s, MEMORY: call.account.bytes / chip.bandwidth}
    for axes, moved in totals(call.account.collectives, "axes").items():
        devices = math.prod(mesh.get(axis, topology.count) for axis in axes.split("+"))
        seconds[axes] = moved / axis_rate(chip, topology.dims, devices)
    return Bound(seconds)
