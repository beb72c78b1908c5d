"""The chips' figures, in one table, with their sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GB, GIB, GIGA, TERA = 1e9, 2**30, 1e9, 1e12
_TPU, _NVIDIA = "https://docs.cloud.google.com/tpu/docs/", "https://www.nvidia.com/en-us/data-center/"


@dataclass(frozen=True)
class Chip:
    """What one device can do at most, as its maker states it.

    Attributes:
        name: as a topology names it.
        platform: jax's.
        flops_s: floating-point operations a second of dense bfloat16 matrix products; None where times mean nothing.
        memory: bytes of main memory; 0 for a machine's own.
        bandwidth: bytes a second of main memory.
        link: bytes a second that a device sends over one port of a torus, or into a switch.
        axes: of the torus; 0 for a switch that joins all.
        wraps: an axis of a multiple of so many chips is a ring, another one a line.
        most: chips that the interconnect joins.
        source: where the figures stand.
    """

    name: str
    platform: Literal["tpu", "cuda", "cpu"]
    flops_s: float | None
    memory: float
    bandwidth: float
    link: float
    axes: int
    wraps: int
    most: int
    source: str


# A port's one way is the bidirectional figure of the interconnect over twice the ports (4 in a 2D torus, 6 in 3D).
# v4's page gives none; Jouppi et al. 2023 (arXiv 2304.01433) have six links of 50 GB/s. The memory of a TPU is what
# libtpu 0.0.52 leaves to a program (the pages say 16, 32, 32 and 95).
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v5e", "tpu", 197 * TERA, 15.75 * GIB, 819 * GIGA, 50 * GIGA, 2, 16, 256, _TPU + "v5e"),
        Chip("v6e", "tpu", 918 * TERA, 31.24 * GIB, 1638 * GIGA, 100 * GIGA, 2, 16, 256, _TPU + "v6e"),
        Chip("v4", "tpu", 275 * TERA, 30.75 * GIB, 1200 * GIGA, 50 * GIGA, 3, 4, 4096, _TPU + "v4"),
        Chip("v5p", "tpu", 459 * TERA, 95.73 * GIB, 2765 * GIGA, 100 * GIGA, 3, 4, 6144, _TPU + "v5p"),
        Chip("a100", "cuda", 312 * TERA, 80 * GB, 2039 * GIGA, 300 * GIGA, 0, 1, 8, _NVIDIA + "a100/"),
        Chip("h100", "cuda", 989 * TERA, 80 * GB, 3350 * GIGA, 450 * GIGA, 0, 1, 8, _NVIDIA + "h100/"),
        Chip("h200", "cuda", 989 * TERA, 141 * GB, 4800 * GIGA, 450 * GIGA, 0, 1, 8, _NVIDIA + "h200/"),
        Chip("cpu", "cpu", None, 0, 0, 0, 0, 1, 512, "devices that XLA simulates on this machine; times mean nothing"),
    )
}


def axis_rate(chip: Chip, dims: tuple[int, ...], devices: int) -> float:
    """Bytes a second that a device sends to a group of ``devices`` along an axis of the mesh, at best.

    On a torus the group lies along as few axes as hold it, and a device sends both ways along each, where the axis is a
    ring; along a line, one way's worth. Into a switch it sends with its whole link.

    Args:
        chip: the device.
        dims: chips along each axis of the topology.
        devices: of the group.
    """
    if not chip.axes:
        return chip.link
    rate, held = 0.0, 1
    for size in sorted((size for size in dims if size > 1), reverse=True):
        if held >= devices:
            break
        rate += chip.link * (2 if size % chip.wraps == 0 else 1)
        held *= size
    return rate or chip.link
