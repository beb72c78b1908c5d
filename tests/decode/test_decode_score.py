from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from decode_stand_ins import VOCAB, plain_forward, tiny_gpt2

from pper_jax.decode import pack_prompts, score
from pper_jax.types import Programs

PROMPTS = [[1, 2, 5], [4], [7, 6, 8, 9, 10]]


def programs_of(tokens: np.ndarray, length: np.ndarray) -> Programs:
    blank = jnp.zeros(tokens.shape, jnp.float32)
    return Programs(jnp.asarray(tokens), jnp.asarray(length), blank[..., 0], blank, jnp.zeros(length.shape, bool))


def test_equals_the_log_softmax_of_a_plain_forward_pass():
    module, params = tiny_gpt2()
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, VOCAB, (3, 2, 4)).astype(np.int32)
    length = np.asarray([[4, 2], [1, 0], [3, 4]], np.int32)
    found = np.asarray(score(module, params, pack_prompts(PROMPTS, 6), programs_of(tokens, length)))
    expected = np.zeros(tokens.shape)
    for row, prompt in enumerate(PROMPTS):
        for beam in range(2):
            program = tokens[row, beam, : length[row, beam]].tolist()
            table = plain_forward(module, params, [prompt + program], 10)[0]
            for step, token in enumerate(program):
                expected[row, beam, step] = table[len(prompt) + step - 1, token]
    np.testing.assert_allclose(found, expected, atol=1e-5)

    junk = np.where(np.arange(4) < length[..., None], tokens, 10**6)  # what stands after the length is not read
    again = score(module, params, pack_prompts(PROMPTS, 6), programs_of(junk.astype(np.int32), length))
    np.testing.assert_array_equal(again, found)
