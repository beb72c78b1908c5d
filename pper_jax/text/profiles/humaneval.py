"""HumanEval as its authors ask (Chen et al., 2107.03374, section 2.1): the function's head, and five stops."""

from __future__ import annotations

from pper_jax.tasks import Task
from pper_jax.text.profiles.base import prompt
from pper_jax.text.profiles.profile import Profile

STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")


def stops(task: Task) -> tuple[str, ...]:
    """The paper's, whatever the tasks file says."""
    return STOPS


PROFILE = Profile("humaneval", "the function's head, and the stops of the HumanEval paper", prompt, stops)
