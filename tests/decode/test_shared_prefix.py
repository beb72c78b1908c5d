"""What all prompts begin with is read once, and the programs are those of the prompts read whole."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pper_jax.decode import BeamConfig, SampleConfig, decode_prompts, shared_prefix
from pper_jax.decode import engine as engine_room
from pper_jax.models import ModelConfig, build_model

CONFIGS = {
    "gpt2": ModelConfig("gpt2", 40, 16, 2, 2, 2, 8, 32, 320, attention_bias=True, mlp_bias=True),
    "llama": ModelConfig("llama", 40, 16, 2, 4, 2, 4, 32, 320),
    "windows": ModelConfig("llama", 40, 16, 2, 4, 2, 4, 32, 320, windows=(24, 0)),
}
METHODS = {
    "beam": BeamConfig(width=3, max_new_tokens=8, eos_ids=(3,)),
    "sample": SampleConfig(num_samples=2, max_new_tokens=8),
}
PREFIX = np.random.default_rng(0).integers(4, 40, 150).tolist()
PROMPTS = [[*PREFIX, *np.random.default_rng(1 + i).integers(4, 40, 3 + 14 * i).tolist()] for i in range(6)]


def model_of(name):
    module = build_model(CONFIGS[name])
    tokens = jax.numpy.zeros((1, 4), int)
    params = module.init(jax.random.key(0), tokens, tokens, jax.numpy.ones((1, 4, 4), bool))["params"]
    return module, jax.tree.map(lambda x: 2 * x, params)


def decoded(name, method, prompts=PROMPTS, **options):
    module, params = model_of(name)
    key = jax.random.key(7)
    return dict(decode_prompts(module, params, prompts, config=METHODS[method], batch_size=4, key=key, **options))


@pytest.fixture
def unshared(monkeypatch):
    """Programs of the same prompts, each read whole."""

    def run(*given, **options):
        with monkeypatch.context() as patch:
            patch.setattr(engine_room, "shared_prefix", lambda token_lists: [])
            return decoded(*given, buckets=(192, 256), **options)

    return run


@pytest.mark.parametrize(("name", "method"), [("gpt2", "beam"), ("llama", "sample"), ("windows", "beam")])
def test_programs_are_those_of_prompts_that_are_read_whole(name, method, unshared):
    found, expected = decoded(name, method, reproducible=True), unshared(name, method, reproducible=True)
    assert found.keys() == expected.keys() == set(range(6))
    for index, programs in expected.items():
        for ours, theirs in zip(found[index], programs, strict=True):
            assert ours.tokens == theirs.tokens
            np.testing.assert_allclose(ours.token_logprobs, theirs.token_logprobs, atol=2e-5)


def test_a_mesh_reads_it_once_too(unshared):
    from pper_jax.sharding import make_mesh

    mesh = make_mesh(data=2, fsdp=1, tp=2, devices=jax.devices()[:4])
    found, expected = decoded("llama", "beam", mesh=mesh), unshared("llama", "beam")
    for index, programs in expected.items():
        assert [program.tokens for program in found[index]] == [program.tokens for program in programs]


def test_only_what_comes_after_it_is_read_for_each_prompt(monkeypatch):
    read, prefill = [], engine_room.begin

    def begin(module, params, prompts, keys, method, ends=None, shared=None):
        if shared is not None:
            read.append((prompts.tokens.shape[1], shared[0].key.shape[1]))
        return prefill(module, params, prompts, keys, method, ends, shared)

    monkeypatch.setattr(engine_room, "begin", begin)
    engine_room._compiled.cache_clear()
    decoded("gpt2", "beam", reproducible=True)
    assert read == [(128 + 64, 128), (128 + 128, 128)]


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        (PROMPTS, 128),
        (PROMPTS[:3], 0),  # few prompts
        ([prompt[:120] for prompt in PROMPTS], 0),  # few tokens
        ([*PROMPTS, PREFIX[:128]], 0),  # one that has no token after them
        ([*PROMPTS, PREFIX[:129]], 128),
        ([*PROMPTS, [1]], 0),
        ([*PROMPTS, []], 0),
        ([PREFIX[:140]] * 4, 128),
    ],
)
def test_how_much_is_shared(prompts, length):
    assert shared_prefix(prompts) == PREFIX[:length]


@given(st.lists(st.lists(st.integers(0, 1), max_size=3), min_size=4, max_size=8), st.integers(0, 300))
def test_every_prompt_goes_on_from_what_is_shared(ends, length):
    prompts = [[5] * length + end for end in ends]
    shared = shared_prefix(prompts)
    assert all(prompt[: len(shared)] == shared for prompt in prompts)
    assert not shared or all(len(prompt) > len(shared) for prompt in prompts)
    assert len(shared) >= min(map(len, prompts)) - 67 or len(shared) == 0
