"""Prompts and programs between text and tokens."""

from pper_jax.text.completion import completion_text, completion_tokens, encode
from pper_jax.text.stops import Completion, cut_program, stop_token_suffixes, trim_program

__all__ = [
    "Completion",
    "completion_text",
    "completion_tokens",
    "cut_program",
    "encode",
    "stop_token_suffixes",
    "trim_program",
]
