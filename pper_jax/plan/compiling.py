"""Compiling ahead of time, and what is kept of it: accounts and bytes, in a cache of JSON files."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.files import digest, digest_path, write_json
from pper_jax.folders import cache_folder
from pper_jax.plan.heard import heard
from pper_jax.plan.hlo import Account, account, involuntary
from pper_jax.plan.steps import Lowered

SIZES = {"G": 2**30, "M": 2**20, "K": 2**10, "": 1}
_NEEDS = re.compile(r"temporaries \(([\d.]+)([GMK]?)\) exceeds|Used ([\d.]+)([GMK]?) of", re.IGNORECASE)


@dataclass(frozen=True)
class Compiled:
    """What is kept of a compiled call, all of it for one device.

    Attributes:
        account: of its text.
        holds: bytes of its arguments as arrays, by what they are.
        arguments: bytes of the same as the compiler lays them out.
        outputs: bytes of the results that take no argument's place.
        temporaries: bytes at the height of the call, beside arguments and results.
        code: bytes of the program.
        involuntary: values that the partitioner replicated whole for want of a better way.
        refused: bytes that it would need, where the compiler refuses it for want of memory; the rest is empty then.
        seconds: that compiling took.
    """

    account: Account = field(default_factory=Account)
    holds: dict[str, float] = field(default_factory=dict)
    arguments: float = 0.0
    outputs: float = 0.0
    temporaries: float = 0.0
    code: float = 0.0
    involuntary: float = 0.0
    refused: float = 0.0
    seconds: float = 0.0

    @property
    def total(self) -> float:
        """Bytes of a device at the height of the call."""
        return self.refused or self.arguments + self.outputs + self.temporaries + self.code


def compile_call(lowered: Lowered, mesh: Any) -> Compiled:
    """Compile for the mesh's devices."""
    began = time.monotonic()
    with heard() as said:
        try:
            call = lowered.call.compile()
        except Exception as error:  # of jaxlib; what it raises differs between platforms
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            held = sum(lowered.holds.values())
            return Compiled(holds=lowered.holds, refused=held + _needs(str(error)), seconds=time.monotonic() - began)
        took = time.monotonic() - began
    memory = call.memory_analysis()
    return Compiled(
        account(call.as_text(), mesh, trips=lowered.trips),
        lowered.holds,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        involuntary=involuntary(said[0]),
        seconds=took,
    )


def _needs(refusal: str) -> float:
    """Bytes beside its arguments that a call needs, as the compiler says when it refuses it; 1 where it says none."""
    found = _NEEDS.search(refusal)
    number, unit = [part for part in found.groups() if part is not None] if found else ("1", "")
    return float(number) * SIZES[unit.upper()]


def extended(shallow: Compiled, deep: Compiled, layers: tuple[int, int], to: int) -> Compiled:
    """What a model of ``to`` layers takes, along the line through two depths ``layers`` of it."""
    if deep.refused and not shallow.refused:
        return deep  # and more layers need more
    steps = (to - layers[0]) / (layers[1] - layers[0])

    def line(a: Any, b: Any) -> Any:
        if isinstance(a, dict):
            return {key: line(a.get(key, 0.0), b.get(key, 0.0)) for key in {**a, **b}}
        return a + (b - a) * steps

    def lines(a: Any, b: Any, *apart: str) -> dict[str, Any]:
        return {f.name: line(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.name not in apart}

    return Compiled(
        account=Account(**lines(shallow.account, deep.account)),
        seconds=shallow.seconds + deep.seconds,
        **lines(shallow, deep, "account", "seconds"),
    )


def remembered(asked: Any, make: Callable[[], Compiled]) -> Compiled:
    """What ``make`` gives; from the cache where the same was ``asked`` of the same versions before."""
    path = _cache_file({"asked": asked, "versions": versions()})
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        if path is not None and path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            return Compiled(**{**stored, "account": Account(**stored["account"])})
    made = make()
    if path is not None:
        with contextlib.suppress(OSError):  # a cache that cannot be written is none
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, asdict(made))
    return made


def _cache_file(asked: Any) -> Path | None:
    try:
        return cache_folder() / "plans" / f"{digest(asked)}.json"
    except UserError:
        return None


@cache
def versions() -> dict[str, str]:
    """Of what decides a compiled call: jax, XLA, the compiler for TPUs, libraries, and this package's text."""
    found = {}
    for name in ("jax", "jaxlib", "libtpu", "flax", "optax"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    for name in ("pper_jax", "pper_kernels"):
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folders = {file.parent for file in Path(place).rglob("*.py")}
            found[name] = digest([digest_path(folder) for folder in sorted(folders)])
    return found
