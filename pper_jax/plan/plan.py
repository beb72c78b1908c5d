"""What a run would take on hardware that is not here: its two calls, compiled for it and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from pper_jax.errors import UserError
from pper_jax.loop.config import RunConfig
from pper_jax.models import ModelConfig
from pper_jax.models.weights import parameter_shapes
from pper_jax.plan.bounds import Bound, bound
from pper_jax.plan.chips import axis_rate
from pper_jax.plan.compiling import Compiled, compile_call, extended, remembered
from pper_jax.plan.steps import (
    STEPS,
    Lowered,
    at_depth,
    check_batches,
    lower_decode,
    lower_learn,
    mesh_of,
    prompt_slots,
    shape_of,
)
from pper_jax.plan.topology import Topology, devices_of
from pper_jax.settings import to_dict
from pper_jax.terminal import check_interrupted

LEARN, DECODE = "learn step", "decode segment"
LOWERING: dict[str, Callable[..., Lowered]] = {LEARN: lower_learn, DECODE: lower_decode}
SECTIONS = ("beam", "replay", "optimizer", "train", "lora")  # of a configuration, which decide what is compiled


@dataclass(frozen=True)
class Part:
    """One of the run's calls.

    Attributes:
        name: ``learn step`` or ``decode segment``.
        call: what was compiled, a segment of ``STEPS`` tokens where it decodes.
        bound: how long it takes at best; None where the chip has no rates.
        memory: bytes a device at its height, by what they are, what other calls keep there included.
        fits: whether that is within the chip's memory; None where the chip has none of its own.
        tokens: positions that a learn step reads, padding included; tokens that a segment writes, of all beams.
    """

    name: str
    call: Compiled
    bound: Bound | None
    memory: dict[str, float]
    fits: bool | None
    tokens: int


@dataclass(frozen=True)
class Plan:
    """A run on a topology, with its mesh.

    Attributes:
        config: what was asked.
        model: its shape.
        topology: the hardware.
        dtype: of the computation.
        mesh: axis -> size.
        parts: the calls.
        layers: the depths that were compiled and extended along a line; empty where the whole was compiled.
    """

    config: RunConfig
    model: ModelConfig
    topology: Topology
    dtype: str
    mesh: dict[str, int]
    parts: tuple[Part, ...]
    layers: tuple[int, ...] = ()

    @property
    def fits(self) -> bool | None:
        """Whether every part does."""
        found = [part.fits for part in self.parts]
        return None if None in found else all(found)

    @property
    def predicted_s(self) -> float:
        """Of all parts, for comparing; infinite where a part has none."""
        return sum(part.bound.predicted_s if part.bound else float("inf") for part in self.parts)


def plan_run(
    config: RunConfig,
    topology: Topology,
    *,
    layers: tuple[int, ...] = (),
    parts: tuple[str, ...] = (LEARN, DECODE),
    devices: list[Any] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Plan one run on one mesh, the configuration's.

    Args:
        config: the run's; ``model`` may be a shape that needs no file.
        topology: the hardware.
        layers: two depths to compile in the place of the model's own, from which its figures are extended. A learn
            step with ``train.scan_layers`` is compiled whole: one layer of it is compiled, whatever the depth.
        parts: which calls.
        devices: of the topology, where they are known already.
        tell: takes a sentence before each compilation.

    Raises:
        UserError: the topology or the mesh does not fit, the rows do not divide, no such model.
    """
    model = shape_of(config.model)
    _check_layers(layers, model)
    mesh = mesh_of(to_dict(config.mesh), devices_of(topology) if devices is None else devices)
    check_batches(config, model, mesh)
    dtype = config.dtype if config.dtype != "auto" else _usual_dtype(topology)
    calls = {name: _compiled(name, config, model, topology, dtype, mesh, layers, tell) for name in parts}
    kept = _kept(config, calls)
    sizes = dict(mesh.shape)
    return Plan(
        config,
        model,
        topology,
        dtype,
        sizes,
        tuple(_part(name, call, config, topology, sizes, kept[name]) for name, call in calls.items()),
        layers,
    )


