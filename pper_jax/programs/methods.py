"""Decoding methods by the names of the command line."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pper_jax.decode import BeamConfig, DiverseBeamConfig, Method, SampleConfig, StochasticBeamConfig
from pper_jax.errors import UserError

# What a name stands for: a dataclass of options, and those of them that the name decides.
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "beam": (BeamConfig, {}),
    "diverse-beam": (DiverseBeamConfig, {}),
    "stochastic-beam": (StochasticBeamConfig, {}),
    "greedy": (SampleConfig, {"width": 1, "temperature": 0.0, "top_p": 1.0}),
    "sample": (SampleConfig, {}),
}
PROGRAMS = 3  # a task, where nothing is said


def decode_config(
    method: str,
    width: int | None,
    max_new_tokens: int,
    temperature: float | None = None,
    top_p: float | None = None,
    groups: int | None = None,
    diversity: float | None = None,
    *,
    width_flag: str = "--beams",
) -> Method:
    """The decoder's options for ``--method beam | diverse-beam | stochastic-beam | greedy | sample``.

    Args:
        method: its name.
        width: programs a task; None: 3, for greedy decoding 1.
        max_new_tokens: length limit.
        temperature: None, as for the rest: the dataclass's own default.
        top_p: for sampling.
        groups: for diverse beams; None: one beam each.
        diversity: for diverse beams.
        width_flag: what the user calls ``width``.

    Raises:
        UserError: an option is given that ``method`` does not take, or out of its range.
    """
    if method not in METHODS:
        raise UserError(f"there is no method {method[:60]!r}; use one of {', '.join(METHODS)}")
    kind, fixed = METHODS[method]
    given = {"width": width, "temperature": temperature, "top_p": top_p, "groups": groups, "diversity": diversity}
    options = fixed | {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in _open(method) and options[name] != fixed.get(name):
            flag = width_flag if name == "width" else "--" + name.replace("_", "-")
            others = ", ".join(other for other in METHODS if name in _open(other))
            raise UserError(
                f"{flag} is an option of {others}, not of --method {method}; leave it out or choose another"
            )
    options.setdefault("width", PROGRAMS)
    if "groups" in _open(method):
        options.setdefault("groups", options["width"])
    if "width" not in {field.name for field in fields(kind)}:
        options["num_samples"] = options.pop("width")
    config: Method = kind(**options, max_new_tokens=max_new_tokens)
    return config


def _open(method: str) -> set[str]:
    """The options that ``method`` takes, by the names of ``decode_config``."""
    kind, fixed = METHODS[method]
    return {"width" if field.name == "num_samples" else field.name for field in fields(kind)} - fixed.keys()
