"""Prompts and programs between text and tokens."""

from pper_jax.text.stops import stop_token_suffixes, trim_program

__all__ = ["stop_token_suffixes", "trim_program"]