def _usual_dtype(topology: Topology) -> str:
    return "float32" if topology.chip.platform == "cpu" else "bfloat16"


def _check_layers(layers: tuple[int, ...], model: ModelConfig) -> None:
    if layers and not (len(layers) == 2 and 0 < layers[0] < layers[1] <= model.num_layers):
        raise UserError(
            f"--layers {','.join(map(str, layers))}: give two depths, the smaller first, such as 2,4; "
            f"the model has {model.num_layers} layers"
        )


def _compiled(
    name: str,
    config: RunConfig,
    model: ModelConfig,
    topology: Topology,
    dtype: str,
    mesh: Any,
    layers: tuple[int, ...],
    tell: Callable[[str], None],
) -> Compiled:
    """One call, compiled whole or at two depths; from the cache where it was before."""

    def at(depth: int) -> Compiled:
        check_interrupted()
        shape = at_depth(model, depth)
        asked = {
            "call": name,
            "model": to_dict(shape),
            "dtype": dtype,
            "topology": topology.text,
            "mesh": dict(mesh.shape),
            "rounds": config.rounds,
            **{section: to_dict(getattr(config, section)) for section in SECTIONS},
        }

        def make() -> Compiled:
            sizes = "x".join(str(size) for size in mesh.shape.values())
            tell(f"compiling the {name} for {topology.text}, data x fsdp x tp = {sizes}, {depth} layers")
            return compile_call(LOWERING[name](config, shape, dtype, mesh), mesh)

        return remembered(asked, make)

    if not _is_extended(name, config, layers):
        return at(model.num_layers)
    return extended(at(layers[0]), at(layers[1]), (layers[0], layers[1]), model.num_layers)


def _is_extended(name: str, config: RunConfig, layers: tuple[int, ...]) -> bool:
    """Whether a call is compiled at two depths: one of the learn step's layers is compiled where it scans them."""
    return bool(layers) and not (name == LEARN and config.train.scan_layers)


def _part(
    name: str, call: Compiled, config: RunConfig, topology: Topology, mesh: dict[str, int], kept: dict[str, float]
) -> Part:
    memory = dict(call.holds)
    if not call.refused:
        memory["layout"] = max(0.0, call.arguments - sum(call.holds.values()))
        memory |= {"temporaries": call.temporaries, "results": call.outputs, "code": call.code}
    memory |= {f"kept {what}": size for what, size in kept.items() if not _same_weights(what, mesh)}
    room = topology.chip.memory
    needs = max(sum(memory.values()), call.refused)
    return Part(
        name=name,
        call=call,
        bound=bound(call, topology, mesh),
        memory=memory,
        fits=(not call.refused and needs <= room) if room else None,
        tokens=_tokens(name, config),
    )


def _kept(config: RunConfig, calls: dict[str, Compiled]) -> dict[str, dict[str, float]]:
    """What lies on the chips during each call and is no argument of it: the reference; what training goes on with."""
    trained = calls[LEARN].holds if LEARN in calls else {}
    apart = "reference_logprobs" in config.train.objective.needs and not config.lora.rank
    reference = {"reference": trained.get("parameters", 0.0)} if apart else {}
    return {LEARN: reference, DECODE: {**trained, **reference}}


def _same_weights(what: str, mesh: dict[str, int]) -> bool:
    """Whether decoding reads the very weights that are trained: they lie alike where fsdp splits nothing."""
    return what == "parameters" and mesh["fsdp"] == 1


def _tokens(name: str, config: RunConfig) -> int:
    if name == LEARN:
        return config.train.batch_size * config.train.max_length
    return config.beam.batch_size * config.beam.width * STEPS


