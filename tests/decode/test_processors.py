from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from transformers import NoBadWordsLogitsProcessor, RepetitionPenaltyLogitsProcessor

from pper_jax.decode.processors import forbid, penalise_repetition

VOCAB = 7
LOG_PROBS = np.log(np.random.default_rng(0).dirichlet(np.ones(VOCAB), (2, 3))).astype(np.float32)
IDS = jnp.arange(VOCAB)


def test_forbidden_tokens_have_no_probability_and_the_others_keep_theirs():
    found = np.asarray(forbid(LOG_PROBS, IDS, (1, 6)))
    assert np.all(found[..., [1, 6]] == -np.inf)
    np.testing.assert_array_equal(found[..., [0, 2, 3, 4, 5]], LOG_PROBS[..., [0, 2, 3, 4, 5]])
    theirs = NoBadWordsLogitsProcessor([[1], [6]])(torch.zeros(6, 1, dtype=torch.long), torch.tensor(LOG_PROBS[0]))
    np.testing.assert_array_equal(found[0], theirs)


def test_the_best_tokens_are_masked_as_the_whole_vocabulary_is():
    logprob, token = jax.lax.top_k(LOG_PROBS, 4)
    for forbidden in ((), (0,), (2, 3), (6,), tuple(range(VOCAB))):
        whole = np.take_along_axis(np.asarray(forbid(LOG_PROBS, IDS, forbidden)), np.asarray(token), -1)
        np.testing.assert_array_equal(forbid(logprob, token, forbidden), whole)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.int64, (2, 3, 4), elements=st.integers(0, VOCAB - 1)), st.sampled_from([0.5, 1.0, 1.3, 4.0]))
def test_the_repetition_penalty_is_that_of_transformers(seen: np.ndarray, penalty: float):
    scores = LOG_PROBS.copy()
    scores[0, 0, 2], scores[1, 1, 3] = -np.inf, 0.5
    found = penalise_repetition(jnp.asarray(scores), jnp.asarray(seen), penalty)
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(
        torch.tensor(seen.reshape(6, 4)), torch.tensor(scores.reshape(6, VOCAB))
    )
    np.testing.assert_array_equal(np.asarray(found).reshape(6, VOCAB), theirs)


def test_padding_and_tokens_beyond_the_vocabulary_are_not_seen():
    nothing = jnp.asarray([[[-1, -1], [-1, VOCAB], [VOCAB + 5, -3]]] * 2)
    np.testing.assert_array_equal(penalise_repetition(jnp.asarray(LOG_PROBS), nothing, 2.0), LOG_PROBS)
