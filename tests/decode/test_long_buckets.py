"""Long prompts: a batch of them has fewer rows, by their bucket alone, and is read in blocks of queries."""

from __future__ import annotations

import weakref

import jax
import pytest
from decode_stand_ins import tiny_gpt2

from pper_jax.decode import SampleConfig, decode_prompts
from pper_jax.decode import engine as engine_room
from pper_jax.errors import UserError

GREEDY = SampleConfig(temperature=0, max_new_tokens=4)
SHORT, LONG, LONGER, LONGEST = [1, 4], [5] * 6, [2, 7] * 6, [1, 8, 9] * 8  # buckets of 4, 8, 16, 32 tokens
OPTIONS = {"config": GREEDY, "batch_size": 9, "buckets": (4, 8, 16, 32), "reproducible": True}


@pytest.fixture
def rows(monkeypatch):
    """``{bucket: rows}`` of the batches that are extended, as they are traced; more than 4 tokens are long."""
    seen, extend = {}, engine_room.advance_until

    def advance_until(module, params, batch, *rest):
        keys = batch.cache[0].prompt_key
        assert seen.setdefault(keys.shape[-1], keys.shape[0]) == keys.shape[0] == batch.length.shape[0]
        return extend(module, params, batch, *rest)

    monkeypatch.setattr(engine_room, "LONG", 4)
    monkeypatch.setattr(engine_room, "advance_until", advance_until)
    engine_room._compiled.cache_clear()
    yield seen
    engine_room._compiled.cache_clear()


def decoded(prompts, **options):
    return dict(decode_prompts(*tiny_gpt2(), prompts, **{**OPTIONS, **options}))


def test_a_bucket_twice_as_long_has_half_the_rows(rows):
    decoded([SHORT, LONG, LONGER, LONGEST])
    assert rows == {4: 9, 8: 4, 16: 2, 32: 2}


def test_what_else_is_decoded_changes_no_row_and_no_bit(rows):
    prompts = [LONGER, SHORT, LONG, *[[*LONG[:5], i] for i in range(9)], LONGER[1:], LONGER[2:]]
    found = decoded(prompts)
    assert len(found) == len(prompts)
    for index in (0, 2, 7, 13):
        assert decoded([prompts[index]]) == {0: found[index]}
    assert rows == {4: 9, 8: 4, 16: 2}


@pytest.mark.parametrize(("batch_size", "expected"), [(1, 1), (2, 2), (3, 2), (16, 4)])
def test_two_rows_are_left_where_there_were_as_many(batch_size, expected, rows):
    decoded([LONGER], batch_size=batch_size)
    assert rows == {16: expected}


def test_who_does_not_ask_for_the_same_bits_gets_the_rows_that_were_asked_for(rows):
    decoded([LONGER], reproducible=False)
    assert rows == {16: 9}


def test_long_prompts_are_read_one_by_one(rows, monkeypatch):
    """Or a lone one would be read twice, beside itself."""
    read, prefill = set(), engine_room.begin

    def begin(module, params, prompts, *rest):
        read.add(prompts.tokens.shape)
        return prefill(module, params, prompts, *rest)

    monkeypatch.setattr(engine_room, "begin", begin)
    decoded([SHORT, LONG, LONGER])
    assert read == {(9, 4), (2, 4), (4, 8), (1, 8), (2, 16), (1, 16)}  # of shapes alone, and of prompts


def test_prompts_of_up_to_2048_tokens_are_not_long():
    assert [engine_room._rows(32, bucket) for bucket in (64, 2048, 2049, 4096, 4672, 8192, 8193, 10**6)] == [
        *(32, 32, 16, 16, 8, 8, 4, 2)
    ]


def test_memory_that_does_not_suffice_names_a_batch_size_of_which_a_bucket_takes_its_share(rows, monkeypatch):
    def full(*_: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 123 bytes.")

    monkeypatch.setattr(engine_room, "advance_until", full)
    with pytest.raises(UserError, match=r"decode 4 prompts of up to 16 tokens .* batch_size=8 should fit"):
        decoded([LONGER], batch_size=16)


def test_a_buckets_cache_is_gone_before_the_next_one_begins(monkeypatch):
    streams, alive, begin = [], [], engine_room._Stream.__init__

    def init(stream, *given):
        alive.append([one for one in streams if one() is not None])
        streams.append(weakref.ref(stream))
        begin(stream, *given)

    monkeypatch.setattr(engine_room._Stream, "__init__", init)
    decoded([SHORT, LONG, LONGER])
    assert alive == [[], [], []]