def meshes(topology: Topology, config: RunConfig, model: ModelConfig) -> Iterator[dict[str, int]]:
    """The ways to split the chips over data, fsdp and tp that divide the rows and the heads."""
    count = topology.count
    for tp in (n for n in range(1, count + 1) if count % n == 0 and model.num_heads % n == 0):
        for fsdp in (n for n in range(1, count // tp + 1) if (count // tp) % n == 0):
            sizes = {"data": count // tp // fsdp, "fsdp": fsdp, "tp": tp}
            if config.train.batch_size % (sizes["data"] * fsdp * config.train.accumulate) == 0:
                yield sizes


def estimate_s(sizes: dict[str, int], topology: Topology, config: RunConfig, model: ModelConfig) -> float:
    """Seconds, by the usual formulas, by which it is chosen which meshes are compiled first; infinite: no room.

    Of ``P`` parameters of 4 bytes, ``T`` tokens of a step and width ``M`` a device moves ``2 P / (fsdp tp)`` over data
    (gradients), ``3 P / tp`` a micro-batch over fsdp (weights, gradients; ``2 P / tp`` a step where they are gathered
    once) and ``8 T M`` numbers a layer over tp (the residual stream).
    """
    data, fsdp, tp = sizes.values()
    weights = 4.0 * sum(prod(shape) for shape in parameter_shapes(model).values())
    if topology.chip.memory and 3 * weights / (fsdp * tp) > topology.chip.memory:
        return float("inf")
    tokens = config.train.batch_size * config.train.max_length / (data * fsdp)
    stream = 8 * tokens * model.hidden_size * 2 * model.num_layers
    passes = 2 if config.train.gather == "once" else 3 * config.train.accumulate
    moved = ((data, 2 * weights / (fsdp * tp)), (fsdp, passes * weights / tp), (tp, stream))
    return sum((n - 1) / n * size / (axis_rate(topology.chip, topology.dims, n) or 1.0) for n, size in moved)


def search(
    config: RunConfig, topology: Topology, *, most: int, tell: Callable[[str], None] = lambda _: None, **options: Any
) -> list[Plan]:
    """Plans of at most ``most`` meshes, those first that :func:`estimate_s` prefers; ranked, those that fit first.

    Raises:
        UserError: as :func:`plan_run`; or no mesh divides the rows.
    """
    model, devices = shape_of(config.model), devices_of(topology)
    found = sorted(meshes(topology, config, model), key=lambda sizes: estimate_s(sizes, topology, config, model))
    if not found:
        raise UserError(
            f"no mesh of {topology.count} devices divides train.batch_size {config.train.batch_size} "
            f"(accumulate {config.train.accumulate}) and {model.num_heads} heads; change the batch size"
        )
    plans = []
    for sizes in found[:most]:
        mesh = replace(config.mesh, **sizes)
        plans.append(plan_run(replace(config, mesh=mesh), topology, devices=devices, tell=tell, **options))
    return sorted(plans, key=lambda plan: (plan.fits is False, plan.predicted_s, _largest(plan)))


def _largest(plan: Plan) -> float:
    return max(sum(part.memory.values()) for part in plan.parts)


def assumptions(plan: Plan) -> list[str]:
    """What the figures rest on, in sentences."""
    config, chip = plan.config, plan.topology.chip
    slots = prompt_slots(config, plan.model)
    said = [
        f"a learn step takes {config.train.batch_size} rows of {config.train.max_length} tokens, padding included",
        f"a decode segment extends {config.beam.batch_size} prompts of {slots} tokens by {STEPS} tokens each, with "
        f"{config.beam.width} beams and room for {config.beam.max_new_tokens}; reading prompts comes on top",
        "parameters, moments and gradients are float32; products are computed in " + plan.dtype,
    ]
    if chip.flops_s is not None:
        said += [
            "no call is faster than its slowest resource (at least); predicted: products and memory overlap, the "
            "interconnect does not; testing programs, the host and evaluation are left out",
            f"rates are the maker's for bfloat16 ({chip.source}); memory traffic is what the module states",
        ]
    along = [part.name for part in plan.parts if _is_extended(part.name, config, plan.layers)]
    if along:
        a, b = plan.layers
        depths = f"compiled with {a} and {b} layers, and extended along a line to {plan.model.num_layers}"
        said.append(f"{' and '.join(along)}: {depths}")
    return said
