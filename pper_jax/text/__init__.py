"""Prompts and programs between text and tokens."""

from pper_jax.text.completion import completion_text, completion_tokens, encode
from pper_jax.text.profiles import BASE, PROFILES, Profile, profile_named, with_examples
from pper_jax.text.stops import Completion, cut_program, stop_token_suffixes, trim_program

__all__ = [
    "BASE",
    "PROFILES",
    "Completion",
    "Profile",
    "completion_text",
    "completion_tokens",
    "cut_program",
    "encode",
    "profile_named",
    "stop_token_suffixes",
    "trim_program",
    "with_examples",
]
