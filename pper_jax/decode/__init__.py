"""Decoding: prompts in, programs with their log-probabilities out."""

from pper_jax.decode.beam import BeamConfig, beam_search
from pper_jax.decode.cache import init_cache
from pper_jax.decode.devices import lay_out
from pper_jax.decode.distinct import distinct
from pper_jax.decode.diverse import DiverseBeamConfig
from pper_jax.decode.ends import Ends, RowEnds, row_ends
from pper_jax.decode.engine import cache_bytes, decode_prompts
from pper_jax.decode.method import Method
from pper_jax.decode.outlook import Outlook
from pper_jax.decode.prompts import HostProgram, pack_prompts, prompts_from_padded, to_host
from pper_jax.decode.sample import SampleConfig, sample
from pper_jax.decode.score import score
from pper_jax.decode.shared import shared_prefix
from pper_jax.decode.stochastic import (
    StochasticBeamConfig,
    StochasticPrograms,
    estimate,
    inclusion_log_probability,
    inclusion_weights,
    stochastic_beam_search,
)
from pper_jax.text import stop_token_suffixes, trim_program

__all__ = [
    "BeamConfig",
    "DiverseBeamConfig",
    "Ends",
    "HostProgram",
    "Method",
    "Outlook",
    "RowEnds",
    "SampleConfig",
    "StochasticBeamConfig",
    "StochasticPrograms",
    "beam_search",
    "cache_bytes",
    "decode_prompts",
    "distinct",
    "estimate",
    "inclusion_log_probability",
    "inclusion_weights",
    "init_cache",
    "lay_out",
    "pack_prompts",
    "prompts_from_padded",
    "row_ends",
    "sample",
    "score",
    "shared_prefix",
    "stochastic_beam_search",
    "stop_token_suffixes",
    "to_host",
    "trim_program",
]
