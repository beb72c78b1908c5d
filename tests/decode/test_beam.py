from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decode_stand_ins import BEAM, EOS, PROMPTS, SLOTS, VOCAB, plain_beam_search, table_lm, tiny_gpt2
from staggered_rows import decode_staggered

from pper_jax.decode import BeamConfig, beam_search, pack_prompts, score, to_host
from pper_jax.decode.beam import _extend
from pper_jax.decode.prompts import prompts_from_padded
from pper_jax.errors import UserError
from pper_jax.types import Programs


def run(prompts: list[list[int]] = PROMPTS, slots: int = SLOTS, config: BeamConfig = BEAM, seed: int = 0) -> Programs:
    module, params = tiny_gpt2(seed=seed)
    return beam_search(module, params, pack_prompts(prompts, slots), config=config)


def ends_in(*suffixes: tuple[int, ...]) -> Any:
    return lambda tokens: any(tuple(tokens[-len(s) :]) == s for s in suffixes)


def assert_same(found: list[Any], expected: list[tuple[list[int], float, bool]], atol: float = 1e-4) -> None:
    assert [(list(p.tokens), p.finished) for p in found] == [(tokens, finished) for tokens, _, finished in expected]
    np.testing.assert_allclose([p.logprob for p in found], [total for _, total, _ in expected], atol=atol)


def test_wide_enough_beam_is_exhaustive_search():
    vocab, steps, eos = 4, 3, 0
    module, params = tiny_gpt2(40)
    prompt = [1, 3, 2]
    every = [
        [*body, eos] if size < steps else [*body, last]
        for size in range(steps + 1)
        for body in itertools.product(range(1, vocab), repeat=min(size, steps - 1))
        for last in (range(1, vocab) if size == steps else (eos,))
    ]
    assert len({tuple(x) for x in every}) == len(every) == sum(3**t for t in range(3)) + 3**3
    padded = np.asarray([x + [0] * (steps - len(x)) for x in every], np.int32)[None]
    length = np.asarray([len(x) for x in every], np.int32)[None]
    blank = np.zeros(length.shape, np.float32)
    prompts = pack_prompts([prompt], 4)
    logprobs = score(module, params, prompts, Programs(padded, length, blank, blank[..., None], blank > 0)).sum(-1)[0]
    order = np.argsort(-np.asarray(logprobs), kind="stable")
    config = BeamConfig(
        width=len(every), max_new_tokens=steps, eos_ids=(eos,), bad_token_ids=tuple(range(vocab, len(every)))
    )
    found = to_host(beam_search(module, params, prompts, config=config))[0]
    np.testing.assert_allclose([p.logprob for p in found], np.asarray(logprobs)[order], atol=1e-5)
    by_tokens = {tuple(x): float(p) for x, p in zip(every, logprobs, strict=True)}
    assert {p.tokens for p in found} == set(by_tokens)
    for program in found:
        assert program.logprob == pytest.approx(by_tokens[program.tokens], abs=1e-5)
        assert program.finished == (program.tokens[-1] == eos)


LONGER, SHORTER = (BeamConfig(width=3, max_new_tokens=6, eos_ids=(EOS, 5), length_penalty=p) for p in (1.0, -1.5))


@pytest.mark.parametrize(
    ("config", "endings"),
    [
        (BEAM, [(EOS,)]),
        (BeamConfig(width=3, max_new_tokens=6, eos_ids=(EOS, 5), stop_suffixes=((7, 6), (2, 2, 2), (6, 8))),
         [(EOS,), (5,), (7, 6), (2, 2, 2), (6, 8)]),
        (LONGER, [(EOS,), (5,)]),
        (SHORTER, [(EOS,), (5,)]),
    ],
    ids=["plain", "suffixes", "penalty", "negative-penalty"],
)  # fmt: skip
def test_matches_plain_beam_search_that_prunes_nothing(config: BeamConfig, endings: list[tuple[int, ...]]):
    finished = 0
    for seed in range(6):
        module, params = tiny_gpt2(seed=seed)
        for prompt, found in zip(PROMPTS, to_host(run(config=config, seed=seed)), strict=True):
            expected = plain_beam_search(
                module, params, prompt, config.width, config.max_new_tokens, ends_in(*endings), config.length_penalty
            )
            assert_same(found, expected)
            finished += sum(p.finished for p in found)
    assert finished > 3, "the cases must exercise endings"


