"""Options of replay, written once: what is stored, what it is worth, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar, dataclass
from functools import wraps
from typing import Any, Literal, TypeVar, get_args

from pper_jax.errors import UserError
from pper_jax.ranges import check_number
from pper_jax.replay import priorities
from pper_jax.replay.p2value import Possibility, Scheme
from pper_jax.replay.sum_tree import Target

Mode = Literal["pper", "uniform", "none"]
Store = Literal["all", "failed", "solved"]
Evict = Literal["oldest", "lowest"]
Preset = Literal["none", "paper", "safe", "best"]
Tests = Literal["equal", "rare"]

# What a preset says where nothing else is given: the paper's algorithm as published, one that avoids what is known to
# go wrong with it (few programs drawn, copies, one task above all), and the best that was found (docs/studies.md).
PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "paper": {"possibility": "joint", "scheme": "rank", "omega": 1.0, "uniform_mix": 0.0, "beta": 0.0, "store": "all"},
    "safe": {
        "possibility": "geomean",
        "scheme": "rank",
        "omega": 0.7,
        "uniform_mix": 0.1,
        "beta": 0.5,
        "dedup": True,
        "task_cap": 16,
        "store": "all",
    },
    "best": {"alpha": 0.0, "scheme": "proportional", "omega": 4.0, "store": "all"},
}

C = TypeVar("C", bound=type)


def _filled_in_by_preset(cls: C) -> C:
    """Let the keyword ``preset`` give, below what the caller gives, the options that it names."""
    plain: Callable[..., None] = vars(cls)["__init__"]

    @wraps(plain)
    def __init__(self: Any, *rest: Any, **given: Any) -> None:
        preset = given.get("preset")
        plain(self, *rest, **{**(PRESETS.get(preset, {}) if isinstance(preset, str) else {}), **given})

    type.__setattr__(cls, "__init__", __init__)
    return cls


_CHOICES = {
    "mode": Mode,
    "possibility": Possibility,
    "scheme": Scheme,
    "store": Store,
    "target": Target,
    "evict": Evict,
    "preset": Preset,
    "tests": Tests,
}
_MOST = 1e6  # of exponents: beyond, float32 has no number for a power's logarithm
_SLOTS = 2**27


@_filled_in_by_preset
@dataclass(frozen=True)
class ReplayConfig:
    """What is stored, what it is worth and how it is drawn; hashable, so that it can be a static argument.

    Attributes:
        mode: ``pper`` draws by priority; ``uniform`` draws every stored program alike, whatever the options of draws
            say; ``none`` does so too, and holds the programs of the last :func:`add` alone.
        capacity: slots; when they are full a program makes room, see ``evict``.
        alpha: weight of the possibility in P2Value, 0 to 1.
        omega: exponent of the priorities; 0 draws evenly.
        beta: exponent of the importance weights; 0 switches them off, 1 undoes the prioritization in expectation.
        possibility: see :func:`pper_jax.replay.p2value.log_possibility`.
        scheme: see :func:`pper_jax.replay.p2value.priorities`.
        uniform_mix: share of the draws made uniformly, 0 to 1.
        store: keep all programs (the paper), or only those that fail a test, or only those that pass all.
        target: ``exact`` or ``dithered`` draws, see :func:`pper_jax.replay.sum_tree.sample`.
        age_decay: rounds in which a program's priority falls by a factor of e; 0 switches it off.
        replacement: False draws each program at most once a batch (O(capacity), by the Gumbel trick).
        dedup: a program whose tokens a task has already replaces the one stored.
        task_cap: programs kept of a task, the newest or the best as ``evict`` says; 0 sets no limit.
        evict: whether the oldest makes room or, newcomers included, what the priority says is worth least.
        preset: ``paper``, ``safe`` or ``best``: options as ``PRESETS`` has them, below those that are given.
        stratified: one draw from each of ``n`` equal parts of the probability instead of ``n`` independent draws.
        min_pass_rate: programs that pass a smaller share of their tests are not stored.
        tests: what counts as a program's pass rate: ``equal`` is the share of its tests that it passes; with ``rare`` a
            test counts the more, the fewer of its task's programs of that round pass it.
        refresh: whether a drawn program's log-prob, which each step measures, takes the stored one's place and its
            priority follows; False keeps those that the programs were stored with.
        fresh: share of each batch drawn evenly from the newest round's programs, 0 to 1; the rest by priority.
        priority: what a program is worth: ``p2value``, ``advantage``, ``improvement``, ``learnability``, ``shuffled``
            (the control: the P2Value of another stored program, chosen by chance), or ``module:NAME`` for a
            :class:`pper_jax.replay.Priority` of one's own.
        max_length: no option but the row length that :func:`init` takes where it is given none.
    """

    _: KW_ONLY
    mode: Mode = "pper"
    capacity: int = 4096
    alpha: float = 0.5
    omega: float = 0.7
    beta: float = 0.0
    possibility: Possibility = "geomean"
    scheme: Scheme = "rank"
    uniform_mix: float = 0.0
    store: Store = "all"
    target: Target = "exact"
    age_decay: float = 0.0
    replacement: bool = True
    dedup: bool = False
    task_cap: int = 0
    evict: Evict = "oldest"
    preset: Preset = "none"
    stratified: bool = True
    priority: str = "p2value"
    min_pass_rate: float = 0.0
    fresh: float = 0.0
    refresh: bool = True
    tests: Tests = "equal"
    max_length: InitVar[int | None] = None

    def __post_init__(self, max_length: int | None) -> None:
        check_number("replay.capacity", self.capacity, least=1, most=_SLOTS, whole=True)
        check_number("replay.task_cap", self.task_cap, least=0, most=_SLOTS, whole=True)
        shares = tuple((name, 1) for name in ("alpha", "uniform_mix", "min_pass_rate", "fresh"))
        for name, most in (*shares, ("omega", _MOST), ("beta", _MOST), ("age_decay", None)):
            check_number(f"replay.{name}", getattr(self, name), least=0, most=most)
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                value = f"{getattr(self, name)!r:.60}"
                raise UserError(f"replay.{name} is {value}; it must be one of {', '.join(get_args(kind))}")
        for name in ("replacement", "dedup", "stratified", "refresh"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"replay.{name} is {getattr(self, name)!r:.60}; it must be true or false")
        if self.store == "failed" and self.min_pass_rate >= 1:
            raise UserError(
                "replay.min_pass_rate is 1 and replay.store is failed, so that nothing is stored; lower one"
            )
        priorities.named(self.priority)
        if max_length is not None:
            check_number("replay.max_length", max_length, least=1, whole=True)
            object.__setattr__(self, "max_length", max_length)

    @property
    def even(self) -> bool:
        """Whether worth plays no part in draws (age and ``mode`` may)."""
        return self.mode != "pper" or self.scheme == "uniform" or self.omega == 0

    def fresh_draws(self, n: int) -> int:
        """How many of ``n`` draws come from the newest round's programs."""
        return round(self.fresh * n)
