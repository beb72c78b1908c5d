"""Prompts of one call end each at its own EOS tokens and stop suffixes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from decode_stand_ins import table_lm
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.decode import (
    BeamConfig,
    DiverseBeamConfig,
    Ends,
    HostProgram,
    Method,
    RowEnds,
    SampleConfig,
    StochasticBeamConfig,
    decode_prompts,
    pack_prompts,
    row_ends,
    to_host,
)
from pper_jax.decode.segments import decode
from pper_jax.errors import UserError

VOCAB = 6
TABLE = np.random.default_rng(3).dirichlet(np.full(VOCAB, 0.7), (64, VOCAB))
METHODS = [
    BeamConfig(width=3, max_new_tokens=7),
    BeamConfig(width=3, max_new_tokens=7, min_new_tokens=2, length_penalty=1.0),
    DiverseBeamConfig(width=4, groups=2, max_new_tokens=7),
    StochasticBeamConfig(num_samples=3, max_new_tokens=7),
    SampleConfig(num_samples=3, max_new_tokens=7),
]
ENDS = [Ends((0,)), Ends((0, 5), stop_suffixes=((1, 2), (3,))), Ends(()), Ends((4,), stop_suffixes=((2, 2, 1),))]
PROMPTS = [[1], [1], [1], [2]]


def run(method: Method, ends: Ends | RowEnds | None) -> list[list[HostProgram]]:
    """The programs of all prompts, by the pure function."""
    module, params = table_lm(TABLE)
    keys = jax.random.split(jax.random.key(5), len(PROMPTS))
    search = jax.jit(lambda params, prompts, keys, ends: decode(module, params, prompts, keys, method, ends))
    return to_host(search(params, pack_prompts(PROMPTS, 2), keys, ends))


def stream(ends: Any, **options: Any) -> dict[int, list[HostProgram]]:
    module, params = table_lm(TABLE)
    common = {"config": METHODS[0], "batch_size": 2, "buckets": (2,), "reproducible": True}
    return dict(decode_prompts(module, params, PROMPTS, ends=ends, **common | options))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_each_prompt_gives_what_it_gives_where_all_have_its_ends(method: Any):
    together = run(method, row_ends(ENDS))
    alone = run(replace(method, eos_ids=(0, 5), stop_suffixes=((1, 2), (3,))), None)  # ENDS[1], as the method's own
    assert [(p.tokens, p.finished, p.group) for p in together[1]] == [(p.tokens, p.finished, p.group) for p in alone[1]]
    np.testing.assert_allclose([p.logprob for p in together[1]], [p.logprob for p in alone[1]], atol=1e-5)
    for programs, ends in zip(together, ENDS, strict=True):
        for program in programs:
            assert_whole(program, ends, method.max_new_tokens)
            if getattr(method, "min_new_tokens", 0):
                assert not {*program.tokens[:2]} & {*ends.eos_ids}
    assert len({tuple(p.tokens for p in programs) for programs in together}) == 4


def assert_whole(program: HostProgram, ends: Ends, limit: int) -> None:
    """Tokens, log-probabilities and ending belong together: it is finished where it first ends, and nowhere else."""
    closed = [
        program.tokens[at - 1] in ends.eos_ids or any(program.tokens[:at][-len(s) :] == s for s in ends.stop_suffixes)
        for at in range(1, len(program.tokens) + 1)
    ]
    assert 1 <= len(program.tokens) == len(program.token_logprobs) <= limit
    assert program.finished == closed[-1]
    assert not any(closed[:-1])
    assert program.finished or len(program.tokens) == limit
    assert program.logprob == pytest.approx(sum(program.token_logprobs), abs=1e-5)


tokens = st.integers(0, 4)


@given(
    rows=st.lists(
        st.builds(
            Ends,
            eos_ids=st.lists(tokens, max_size=3, unique=True).map(tuple),
            stop_suffixes=st.lists(st.lists(tokens, min_size=1, max_size=4).map(tuple), max_size=3).map(tuple),
        ),
        min_size=2,
        max_size=4,
    ),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_a_table_says_of_each_row_what_its_own_ends_say(rows: list[Ends], data: st.DataObject):
    table = row_ends(rows)
    if len({*rows}) == 1:
        assert table == rows[0]
        return
    assert table.tail_length == max(one.tail_length for one in rows)
    assert table.closing == max(one.closing for one in rows)
    said = data.draw(st.lists(tokens, min_size=table.tail_length, max_size=table.tail_length))
    unsaid = data.draw(st.integers(0, len(said)))
    recent = np.asarray([-1] * unsaid + said[unsaid:], np.int32)
    every = np.broadcast_to(np.arange(5), (len(rows), 1, 5))
    found = np.asarray(table.close(every, np.broadcast_to(recent, (len(rows), 1, 1, len(said)))))
    eos = np.asarray(table.is_eos(every))
    for row, one in enumerate(rows):
        for token in range(5):
            text = (*recent.tolist(), token)
            assert eos[row, 0, token] == (token in one.eos_ids)
            assert found[row, 0, token] == (
                token in one.eos_ids or any(text[-len(s) :] == s for s in one.stop_suffixes)
            )


def test_a_stream_gives_each_prompt_its_own_and_goes_on_where_another_stopped_to_the_last_bit():
    whole = stream(ENDS)
    expected = run(METHODS[0], row_ends(ENDS))
    assert [[p.tokens for p in whole[row]] for row in range(4)] == [[p.tokens for p in row] for row in expected]
    assert stream(ENDS, only=[3, 1]) == {1: whole[1], 3: whole[3]}
    assert stream(ENDS, only=[]) == {}


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([Ends()] * 3, "3 ends are given for 4 prompts"),
        (Ends((VOCAB,)), "eos_ids holds 6, but the model's tokens are 0..5"),
        ([*ENDS[:3], Ends(stop_suffixes=((1, 9),))], "stop_suffixes holds 9"),
    ],
)
def test_ends_that_do_not_fit_are_named(ends: Any, message: str):
    with pytest.raises(UserError, match=message):
        stream(ends)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eos_ids": (1.5,)}, "eos_ids holds '1.5', which is no token id"),
        ({"eos_ids": (True,)}, "eos_ids holds 'True'"),
        ({"eos_ids": (None,)}, "eos_ids holds 'None'"),
        ({"eos_ids": (-1,)}, "eos_ids holds -1, but tokens begin at 0"),
        ({"stop_suffixes": ((),)}, "stop_suffixes holds an empty sequence"),
        ({"stop_suffixes": ((3, float("nan")),)}, "stop_suffixes holds 'nan'"),
        ({"pad_id": float("nan")}, "pad_id is nan"),
    ],
)
def test_what_is_no_token_is_named(options: dict[str, Any], message: str):
    for kind in (Ends, BeamConfig, SampleConfig, StochasticBeamConfig):
        with pytest.raises(UserError, match=message):
            kind(**options)