def test_logprobs_are_those_of_a_full_forward_pass():
    config = BeamConfig(width=4, max_new_tokens=20, eos_ids=(EOS,))
    module, params = tiny_gpt2()
    prompts = pack_prompts(PROMPTS, SLOTS)
    programs = beam_search(module, params, prompts, config=config)
    np.testing.assert_allclose(programs.token_logprobs, score(module, params, prompts, programs), atol=1e-4)
    in_order = np.add.accumulate(np.asarray(programs.token_logprobs), axis=-1)[..., -1]
    np.testing.assert_allclose(in_order, programs.logprob, rtol=1e-6)
    assert np.all(np.diff(programs.logprob, axis=1) <= 0)
    assert len({p.tokens for p in to_host(programs)[0]}) == 4


def test_padding_changes_nothing():
    narrow, wide = run(), run(slots=16)
    np.testing.assert_array_equal(narrow.tokens, wide.tokens)
    np.testing.assert_allclose(narrow.logprob, wide.logprob, atol=1e-5)
    module, params = tiny_gpt2()
    prompts = pack_prompts(PROMPTS, SLOTS)
    real = np.arange(SLOTS) < np.asarray(prompts.length)[:, None]
    for junk in (9, -7, 10**6):
        dirty = prompts.replace(tokens=jnp.where(real, prompts.tokens, junk))
        again = beam_search(module, params, dirty, config=BEAM)
        jax.tree.map(np.testing.assert_array_equal, again, narrow)


def test_batch_mates_change_nothing():
    together = run()
    for row, prompt in enumerate(PROMPTS):
        others = [[10, 9], [8, 8, 8, 1, 1, 2, 3], [2]]
        others[row] = prompt
        swapped = run(others)
        jax.tree.map(lambda a, b, r=row: np.testing.assert_array_equal(a[r], b[r]), together, swapped)
    reordered = run(PROMPTS[::-1])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[::-1], b), together, reordered)


def test_alone_as_in_a_batch():
    together = run()
    for row, prompt in enumerate(PROMPTS):
        alone = run([prompt])
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row])
        np.testing.assert_allclose(alone.logprob[0], together.logprob[row], atol=1e-5)


def test_eos_ends_a_program_and_counts_in_its_logprob():
    # after any token: 0 = EOS 0.4, 1 = 0.5, 2 = 0.1; the three best of all programs are [0], [1, 0] and [1, 1, 1]
    module, params = table_lm([0.4, 0.5, 0.1])
    config = BeamConfig(width=3, max_new_tokens=3, eos_ids=(0,), pad_id=2)
    programs = beam_search(module, params, pack_prompts([[1]], 2), config=config)
    np.testing.assert_array_equal(programs.tokens[0], [[0, 2, 2], [1, 0, 2], [1, 1, 1]])
    np.testing.assert_array_equal(programs.length[0], [1, 2, 3])
    np.testing.assert_array_equal(programs.finished[0], [True, True, False])
    np.testing.assert_allclose(np.exp(programs.logprob[0]), [0.4, 0.2, 0.125], rtol=1e-5)
    np.testing.assert_allclose(programs.token_logprobs[0], np.log([[0.4, 1, 1], [0.5, 0.4, 1], [0.5] * 3]), atol=1e-6)


def test_without_eos_every_program_has_the_length_limit():
    module, params = table_lm([0.4, 0.5, 0.1])
    config = BeamConfig(width=2, max_new_tokens=5)
    programs = beam_search(module, params, pack_prompts([[1], [2]], 2), config=config)
    assert np.all(np.asarray(programs.length) == 5)
    assert not np.any(programs.finished)
    one = beam_search(module, params, pack_prompts([[1], [2]], 2), config=BeamConfig(width=2, max_new_tokens=1))
    np.testing.assert_array_equal(one.tokens[:, :, 0], [[1, 0], [1, 0]])


