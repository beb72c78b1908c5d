"""The hardware that a plan is for, by name: ``v5e:16x16``, ``v5p:4x4x4``, ``h100x8``, ``cpu:8``; and its devices.

The devices are descriptions that a compiler needs: none of them has to be here.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from dataclasses import dataclass
from typing import Any

from pper_jax.errors import UserError, shown
from pper_jax.plan.chips import CHIPS, Chip
from pper_jax.plan.gpus import target_config
from pper_jax.plan.heard import heard

_FORMS = "TPUs as v5e:4x4, v6e:4x4, v4:2x2x1 or v5p:4x4x4, GPUs as h100x8, h200x8 or a100x8, simulated ones as cpu:8"


@dataclass(frozen=True)
class Topology:
    """So many chips of one kind: ``dims`` along each axis of a torus, or the number behind a switch."""

    text: str
    chip: Chip
    dims: tuple[int, ...]

    @property
    def count(self) -> int:
        """All chips."""
        return math.prod(self.dims)


def parse_topology(text: str) -> Topology:
    """Read a topology's name.

    Raises:
        UserError: no such chip, or a number or shape of them that its interconnect does not join.
    """
    found = re.fullmatch(r"([a-z]\w*?)(?::(\d{1,5}(?:x\d{1,5})*)|x(\d{1,5}))", text.strip().lower())
    chip = CHIPS.get(found.group(1)) if found else None
    if found is None or chip is None:
        raise UserError(f"--topology {shown(text)}: no hardware of that name is known; give {_FORMS}")
    dims = tuple(int(size) for size in (found.group(2) or found.group(3)).split("x"))
    if len(dims) != max(chip.axes, 1) or (chip.axes and found.group(3)):
        form = "x".join(["N"] * max(chip.axes, 1))
        raise UserError(f"--topology {shown(text)}: {chip.name} comes as {chip.name}{_between(chip)}{form}")
    if not 1 <= math.prod(dims) <= chip.most:
        raise UserError(
            f"--topology {shown(text)}: {math.prod(dims)} chips; what joins {chip.name} joins 1 to {chip.most} of them"
        )
    return Topology(f"{chip.name}{_between(chip)}{'x'.join(map(str, dims))}", chip, dims)


def _between(chip: Chip) -> str:
    return "x" if chip.platform == "cuda" else ":"


def prepare(topology: Topology) -> None:
    """Set what jax reads when it starts: it plans on the CPU, with as many simulated devices as asked."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no questions about a machine that is not there
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # several plans at once: none takes a TPU
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    flags = os.environ.get("XLA_FLAGS", "")
    if topology.chip.platform == "cpu" and "xla_force_host_platform_device_count" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={topology.count}".strip()


def devices_of(topology: Topology) -> list[Any]:
    """The devices, as the compiler is told of them.

    Raises:
        UserError: this machine has no compiler for them, or it does not know this topology.
    """
    if topology.chip.platform == "cpu":
        return _simulated(topology)
    return _tpus(topology) if topology.chip.platform == "tpu" else _gpus(topology)


def _simulated(topology: Topology) -> list[Any]:
    import jax

    devices = jax.devices("cpu")
    if len(devices) < topology.count:
        raise UserError(
            f"--topology {topology.text}: XLA simulates {len(devices)} devices here; set "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={topology.count}, or leave it unset"
        )
    return devices[: topology.count]


def _tpus(topology: Topology) -> list[Any]:
    from jax.experimental import topologies

    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology {topology.text}: the compiler for TPUs is not installed; pip install 'pper-jax[tpu]' "
            "(or libtpu alone), which needs no TPU"
        )
    options = {"chip_config_name": "megacore"} if topology.chip.name == "v4" else {}  # two cores as one device
    try:
        with heard():
            found = topologies.get_topology_desc(platform="tpu", topology_name=topology.text, **options)
    except Exception as error:  # libtpu raises whatever it has
        raise UserError(f"--topology {topology.text}: libtpu refuses it: {shown(str(error))}") from None
    return list(found.devices)


def _gpus(topology: Topology) -> list[Any]:
    from jax.experimental import topologies

    shape = f"1x1x{topology.count}"  # of hosts that share nothing, hosts that share a switch, GPUs of a host
    try:
        with heard():
            found = topologies.get_topology_desc(
                platform="cuda",
                topology_name=topology.chip.name,
                target_config=target_config(topology.chip),
                topology=shape,
            )
    except Exception as error:  # of a plugin that is absent, or that knows no such option
        raise UserError(
            f"--topology {topology.text}: no GPU is here, and this jax cannot compile for one that is not: "
            f"{shown(str(error))}; it takes jax 0.11 or newer with its CUDA plugin (pip install 'pper-jax[cuda13]')"
        ) from None
    return list(found.devices)
