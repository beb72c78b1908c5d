from __future__ import annotations

import jax
import numpy as np
import pytest
from decode_stand_ins import BEAM, SAMPLE, table_lm, tiny_gpt2

from pper_jax.decode import BeamConfig, beam_search, decode_prompts, pack_prompts, to_host
from pper_jax.errors import UserError

RAGGED = [[1, 2, 5, 6, 7, 8, 1, 2, 4, 5], [4], [7, 6], [2, 2, 2, 1, 1], [10, 9, 8], [9], [1, 4, 5] * 4]


def test_ragged_prompts_give_what_each_gives_alone():
    module, params = tiny_gpt2()
    found = list(decode_prompts(module, params, RAGGED, config=BEAM, batch_size=3, buckets=(8, 16)))
    assert [index for index, _ in found] == [1, 2, 3, 4, 5, 0, 6]  # short bucket first
    for index, programs in found:
        slots = 8 if len(RAGGED[index]) <= 8 else 16
        thrice = beam_search(module, params, pack_prompts([RAGGED[index]] * 3, slots), config=BEAM)
        assert programs == to_host(thrice)[0]
        assert programs[0].logprob == pytest.approx(sum(programs[0].token_logprobs), abs=1e-5)
    compiled = beam_search._cache_size()
    list(decode_prompts(module, params, RAGGED[2:] + RAGGED, config=BEAM, batch_size=3, buckets=(8, 16)))
    assert beam_search._cache_size() == compiled  # one program a bucket, whatever the lengths


def test_batches_come_as_they_finish():
    calls = []
    module, params = table_lm(np.full(5, 0.2), on_call=lambda: calls.append(1))
    config = BeamConfig(width=2, max_new_tokens=2)
    results = decode_prompts(module, params, [[1]] * 4, config=config, batch_size=2, buckets=(4,))
    jax.effects_barrier()
    assert calls == []
    next(results)
    jax.effects_barrier()
    assert len(calls) == 2
    list(results)
    jax.effects_barrier()
    assert len(calls) == 4


def test_samples_do_not_depend_on_the_list():
    module, params = tiny_gpt2()
    options = {"config": SAMPLE, "batch_size": 3, "buckets": (8,), "key": jax.random.key(1)}
    whole = dict(decode_prompts(module, params, [[1], [2, 3], [4, 5, 6]], prompt_ids=[100, 101, 102], **options))
    part = dict(decode_prompts(module, params, [[4, 5, 6], [2, 3]], prompt_ids=[102, 101], **options))
    assert [part[0], part[1]] == [whole[2], whole[1]]
    with pytest.raises(UserError, match="key"):
        decode_prompts(module, params, [[1]], config=SAMPLE, batch_size=1)


def test_a_prompt_may_fill_the_context():
    module, params = tiny_gpt2()  # 64 positions
    prompt = (list(range(4, 11)) * 9)[:58]
    [(_, programs)] = decode_prompts(module, params, [prompt], config=BEAM, batch_size=1)
    assert len(programs) == 3
    assert all(np.isfinite(p.logprob) for p in programs)
    with pytest.raises(UserError, match=r"task 'b' has 59 tokens.*room for 58"):
        decode_prompts(module, params, [[1], [*prompt, 1]], config=BEAM, batch_size=1, names=["task 'a'", "task 'b'"])
    with pytest.raises(UserError, match="prompt 1 has no tokens"):
        decode_prompts(module, params, [[1], []], config=BEAM, batch_size=1)
    with pytest.raises(UserError, match="batch_size"):
        decode_prompts(module, params, [[1]], config=BEAM, batch_size=0)


def test_no_prompts_no_results():
    module, params = tiny_gpt2()
    assert list(decode_prompts(module, params, [], config=BEAM, batch_size=2)) == []