def test_an_end_outside_the_best_k_finishes_nothing():
    # width 1 is greedy: the EOS (0.4) is never the best extension although [EOS] beats every longer program
    module, params = table_lm([0.4, 0.6])
    programs = beam_search(
        module, params, pack_prompts([[1]], 1), config=BeamConfig(width=1, max_new_tokens=4, eos_ids=(0,))
    )
    np.testing.assert_array_equal(programs.tokens[0, 0], [1, 1, 1, 1])


def test_more_beams_than_programs_leaves_empty_slots():
    module, params = table_lm([0.3, 0.7, *[0.0] * 6])
    programs = beam_search(
        module, params, pack_prompts([[1]], 2), config=BeamConfig(width=8, max_new_tokens=2, eos_ids=(0,), pad_id=9)
    )
    assert [p.tokens for p in to_host(programs)[0]] == [(1, 1), (0,), (1, 0)]
    np.testing.assert_array_equal(programs.length[0], [2, 1, 2, 0, 0, 0, 0, 0])
    assert np.all(programs.logprob[0, 3:] == -np.inf)
    assert np.all(programs.tokens[0, 3:] == 9)
    assert np.all(programs.token_logprobs[0, 3:] == 0)
    assert not np.any(programs.finished[0, 3:])


def test_nan_and_infinite_logits():
    module, params = table_lm([0.25, 0.25, 0.25, 0.25])
    config = BeamConfig(width=3, max_new_tokens=2, eos_ids=(0,))
    prompts = pack_prompts([[1], [2]], 1)

    def decode(table: Any) -> list[list[Any]]:
        return to_host(beam_search(module, {"table": table}, prompts, config=config))

    table = params["table"].at[:, :, 3].set(jnp.nan).at[:, :, 2].set(-jnp.inf)  # only 0 and 1 are left, 1/2 each
    found = decode(table)[0]
    assert [p.tokens for p in found] == [(0,), (1, 0), (1, 1)]
    np.testing.assert_allclose(np.exp([p.logprob for p in found]), [0.5, 0.25, 0.25], rtol=1e-6)
    assert decode(params["table"].at[:, 1].set(jnp.nan))[0] == []  # nothing can follow token 1, the first prompt's last
    assert len(decode(params["table"].at[:, 1].set(jnp.nan))[1]) == 3
    assert decode(jnp.full_like(params["table"], -jnp.inf)) == [[], []]
    dead_end = decode(params["table"].at[1, 1].set(-jnp.inf))  # a live beam that can go nowhere is dropped
    assert all(p.tokens != (1,) and p.tokens[:2] != (1, 1) for p in dead_end[0])


def test_ties_go_to_the_lowest_beam_and_token():
    module, params = table_lm(np.full(5, 0.2))
    programs = beam_search(module, params, pack_prompts([[0]], 1), config=BeamConfig(width=3, max_new_tokens=2))
    np.testing.assert_array_equal(programs.tokens[0], [[0, 0], [0, 1], [0, 2]])
    state = BeamConfig(width=2).start(pack_prompts([[0]], 1)).replace(score=jnp.zeros((1, 2)))
    best, _ = _extend(state, *[jnp.zeros((1, 2, 4))] * 2, jnp.broadcast_to(jnp.arange(4), (1, 2, 4)), 6)
    np.testing.assert_array_equal(best.parent[0], [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(best.token[0], [0, 1, 2, 3, 0, 1])


def test_stops_as_soon_as_nothing_can_change():
    calls = []
    module, params = table_lm([0.9, 0.06, 0.04], on_call=lambda: calls.append(1))
    prompts = pack_prompts([[1], [2]], 1)
    config = BeamConfig(width=3, max_new_tokens=40, eos_ids=(0,))
    found = to_host(beam_search(module, params, prompts, config=config))
    jax.effects_barrier()
    assert len(calls) == 2  # the prefill and one step: [0], [1, 0] and [2, 0] beat all that is longer
    expected = plain_beam_search(table_lm([0.9, 0.06, 0.04])[0], params, [1], 3, 40, ends_in((0,)))
    assert_same(found[0], expected)


def test_num_return_takes_the_best():
    best = run(config=replace(BEAM, num_return=1))
    assert best.tokens.shape == (3, 1, 6)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, :1], b), run(), best)


