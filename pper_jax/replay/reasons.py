"""Draws for a person: as plain rows, and why each happened as a sentence. Host side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pper_jax.replay.draws import Draw
from pper_jax.replay.options import ReplayConfig
from pper_jax.replay.priorities import named


def draw_rows(draw: Draw, programs: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
    """Plain rows of the draws that happened; ``programs [n]`` are the ids of the rows drawn.

    ``worth`` stands there where it is not the P2Value.
    """
    host = {name: np.asarray(getattr(draw, name)) for name in Draw.__dataclass_fields__}
    possibility = np.exp(host["log_possibility"])
    return [
        {
            "program": int(programs[int(row)]),
            "possibility": float(possibility[row]),
            "pass_rate": float(host["pass_rate"][row]),
            "p2value": float(host["p2value"][row]),
            **({"worth": float(host["worth"][row])} if host["worth"][row] != host["p2value"][row] else {}),
            "rank": int(host["rank"][row]),
            "probability": float(host["probability"][row]),
            "times_drawn": int(host["times_drawn"][row]),
        }
        for row in np.flatnonzero(host["indices"] >= 0)
    ]


def draw_reason(draw: dict[str, Any], config: ReplayConfig) -> str:
    """Why a program was drawn, as a sentence; ``draw`` is a row of :func:`draw_rows`."""
    chance = f"{100 * draw['probability']:.2f} % of a draw"
    extra = _modifiers(config)
    if config.even:
        if not extra:
            whose = "program of its round" if config.mode == "none" else "stored program"
            return f"every {whose} was equally likely (probability {draw['probability']:.2g} a draw)"
        return f"all stored programs counted alike {extra}, which gives this one {chance}"
    worth = draw.get("worth", draw["p2value"])
    if config.scheme == "proportional" and not worth > 0 and config.uniform_mix == 0:
        return f"no stored program had any {named(config.priority).noun}, so that each was equally likely ({chance})"
    comma = f", {extra}," if extra else ""
    return (
        f"{_value(draw, config, worth)}, rank {draw['rank']} in the buffer, "
        f"so {config.scheme} sampling with omega {config.omega:g}{comma} gives it {chance}"
    )


def _value(draw: dict[str, Any], config: ReplayConfig, worth: float) -> str:
    if config.priority != "p2value":
        return f"{named(config.priority).noun} {worth:.3f} (pass rate {draw['pass_rate']:.2f})"
    return (
        f"{config.alpha:g} x possibility {draw['possibility']:.3f} + {1 - config.alpha:g} x pass rate "
        f"{draw['pass_rate']:.2f} = P2Value {draw['p2value']:.3f}"
    )


def _modifiers(config: ReplayConfig) -> str:
    """What else decides how often a program comes."""
    fresh = f"with {100 * config.fresh:.3g} % of the draws made among the newest round's programs"
    found = [fresh] if config.fresh > 0 else []
    if config.mode != "pper":
        return "".join(found)
    if config.age_decay > 0:
        found.append(f"but for an age decay over {config.age_decay:g} rounds")
    if config.uniform_mix > 0 and (found or not config.even):
        found.append(f"with {100 * config.uniform_mix:.3g} % of the draws made evenly")
    return " and ".join(found)
