from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import jax
import numpy as np
import pytest
from decode_stand_ins import BEAM, EOS, SAMPLE, table_lm, tiny_gpt2

from pper_jax.decode import BeamConfig, beam_search, cache_bytes, decode_prompts, pack_prompts, to_host
from pper_jax.decode.segments import begin, grow, step_counts
from pper_jax.errors import UserError
from pper_jax.sharding import make_mesh, shard_params

RAGGED = [[1, 2, 5, 6, 7, 8, 1, 2, 4, 5], [4], [7, 6], [2, 2, 2, 1, 1], [10, 9, 8], [9], [1, 4, 5] * 4]


@contextmanager
def compilations() -> Iterator[list[str]]:
    """The programs that XLA compiles meanwhile."""
    seen: list[str] = []

    def listen(event: str, seconds: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_ragged_prompts_give_what_each_gives_alone():
    module, params = tiny_gpt2()
    options = {"config": BEAM, "batch_size": 3, "buckets": (8, 16), "reproducible": True}
    found = list(decode_prompts(module, params, RAGGED, **options))
    assert sorted(index for index, _ in found) == list(range(7))
    assert {index for index, _ in found[-2:]} == {0, 6}  # short bucket first
    for index, programs in found:
        [(_, alone)] = decode_prompts(module, params, [RAGGED[index]], **options)
        assert programs == alone  # bit for bit: the same tokens and the same floats
        slots = 8 if len(RAGGED[index]) <= 8 else 16
        [plain] = to_host(beam_search(module, params, pack_prompts([RAGGED[index]], slots), config=BEAM))
        assert [p.tokens for p in programs] == [p.tokens for p in plain]
        np.testing.assert_allclose([p.logprob for p in programs], [p.logprob for p in plain], atol=1e-5)
        assert programs[0].logprob == pytest.approx(sum(programs[0].token_logprobs), abs=1e-5)


LONG = BeamConfig(width=2, max_new_tokens=40, eos_ids=(EOS, 8))  # room for 16, 32, then 48 steps


def test_rows_that_end_make_room_and_nobody_notices():
    """Prompts end at different steps and rows are filled again in the middle of others: the same to the last bit."""
    module, params = tiny_gpt2(seed=3)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 11, rng.integers(1, 9)).tolist() for _ in range(12)]
    options = {"config": LONG, "batch_size": 3, "buckets": (8,), "reproducible": True}
    streamed = dict(decode_prompts(module, params, prompts, **options))
    lengths = [max(len(p.tokens) for p in streamed[i]) for i in range(12)]
    assert min(lengths) < 16 < max(lengths)  # or nothing is shown
    for index, prompt in enumerate(prompts):
        [(_, alone)] = decode_prompts(module, params, [prompt], **options)
        assert streamed[index] == alone
    order = rng.permutation(12).tolist()
    shuffled = dict(decode_prompts(module, params, [prompts[i] for i in order], **options))
    assert [shuffled[order.index(i)] for i in range(12)] == [streamed[i] for i in range(12)]


def test_growing_room_and_joined_buckets_change_rounding_only():
    module, params = tiny_gpt2(seed=3)
    options = {"config": LONG, "batch_size": 2, "buckets": (8, 16)}
    prompts = [[1], [2, 4], [5, 1, 7] * 4]
    fast = dict(decode_prompts(module, params, prompts, **options))
    exact = dict(decode_prompts(module, params, prompts, reproducible=True, **options))
    for index, programs in exact.items():
        assert [p.tokens for p in fast[index]] == [p.tokens for p in programs]
        np.testing.assert_allclose([p.logprob for p in fast[index]], [p.logprob for p in programs], atol=1e-4)


def test_compilations_are_bounded_whatever_the_lengths():
    module, params = tiny_gpt2(seed=1)
    config = BeamConfig(width=2, max_new_tokens=20)
    options = {"config": config, "batch_size": 2, "buckets": (8, 16), "reproducible": True}
    list(decode_prompts(module, params, [[1]], **options))  # what the engine itself finds out once
    with compilations() as first:
        list(decode_prompts(module, params, RAGGED, **options))
    assert len(first) == 2  # the long bucket's: admit and extend
    with compilations() as again:
        list(decode_prompts(module, params, RAGGED[2:] + RAGGED[::-1], **options))
    assert again == []


@pytest.mark.parametrize("axes", [(4, 1, 2), (1, 2, 4)])  # 2 heads, which tp = 4 does not divide
def test_a_mesh_splits_the_rows_and_changes_nothing(axes: tuple[int, int, int]):
    module, params = tiny_gpt2()
    mesh = make_mesh(*axes)
    options = {"config": BEAM, "batch_size": 4, "buckets": (16,)}
    one = dict(decode_prompts(module, params, RAGGED, **options))
    split = dict(decode_prompts(module, shard_params(params, mesh), RAGGED, mesh=mesh, **options))
    for index, programs in one.items():
        assert [p.tokens for p in split[index]] == [p.tokens for p in programs]
        np.testing.assert_allclose([p.logprob for p in split[index]], [p.logprob for p in programs], atol=1e-4)
    with pytest.raises(UserError, match="multiple of the mesh's data axis"):
        decode_prompts(module, params, RAGGED, config=BEAM, batch_size=3, mesh=mesh)


def test_the_cache_is_the_prompt_once_and_one_slot_for_each_beam_and_step():
    module, params = tiny_gpt2()  # 2 layers, 2 heads of 8, float32
    method = BeamConfig(width=10, max_new_tokens=49)
    prompts = pack_prompts([[1, 2], [3], [4]], 8)
    batch = jax.eval_shape(
        lambda params: grow(begin(module, params, prompts, None, method), step_counts(49)[-1]), params
    )
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(batch.cache))
    assert held == cache_bytes(module.config, rows=3, width=10, prompt_slots=8, steps=48)
    assert held == 3 * (8 + 10 * 48) * 2 * 2 * 2 * 8 * 4
    for limit in (256, 257, 300, 1000):
        assert max(16, limit - 1) <= step_counts(limit)[-1] <= 1.05 * limit  # at most 5 % above what is generated


def test_memory_that_does_not_suffice_is_said_with_a_batch_that_would_fit(monkeypatch: pytest.MonkeyPatch):
    module, params = tiny_gpt2()

    def full(*_: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 123 bytes.")

    monkeypatch.setattr("pper_jax.decode.engine.advance_until", full)
    config = BeamConfig(width=3, max_new_tokens=9)
    with pytest.raises(UserError, match=r"decode 8 prompts of up to 55 tokens .* batch_size=4 should fit"):
        list(decode_prompts(module, params, [[1]], config=replace(config, pad_id=5), batch_size=8, buckets=(55,)))


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
    options = {"config": SAMPLE, "batch_size": 3, "buckets": (8,), "key": jax.random.key(1), "reproducible": True}
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


def test_decoding_ends_between_two_calls_of_the_device_when_it_is_asked_to():
    module, params = tiny_gpt2()
    looks = []

    def watch() -> None:
        looks.append(None)
        if len(looks) == 2:
            raise KeyboardInterrupt

    results = decode_prompts(module, params, RAGGED, config=BEAM, batch_size=1, watch=watch)
    with pytest.raises(KeyboardInterrupt):
        list(results)
    assert len(looks) == 2