def test_score_is_the_sum_over_the_length_to_the_power_of_the_penalty():
    for config in (BEAM, LONGER, SHORTER):
        programs = run(config=config)
        expected = programs.logprob / programs.length.astype(jnp.float32) ** config.length_penalty
        np.testing.assert_allclose(programs.score, expected, rtol=1e-6)
        assert np.all(np.diff(programs.score, axis=1) <= 0)
        assert len(set(np.asarray(programs.length).flat)) > 1


# Token 0 is the EOS. Two programs are finished after two tokens: [0] and [1, 0].
FIRST, CERTAIN = [0.45, 0.35, 0.2], [[0.0, 1.0, 0.0]] * 62


def decode_by_step(second: list[float], then: list[list[float]], **options: Any) -> list[list[int]]:
    table = np.broadcast_to(np.asarray([FIRST, second, *then])[:, None], (64, 3, 3))
    module, params = table_lm(table)
    config = BeamConfig(width=2, max_new_tokens=6, eos_ids=(0,), **options)
    return [list(p.tokens) for p in to_host(beam_search(module, params, pack_prompts([[1]], 1), config=config))[0]]


def test_early_stopping_true_stops_at_the_k_th_finished_program():
    second, then = [0.4, 0.5, 0.1], [[1.0, 0.0, 0.0]] * 62  # [1, 1, 0] is more probable than [1, 0]
    assert decode_by_step(second, then, early_stopping=True) == [[0], [1, 0]]
    for slower in (False, "never"):
        assert decode_by_step(second, then, early_stopping=slower) == [[0], [1, 1, 0]]


def test_early_stopping_false_judges_a_live_beam_by_its_present_length():
    second = [0.5, 0.3, 0.2]  # [1, 1] then has a lower rank than [1, 0], but goes on for sure and ends above it
    assert decode_by_step(second, CERTAIN, early_stopping=False, length_penalty=1.0) == [[0], [1, 0]]
    assert decode_by_step(second, CERTAIN, early_stopping="never", length_penalty=1.0) == [[1] * 6, [1, 2, 1, 1, 1, 1]]
    for either in (False, "never"):  # without a penalty the two are the same
        assert decode_by_step(second, CERTAIN, early_stopping=either) == [[0], [1, 0]]


def test_one_beam_is_greedy_whatever_the_penalty():
    module, params = table_lm([0.6, 0.4])
    config = BeamConfig(width=1, max_new_tokens=4, eos_ids=(0,), length_penalty=9.0)
    assert [p.tokens for p in to_host(beam_search(module, params, pack_prompts([[1]], 1), config=config))[0]] == [(0,)]


def test_an_eos_is_not_among_the_first_tokens():
    config = replace(BEAM, min_new_tokens=3, num_return=3)
    programs = run(config=config)
    assert EOS not in np.asarray(programs.tokens)[..., :3]
    assert np.asarray(programs.finished).any()
    assert np.all(np.asarray(programs.length) > 3)
    module, params = tiny_gpt2()
    own = score(module, params, pack_prompts(PROMPTS, SLOTS), programs)
    np.testing.assert_allclose(programs.token_logprobs, own, atol=1e-4)  # nothing is normalised again


def test_bad_tokens_are_never_produced():
    bad = tuple(sorted({*np.asarray(run().tokens[:, 0, :2]).flat} - {0, EOS}))
    assert bad
    programs = run(config=replace(BEAM, bad_token_ids=bad))
    assert not {*np.asarray(programs.tokens).flat} & {*bad}
    assert np.all(programs.length > 0)
    everything = tuple(x for x in range(VOCAB) if x != EOS)
    only_eos = to_host(run(config=replace(BEAM, bad_token_ids=everything)))
    assert [[p.tokens for p in row] for row in only_eos] == [[(EOS,)]] * 3


def test_processed_log_probs_keep_ties_nan_and_infinity_as_they_are():
    module, params = table_lm(np.full(6, 1 / 6))
    params = {"table": params["table"].at[:, :, 4].set(jnp.nan).at[:, :, 3].set(-jnp.inf)}
    config = BeamConfig(width=3, max_new_tokens=2, repetition_penalty=2.0)
    programs = beam_search(module, params, pack_prompts([[5]], 1), config=config)
    # 5 stands in the prompt, and what has been written is less likely too; equals go to the lowest (beam, token)
    np.testing.assert_array_equal(programs.tokens[0], [[0, 1], [0, 2], [1, 0]])
    np.testing.assert_allclose(programs.token_logprobs[0], np.full((3, 2), np.log(1 / 4)), rtol=1e-6)


