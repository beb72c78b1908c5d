"""Attention of the beams of a prompt over the shared prompt and the tokens of their ancestors."""

from pper_kernels.beam_attention.api import beam_attention

__all__ = ["beam_attention"]
