"""Slots of the cache that no beam descends from any more are used again, and no program changes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decode_stand_ins import EOS, PROMPTS, SAMPLE, SLOTS, tiny_gpt2

from pper_jax.decode import BeamConfig, DiverseBeamConfig, StochasticBeamConfig, decode_prompts, engine, pack_prompts
from pper_jax.decode.segments import advance_until, begin, compact, grow, live_slots

METHODS = [
    BeamConfig(width=4, max_new_tokens=12, eos_ids=(EOS,)),
    DiverseBeamConfig(width=4, groups=2, max_new_tokens=12, eos_ids=(EOS,)),
    StochasticBeamConfig(num_samples=3, max_new_tokens=12, eos_ids=(EOS,)),
    SAMPLE,
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_batch_goes_on_from_fewer_slots_as_if_nothing_had_happened(method):
    module, params = tiny_gpt2(seed=2)
    keys = jax.random.split(jax.random.key(0), len(PROMPTS))
    batch = grow(begin(module, params, pack_prompts(PROMPTS, SLOTS), keys, method), 11)
    advance = jax.jit(lambda batch, steps: advance_until(module, params, batch, method, steps, len(PROMPTS)))
    half = advance(batch, 5)
    small = compact(half)
    live = live_slots(half).sum(-1)
    np.testing.assert_array_equal(small.taken, live)
    np.testing.assert_array_equal(small.visible.any(1), jnp.arange(small.visible.shape[-1]) < live[:, None])
    whole, again = (method.results(advance(b, 6).state) for b in (half, small))
    np.testing.assert_array_equal(again.tokens, whole.tokens)
    np.testing.assert_allclose(again.logprob, whole.logprob, atol=1e-5)
    if method is METHODS[0]:
        assert (live < half.taken).all()  # or nothing is shown


def test_a_stream_that_frees_slots_needs_no_larger_cache(monkeypatch: pytest.MonkeyPatch):
    """Beams of a peaked model agree on their past, so the smallest cache holds programs of three times its steps."""
    module, params = tiny_gpt2(seed=2)
    options = {"config": BeamConfig(width=3, max_new_tokens=50), "batch_size": 2, "buckets": (8,)}
    exact = dict(decode_prompts(module, params, PROMPTS, reproducible=True, **options))
    seen = []
    grown = engine._Stream._grow
    monkeypatch.setattr(engine._Stream, "_grow", lambda self: (seen.append(self.steps), grown(self)))
    found = dict(decode_prompts(module, params, PROMPTS, **options))
    assert seen in ([], [16])
    for index, programs in exact.items():
        assert [p.tokens for p in found[index]] == [p.tokens for p in programs]
        np.testing.assert_allclose([p.logprob for p in found[index]], [p.logprob for p in programs], atol=1e-4)
