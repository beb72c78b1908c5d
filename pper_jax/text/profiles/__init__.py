"""Prompt profiles by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pper_jax.errors import UserError, cut, shown
from pper_jax.tasks import Task
from pper_jax.text.profiles import apps, base, chat, humaneval, mbpp_fewshot
from pper_jax.text.profiles.profile import Profile

BASE = base.PROFILE
_ALL = (BASE, humaneval.PROFILE, mbpp_fewshot.PROFILE, apps.PROFILE, chat.PROFILE)
PROFILES = {profile.name: profile for profile in _ALL}

__all__ = ["BASE", "PROFILES", "Profile", "profile_named", "with_examples"]


def profile_named(name: str) -> Profile:
    """The profile called ``name``.

    Raises:
        UserError: there is none.
    """
    if name not in PROFILES:
        raise UserError(f"no prompt profile is called {shown(name)}; choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def with_examples(profile: Profile, tasks: Sequence[Task], where: str) -> Profile:
    """``profile`` with the examples that it shows, which are among ``tasks`` of ``where``.

    Raises:
        UserError: one is not there, or has no reference.
    """
    known = {task.task_id: task for task in tasks if task.reference is not None}
    for shot in profile.shots:
        if shot not in known:
            raise UserError(
                f"profile {profile.name} shows the tasks {', '.join(profile.shots)} with their references, and "
                f"{cut(where)} has no {shot} with one; name a tasks file that has them as examples"
            )
    return replace(profile, examples=tuple(known[shot] for shot in profile.shots))