def test_a_vocabulary_smaller_than_twice_the_beams():
    module, params = tiny_gpt2(4)
    config = BeamConfig(width=4, max_new_tokens=3, eos_ids=(EOS,))
    found = to_host(beam_search(module, params, pack_prompts([[1, 2]], 2), config=config))[0]
    assert_same(found, plain_beam_search(module, params, [1, 2], 4, 3, ends_in((EOS,))))


PROCESSED = replace(BEAM, min_new_tokens=2, repetition_penalty=1.4, bad_token_ids=(9,), length_penalty=0.6)


@pytest.mark.parametrize("config", [PROCESSED, replace(BEAM, early_stopping=True)])
def test_rows_at_different_steps_give_what_they_give_together(config: BeamConfig):
    module, params = table_lm(np.random.default_rng(1).dirichlet(np.full(VOCAB, 0.3), (64, VOCAB)))
    prompts = pack_prompts(PROMPTS, SLOTS)
    together = decode_staggered(module, params, prompts, None, config, [0, 0, 0])
    staggered = decode_staggered(module, params, prompts, None, config, [2, 0, 7])
    jax.tree.map(np.testing.assert_array_equal, staggered, together)
    assert len(set(np.asarray(together.length).flat)) > 1


def test_left_padding_is_right_padding():
    left, mask = np.full((3, SLOTS), 10**6), np.zeros((3, SLOTS), int)
    for row, prompt in enumerate(PROMPTS):
        left[row, SLOTS - len(prompt) :], mask[row, SLOTS - len(prompt) :] = prompt, 1
    right = pack_prompts(PROMPTS, SLOTS)
    jax.tree.map(np.testing.assert_array_equal, prompts_from_padded(left, mask), right)
    real = np.arange(SLOTS) < np.asarray(right.length)[:, None]
    jax.tree.map(np.testing.assert_array_equal, prompts_from_padded(np.asarray(right.tokens), real), right)


@pytest.mark.parametrize(
    ("tokens", "mask", "word"),
    [([[1, 2]], [[0, 0]], "no tokens"), ([[1, 2, 3]], [[1, 0, 1]], "gap"), ([[1, 2]], [[1]], "one shape"),
     ([1], [1], "one shape")],
)  # fmt: skip
def test_wrong_masks_are_named(tokens: Any, mask: Any, word: str):
    with pytest.raises(UserError, match=word):
        prompts_from_padded(tokens, mask)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"width": 0}, "width"), ({"max_new_tokens": 0}, "max_new_tokens"), ({"num_return": 4}, "num_return"),
     ({"num_return": 0}, "num_return"), ({"stop_suffixes": ((),)}, "stop_suffixes"),
     ({"length_penalty": float("nan")}, "length_penalty"), ({"early_stopping": "always"}, "early_stopping"),
     ({"early_stopping": 1}, "early_stopping"), ({"min_new_tokens": 257}, "min_new_tokens"),
     ({"min_new_tokens": -1}, "min_new_tokens"), ({"repetition_penalty": 0.0}, "repetition_penalty"),
     ({"repetition_penalty": float("inf")}, "repetition_penalty"),
     ({"eos_ids": (1, 2), "bad_token_ids": (2,)}, "token 2 is both")],
)  # fmt: skip
def test_wrong_options_are_named(options: dict[str, Any], word: str):
    with pytest.raises(UserError, match=word):
        BeamConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 12}, "width=12 is more beams than .* tokens .11."), ({"eos_ids": (3, 11)}, "eos_ids holds 11.*0..10"),
     ({"eos_ids": (-1,)}, "eos_ids holds -1"), ({"bad_token_ids": (40,)}, "bad_token_ids holds 40"),
     ({"stop_suffixes": ((1, 99),)}, "stop_suffixes holds 99")],
)  # fmt: skip
def test_options_that_do_not_fit_the_model_are_named(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        run(config=BeamConfig(max_new_tokens=2, **options))


def test_config_is_hashable():
    assert hash(BEAM) == hash(BeamConfig(width=3, max_new_tokens=6, eos_ids=(EOS,)))
