"""Diverse beam search: against a re-implementation over Python lists, and its two limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from decode_stand_ins import EOS, PROMPTS, SLOTS, plain_forward, table_lm, tiny_gpt2
from staggered_rows import decode_staggered

from pper_jax.decode import (
    BeamConfig,
    DiverseBeamConfig,
    HostProgram,
    beam_search,
    decode_prompts,
    distinct,
    pack_prompts,
    score,
    to_host,
)
from pper_jax.errors import UserError
from pper_jax.types import Programs

CONFIG = DiverseBeamConfig(width=6, max_new_tokens=6, eos_ids=(EOS, 5), groups=3, diversity=0.3)


def run(config: BeamConfig = CONFIG, prompts: list[list[int]] = PROMPTS, seed: int = 0) -> Programs:
    module, params = tiny_gpt2(seed=seed)
    return beam_search(module, params, pack_prompts(prompts, SLOTS), config=config)


def plain_diverse_search(module: Any, params: Any, prompt: list[int], config: DiverseBeamConfig) -> list[list[Any]]:
    """``[(tokens, score with penalties, finished)]`` of each group, sorted."""
    width = config.width // config.groups
    live: list[list[Any]] = [[([], 0.0)] for _ in range(config.groups)]
    pool: list[list[Any]] = [[] for _ in range(config.groups)]
    for _ in range(config.max_new_tokens):
        rows = [prompt + tokens for group in live for tokens, _ in group]
        table = plain_forward(module, params, rows + [[0]] * (config.width - len(rows)), 48)
        logprobs = iter([table[i, len(row) - 1] for i, row in enumerate(rows)])
        chosen: list[int] = []
        for group in range(config.groups):
            penalty = config.diversity * np.bincount(chosen, minlength=11)
            extensions = [
                ([*tokens, token], total + logprob)
                for tokens, total in live[group]
                for token, logprob in enumerate(next(logprobs) - penalty)
            ]
            extensions.sort(key=lambda x: -x[1])  # stable: the lowest (beam, token) first
            pool[group] += [(*x, True) for x in extensions[:width] if x[0][-1] in config.eos_ids]
            pool[group] = sorted(pool[group], key=lambda x: -x[1])[:width]
            live[group] = [x for x in extensions if x[0][-1] not in config.eos_ids][:width]
            if len(pool[group]) == width and live[group] and live[group][0][1] <= pool[group][-1][1]:
                live[group] = []  # done: nothing can still enter its results
            chosen += [tokens[-1] for tokens, _ in live[group]]
    for group in range(config.groups):
        pool[group] += [(*x, False) for x in live[group]]
    return [sorted(group, key=lambda x: -x[1])[:width] for group in pool]


def test_matches_a_search_over_lists():
    finished, penalised = 0, 0
    for seed in range(5):
        module, params = tiny_gpt2(seed=seed)
        programs = run(seed=seed)
        for row, prompt in enumerate(PROMPTS):
            for group, expected in enumerate(plain_diverse_search(module, params, prompt, CONFIG)):
                found = [p for p in to_host(programs)[row] if p.group == group]
                assert {(p.tokens, p.finished) for p in found} == {(tuple(x), ended) for x, _, ended in expected}
                total = {tuple(x): total for x, total, _ in expected}
                finished += sum(p.finished for p in found)
                penalised += sum(p.logprob - total[p.tokens] > 0.1 for p in found)
        own = score(module, params, pack_prompts(PROMPTS, SLOTS), programs)
        np.testing.assert_allclose(programs.token_logprobs, own, atol=1e-4)
        np.testing.assert_allclose(programs.logprob, own.sum(-1), atol=1e-4)
        np.testing.assert_allclose(programs.score, programs.logprob)
        assert np.all(np.diff(np.asarray(programs.score), axis=-1) <= 0)  # the best of all groups first
    assert 20 < finished < 85, "the cases must exercise endings"
    assert 10 < penalised < 80, "the cases must exercise penalties"


def test_without_penalty_every_group_is_the_same_beam_search():
    alone = run(BeamConfig(width=2, max_new_tokens=6, eos_ids=(EOS, 5)))
    together = run(replace(CONFIG, diversity=0.0))
    np.testing.assert_array_equal(together.group, [[0, 1, 2, 0, 1, 2]] * 3)  # equals in the order of the groups
    for group in range(3):
        part = jax.tree.map(lambda x, g=group: x[:, [g, g + 3]], together)
        for name in ("tokens", "length", "finished"):
            np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))
        for name in ("logprob", "token_logprobs", "score"):
            np.testing.assert_allclose(getattr(part, name), getattr(alone, name), atol=1e-5)


def test_one_group_is_beam_search_whatever_the_penalty():
    config = BeamConfig(width=3, max_new_tokens=6, eos_ids=(EOS,), length_penalty=1.0, num_return=2)
    one = DiverseBeamConfig(
        width=3, max_new_tokens=6, eos_ids=(EOS,), length_penalty=1.0, num_return=2, groups=1, diversity=9.0
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), run(one), run(config))


def test_more_penalty_gives_more_different_first_tokens():
    module, params = table_lm(np.asarray([0.3, 0.22, 0.16, 0.12, 0.1, 0.06, 0.04]))
    different = []
    for diversity in (0.4, 20.0):
        config = DiverseBeamConfig(width=6, max_new_tokens=2, groups=3, diversity=diversity)
        tokens = beam_search(module, params, pack_prompts([[1]], 1), config=config).tokens
        different.append(len(np.unique(tokens[0, :, 0])))
    assert different == [2, 3]
    groups = np.asarray(tokens[0]).reshape(3, 2, 2)  # at the largest penalty no group repeats an earlier one's token
    for step in range(2):
        sets = [set(group[:, step].tolist()) for group in groups]
        assert not sets[0] & sets[1]
        assert not (sets[0] | sets[1]) & sets[2]


def test_num_return_takes_each_groups_best_and_rows_do_not_look_at_each_other():
    together = run()
    swapped = run(prompts=[[10, 9], PROMPTS[1], [2]])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b[1]), together, swapped)
    module, params = table_lm(np.random.default_rng(0).dirichlet(np.full(6, 0.6), (64, 6)))
    config = replace(CONFIG, eos_ids=(0,), diversity=0.1)
    prompts = pack_prompts([[1], [2, 1], [5]], 2)
    every = to_host(beam_search(module, params, prompts, config=config))
    staggered = to_host(decode_staggered(module, params, prompts, None, replace(config, num_return=3), [0, 3, 1]))
    for row, found in enumerate(staggered):
        assert sorted(p.group for p in found) == [0, 1, 2]
        assert [p.logprob for p in found] == sorted((p.logprob for p in found), reverse=True)
        for program in found:
            assert program.tokens in [p.tokens for p in every[row] if p.group == program.group]


def one_beam_each(**options: Any) -> list[tuple[int, ...]]:
    """Two groups of one beam, no penalty between them; after any token but 0, the EOS, 1 comes for sure."""
    then = np.broadcast_to([[[0.0, 1.0, 0.0]]], (63, 3, 3))
    module, params = table_lm(np.concatenate([np.broadcast_to([0.6, 0.4, 0.0], (1, 3, 3)), then]))
    config = DiverseBeamConfig(width=2, groups=2, diversity=0.0, max_new_tokens=6, eos_ids=(0,), **options)
    [found] = to_host(beam_search(module, params, pack_prompts([[1]], 1), config=config))
    return [p.tokens for p in found]


def test_a_group_of_one_beam_goes_on_as_its_options_say():
    end, on = (0,), (1,) * 6  # log 0.6 against log 0.4, but over 6 tokens
    assert one_beam_each() == [end, end]
    assert one_beam_each(length_penalty=2.0) == [on, on]
    assert one_beam_each(length_penalty=2.0, early_stopping=True) == [end, end]
    assert one_beam_each(length_penalty=2.0, early_stopping=False) == [end, end]  # by its present length, 1


def test_twice_the_programs_are_wider_groups_and_distinct_ones_come_from_each():
    """What ``pper sample --method diverse-beam --groups 2 --beams 4 --distinct`` does."""
    module, params = tiny_gpt2(seed=2)
    method = DiverseBeamConfig(width=4, max_new_tokens=6, eos_ids=(EOS,), groups=2, num_return=2)
    wide = method.widened()
    assert (wide.programs_per_prompt, wide.groups, wide.width) == (8, 2, 8)
    prompts = [[1, 2, 5], [4], [7, 6, 8, 9, 10], [10, 9], [2, 2, 2], [6]]
    options = {"batch_size": 6, "buckets": (SLOTS,)}
    diverse = dict(decode_prompts(module, params, prompts, config=wide, **options))
    plain = dict(decode_prompts(module, params, prompts, config=BeamConfig(8, 6, (EOS,)), **options))

    def kept(programs: list[HostProgram]) -> list[HostProgram]:
        return distinct(programs, [str(p.tokens) for p in programs], 4, [p.group for p in programs])[0]

    for row in range(6):
        found = kept(diverse[row])
        assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
        assert {p.group for p in found} == {0, 1}
    different = [{p.tokens for p in kept(diverse[row])} != {p.tokens for p in kept(plain[row])} for row in range(6)]
    assert sum(different) > 3


def test_streams_as_beam_search_does():
    module, params = tiny_gpt2()
    found = dict(decode_prompts(module, params, PROMPTS, config=CONFIG, batch_size=3, buckets=(SLOTS,)))
    assert [[p.tokens for p in found[row]] for row in range(3)] == [[p.tokens for p in row] for row in to_host(run())]


@pytest.mark.parametrize(
    ("options", "word"),
    [({"groups": 0}, "groups"), ({"groups": 4}, "groups"), ({"groups": 3, "num_return": 2}, "num_return"),
     ({"diversity": -1.0}, "diversity"), ({"diversity": float("inf")}, "diversity"), ({"width": 0}, "width"),
     ({"repetition_penalty": 1.2}, "repetition_penalty")],
)  # fmt: skip
def test_wrong_options_are_named(options: dict[str, Any], word: str):
    with pytest.raises(UserError, match=word):
        DiverseBeamConfig(**{"width": 6, **options})


def test_a_group_may_not_be_wider_than_the_vocabulary():
    DiverseBeamConfig(width=12, groups=3).check_vocabulary(4)
    with pytest.raises(UserError, match="width=4 is more beams"):
        DiverseBeamConfig(width=12, groups=3).check_vocabulary(3)
