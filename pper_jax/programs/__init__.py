"""Programs: written (phase B), tested (phase T), scored and judged; files as they go.

What needs jax is imported when it is first asked for, so that testing programs does not wait for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pper_jax.programs.evaluate import sample_file
from pper_jax.programs.figures import count_statuses, figures, print_figures, summarise_verdicts
from pper_jax.programs.testing import run_tests, test_file

if TYPE_CHECKING:
    from pper_jax.programs.language_model import LanguageModel, encode_prompts, open_model
    from pper_jax.programs.methods import decode_config
    from pper_jax.programs.score import score_file
    from pper_jax.programs.write import sample_tasks

_LATE = {
    **dict.fromkeys(("LanguageModel", "encode_prompts", "open_model"), "language_model"),
    "decode_config": "methods",
    "sample_tasks": "write",
    "score_file": "score",
}

__all__ = [
    "LanguageModel",
    "count_statuses",
    "decode_config",
    "encode_prompts",
    "figures",
    "open_model",
    "print_figures",
    "run_tests",
    "sample_file",
    "sample_tasks",
    "score_file",
    "summarise_verdicts",
    "test_file",
]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
