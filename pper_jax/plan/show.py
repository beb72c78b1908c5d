"""A plan as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from pper_jax.models import ModelConfig
from pper_jax.models.weights import parameter_shapes
from pper_jax.plan.compiling import versions
from pper_jax.plan.plan import LEARN, Part, Plan, assumptions
from pper_jax.settings import to_dict

MIB, GIB = 2**20, 2**30


def to_json(plan: Plan) -> dict[str, Any]:
    """All of a plan as plain data: bytes, seconds, operations, all of one device but for tokens."""
    return {
        "topology": plan.topology.text,
        "devices": plan.topology.count,
        "chip": {
            "name": plan.topology.chip.name,
            "flops_s": plan.topology.chip.flops_s,
            "memory": plan.topology.chip.memory or None,
            "bandwidth": plan.topology.chip.bandwidth or None,
            "source": plan.topology.chip.source,
        },
        "model": {"name": plan.config.model, **to_dict(plan.model)},
        "dtype": plan.dtype,
        "mesh": plan.mesh,
        "fits": plan.fits,
        "parts": {part.name: _part_json(part) for part in plan.parts},
        "assumptions": assumptions(plan),
        "versions": versions(),
    }


def _part_json(part: Part) -> dict[str, Any]:
    call, found = part.call, part.bound
    return {
        "fits": part.fits,
        "memory": {**part.memory, "total": sum(part.memory.values())},
        "refused": call.refused or None,
        "matrix_flops": call.account.matrix_flops,
        "bytes": call.account.bytes,
        "collectives": dict(call.account.collectives),
        "collective_calls": dict(call.account.calls),
        "opaque_calls": dict(call.account.opaque),
        "rematerialized": call.account.rematerialized,
        "involuntary_rematerialization": call.involuntary,
        "seconds": found.seconds if found else None,
        "binds": found.binds if found else None,
        "at_least_s": found.at_least_s if found else None,
        "predicted_s": found.predicted_s if found else None,
        "tokens": part.tokens,
        "tokens_s": part.tokens / found.predicted_s if found else None,
        "compile_s": call.seconds,
    }


def lines(plan: Plan) -> list[str]:
    """A plan for a reader."""
    mesh = ", ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    said = [
        f"{plan.config.model}, {_billions(plan.model)} parameters, on {plan.topology.text}: "
        f"{plan.topology.count} devices, {mesh}"
    ]
    for part in plan.parts:
        said += ["", *_part_lines(part, plan)]
    return [*said, "", "assumed:", *(f"  {text}" for text in assumptions(plan))]


def _billions(model: ModelConfig) -> str:
    count = sum(prod(shape) for shape in parameter_shapes(model).values())
    return f"{count / 1e9:.2f} G" if count > 1e8 else f"{count / 1e6:.2f} M"


def _part_lines(part: Part, plan: Plan) -> list[str]:
    call, found = part.call, part.bound
    said = [f"{part.name}: {_verdict(part, plan.topology.chip.memory)}"]
    held = ", ".join(f"{name} {_size(size)}" for name, size in part.memory.items() if size >= MIB / 100)
    said.append(f"  memory a device      {held}")
    if call.refused:
        return said
    account = call.account
    said.append(f"  a device computes    {account.matrix_flops / 1e12:.4g} TFLOP, and moves {_size(account.bytes)}")
    said += [
        f"  {name:<20} {_size(moved)} in {account.calls.get(name, 0):,.0f} calls"
        for name, moved in sorted(account.collectives.items(), key=lambda item: -item[1])
        if moved >= 1e-3 * account.collective_bytes
    ]
    if found:
        each = ", ".join(f"{name} {_time(took)}" for name, took in sorted(found.seconds.items(), key=lambda i: -i[1]))
        what = "positions" if part.name == LEARN else "tokens"
        said += [
            f"  alone                {each}; {found.binds} binds",
            f"  time                 at least {_time(found.at_least_s)}, predicted {_time(found.predicted_s)}: "
            f"{part.tokens / found.predicted_s:,.0f} {what}/s, {_share(part, plan):.0f} % of the matrix rate",
        ]
    return said + _warnings(part)


def _verdict(part: Part, room: float) -> str:
    needs = max(sum(part.memory.values()), part.call.refused)
    if part.fits is None:
        return f"{_size(needs)} a device"
    free = f"{needs / GIB:.2f} of {room / GIB:.2f} GiB a device"
    return f"fits, {free}" if part.fits else f"DOES NOT FIT, needs {free}"


def _share(part: Part, plan: Plan) -> float:
    assert part.bound is not None
    rate = plan.topology.chip.flops_s
    return 100 * part.call.account.matrix_flops / (part.bound.predicted_s * rate) if rate else 0.0


def _warnings(part: Part) -> list[str]:
    account, said = part.call.account, []
    if part.call.involuntary:
        said.append(f"  the partitioner replicates {part.call.involuntary:.0f} values whole (involuntary)")
    if account.rematerialized:
        said.append(f"  the compiler computes {account.rematerialized:.0f} values again to save memory")
    if account.opaque:
        said.append(f"  not counted: {', '.join(account.opaque)}")
    return said


def ranking(plans: Sequence[Plan]) -> list[str]:
    """One line a mesh, the best first."""
    said = [f"{'data':>5} {'fsdp':>5} {'tp':>4}  {'memory':>10}  {'predicted':>10}  {'at least':>10}  binds"]
    for plan in plans:
        memory = max(max(sum(part.memory.values()), part.call.refused) for part in plan.parts)
        first = plan.parts[0].bound
        times = [_time(first.predicted_s), _time(first.at_least_s), first.binds] if first else ["-", "-", "-"]
        row = f"{plan.mesh['data']:>5} {plan.mesh['fsdp']:>5} {plan.mesh['tp']:>4}  {_size(memory):>10}  "
        row += f"{times[0]:>10}  {times[1]:>10}  {times[2]}"
        said.append(row + ("  does not fit" if plan.fits is False else ""))
    return said


def _size(count: float) -> str:
    for unit, size in (("GiB", GIB), ("MiB", MIB)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count / 2**10:.1f} KiB"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.3g} us"
