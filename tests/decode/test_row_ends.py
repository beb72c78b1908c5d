"""Prompts of one call end each at its own EOS tokens and stop suffixes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
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
    beam_search,
    decode_prompts,
    pack_prompts,
    row_ends,
    to_host,
)
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


def decode(method: Method, ends: Any, prompts: list[list[int]] = PROMPTS, **options: Any) -> dict[int, Any]:
    module, params = table_lm(TABLE)
    common = {"config": method, "batch_size": 4, "buckets": (2,), "key": jax.random.key(5), "reproducible": True}
    return dict(decode_prompts(module, params, prompts, ends=ends, **common | options))


# Everyday the plain search and sampling; the others compile long.
TRIED = [*METHODS[:1], *(pytest.param(one, marks=pytest.mark.slow) for one in METHODS[1:-1]), METHODS[-1]]


@pytest.mark.parametrize("method", TRIED, ids=str)
def test_each_prompt_gives_what_it_gives_where_all_have_its_ends(method: Method):
    together = decode(method, ENDS)
    for row, ends in enumerate(ENDS):
        alone = decode(method, ends)[row]
        assert [(p.tokens, p.finished, p.group) for p in together[row]] == [
            (p.tokens, p.finished, p.group) for p in alone
        ]
        np.testing.assert_allclose([p.logprob for p in together[row]], [p.logprob for p in alone], atol=1e-5)
        for program in together[row]:
            assert_whole(program, ends, method.max_new_tokens)
    assert len({tuple(p.tokens for p in programs) for programs in together.values()}) == 4


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


@pytest.mark.parametrize("method", TRIED, ids=str)
def test_the_methods_own_ends_hold_where_none_are_given(method: Any):
    own = replace(method, eos_ids=(0, 5), stop_suffixes=((1, 2), (3,)))
    assert decode(own, None) == decode(method, ENDS[1])


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
    recent = jnp.asarray([-1] * unsaid + said[unsaid:], jnp.int32)
    every = jnp.broadcast_to(jnp.arange(5), (len(rows), 1, 5))
    found = table.close(every, jnp.broadcast_to(recent, (len(rows), 1, 1, len(said))))
    for row, one in enumerate(rows):
        alone = one.close(every[row], jnp.broadcast_to(recent, (1, 5, len(said))))
        np.testing.assert_array_equal(found[row], alone)
        np.testing.assert_array_equal(table.is_eos(every)[row], one.is_eos(every[row]))


def test_a_call_that_takes_up_where_another_stopped_gives_the_same_to_the_last_bit():
    whole = decode(METHODS[0], ENDS)
    assert decode(METHODS[0], ENDS, only=[3, 1]) == {1: whole[1], 3: whole[3]}
    assert decode(METHODS[4], ENDS, only=[2]) == {2: decode(METHODS[4], ENDS)[2]}
    assert decode(METHODS[0], ENDS, only=[]) == {}


def test_the_pure_search_takes_a_table_too():
    module, params = table_lm(TABLE)
    table = row_ends(ENDS)
    assert isinstance(table, RowEnds)
    programs = beam_search(module, params, pack_prompts(PROMPTS, 2), config=METHODS[0], ends=table)
    together = decode(METHODS[0], ENDS)
    assert [[p.tokens for p in row] for row in to_host(programs)] == [
        [p.tokens for p in together[row]] for row in range(4)
    ]


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
        decode(METHODS[0], ends)


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
