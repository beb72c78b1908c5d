"""What a stored program is worth: a :class:`Priority`, one rule a file, looked up by the name that options give it.

A rule of one's own is a :class:`Priority` in a module that Python finds; ``module:NAME`` names it.
"""

from __future__ import annotations

from importlib import import_module

from pper_jax.errors import UserError
from pper_jax.replay.priorities import advantage, improvement, learnability, p2value, shuffled
from pper_jax.replay.priorities.rule import Priority, Scope, Stored, task_mean

__all__ = ["KNOWN", "Priority", "Scope", "Stored", "named", "task_mean"]

KNOWN: dict[str, Priority] = {
    "p2value": p2value.RULE,
    "advantage": advantage.RULE,
    "improvement": improvement.RULE,
    "learnability": learnability.RULE,
    "shuffled": shuffled.RULE,
}


def named(name: str) -> Priority:
    """The rule that ``replay.priority`` names: one of ``KNOWN``, or ``module:NAME``, imported.

    Raises:
        UserError: no such rule.
    """
    if isinstance(name, str) and name in KNOWN:
        return KNOWN[name]
    shown = repr(name) if len(repr(name)) <= 60 else repr(name)[:57] + "..."
    module, colon, attribute = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not (module and colon and attribute):
        raise UserError(
            f"replay.priority is {shown}; it must be one of {', '.join(KNOWN)}, or module:NAME for a rule of your own"
        )
    try:
        rule = getattr(import_module(module), attribute)
    except Exception as error:
        reason = str(error).split("\n", 1)[0][:100]
        raise UserError(f"replay.priority is {shown}, which cannot be imported: {reason}") from error
    if not isinstance(rule, Priority):
        raise UserError(f"replay.priority is {shown}, which is no pper_jax.replay.Priority but a {type(rule).__name__}")
    return rule
