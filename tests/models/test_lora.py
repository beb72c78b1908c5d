"""Adapters: what they change, what they leave alone, and the way out and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.sharding import PartitionSpec
from model_helpers import (
    VOCAB,
    forward,
    gpt2_config,
    llama_config,
    load_torch,
    random_params,
    random_tokens,
    tiny_tokenizer,
    torch_logits,
)

from pper_jax.errors import UserError
from pper_jax.models import LoraConfig, ModelConfig, build_model, load_model, save_model
from pper_jax.models.hf import read_config
from pper_jax.models.lora import Adapted, init_adapters, merge
from pper_jax.sharding import make_mesh, spec_for

GPT2 = ModelConfig("gpt2", VOCAB, 16, 2, 4, 4, 4, 64, 32, attention_bias=True, mlp_bias=True)
LLAMA = ModelConfig("llama", VOCAB, 32, 2, 4, 2, 8, 48, 64, activation="silu", tie_embeddings=False)
EVERY = LoraConfig(rank=3, alpha=6.0, targets=".")


def path_of(flat):
    return {"/".join(path): np.asarray(leaf) for path, leaf in flatten_dict(flat).items()}


def random_adapters(config, params):
    """Adapters that change something."""
    shapes = init_adapters(config, params, jax.random.key(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.1, leaf.shape), jnp.float32), shapes)


@pytest.mark.parametrize("model", [GPT2, LLAMA], ids=lambda config: config.family)
def test_a_merged_weight_is_the_base_and_scaled_products_and_the_rest_is_the_base(model):
    base = random_params(model)
    kept = jax.tree.map(np.array, base)
    adapters = random_adapters(EVERY, base)
    merged, before, low = (path_of(tree) for tree in (merge(base, adapters, EVERY), kept, path_of_pairs(adapters)))
    assert {path for path in before if path.endswith(("kernel", "embedding"))} == {*low}
    for path, weight in before.items():
        change = 0.0
        if path in low:
            a, b = low[path]
            change = 6.0 / 3 * (a.reshape(-1, 3) @ b.reshape(3, -1)).reshape(weight.shape)
            assert np.abs(change).max() > 0
        np.testing.assert_allclose(merged[path], weight + change, rtol=1e-5, atol=1e-6)
        assert merged[path].dtype == weight.dtype
    jax.tree.map(np.testing.assert_array_equal, base, kept)


def path_of_pairs(adapters):
    flat = path_of(adapters)
    names = {path.rpartition("/")[0] for path in flat}
    pairs = {name: (flat[f"{name}/lora_a"], flat[f"{name}/lora_b"]) for name in names}
    return {name: np.array([*pair], object) for name, pair in pairs.items()}


def test_new_adapters_change_nothing_and_have_gradients():
    base, module, tokens = random_params(GPT2), build_model(GPT2), random_tokens()
    adapters = init_adapters(LoraConfig(rank=2), base, jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, merge(base, adapters, LoraConfig(rank=2)), base)
    again = init_adapters(LoraConfig(rank=2), base, jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, adapters, again)
    flat = path_of(adapters)
    assert all("bias" not in path and "embedding" not in path for path in flat)
    assert flat["layer_0/attention/out/kernel/lora_a"].shape == (4, 4, 2)
    assert flat["layer_0/attention/out/kernel/lora_b"].shape == (2, 16)
    assert flat["layer_1/attention/query/kernel/lora_a"].std() == pytest.approx(16**-0.5, rel=0.5)
    assert not np.array_equal(flat["layer_0/up/kernel/lora_a"], flat["layer_1/up/kernel/lora_a"])
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    mask = jnp.tril(jnp.ones((1, tokens.shape[1], tokens.shape[1]), bool))

    def loss(adapters):
        model = Adapted(module, base, LoraConfig(rank=2))
        assert model.config is GPT2
        return jnp.sum(model.apply({"params": adapters}, tokens, positions, mask)[0] ** 2)

    moves = path_of(jax.jit(jax.grad(loss))(adapters))
    assert all(np.abs(move).max() > 0 for path, move in moves.items() if path.endswith("lora_b"))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"rank": 4, "targets": "no_such_layer"},
            "lora.targets is 'no_such_layer', which matches no weight of the mod",
        ),
        ({"rank": 4, "targets": "bias"}, "matches no weight of the model; its weights are such as "),
        ({"rank": 16}, "lora.rank is 16, and the weight layer_0/attention/key/kernel is 16 x 16; take a rank below 16"),
    ],
)
def test_adapters_that_cannot_be_are_one_sentence(config, said):
    with pytest.raises(UserError) as error:
        init_adapters(LoraConfig(**config), random_params(GPT2), jax.random.key(0))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"rank": -1}, "rank is -1"),
        ({"rank": 1.5}, "rank is 1.5"),
        ({"rank": 2, "alpha": 0}, "alpha is 0"),
        ({"rank": 2, "targets": "("}, "targets is '(', which is no regular expression"),
        ({"alpha": 8.0}, "rank is 0, so that no adapters are trained"),
        ({"targets": "up"}, "rank is 0, so that no adapters are trained"),
    ],
)
def test_options_that_do_nothing_are_refused(config, said):
    with pytest.raises(UserError) as error:
        LoraConfig(**config)
    assert said in str(error.value)


def test_adapters_are_split_as_their_weights():
    mesh = make_mesh(data=2, fsdp=2, tp=2)
    for model in (GPT2, LLAMA):
        base = random_params(model)
        config = LoraConfig(rank=3, targets="attention|/(up|gate|down)/|token_embedding|lm_head")
        adapters = path_of(init_adapters(config, base, jax.random.key(0)))
        for path, weight in path_of(base).items():
            if f"{path}/lora_a" not in adapters:
                continue
            whole = tuple(spec_for(path, weight.shape, mesh))
            a, b = (adapters[f"{path}/lora_{side}"] for side in "ab")
            assert spec_for(f"{path}/lora_a", a.shape, mesh) == PartitionSpec(*whole[: a.ndim - 1], None), path
            assert spec_for(f"{path}/lora_b", b.shape, mesh) == PartitionSpec(None, *whole[a.ndim - 1 :]), path


@pytest.mark.parametrize("hf_config", [gpt2_config(), llama_config()], ids=["gpt2", "llama"])
def test_a_merged_model_goes_to_transformers_and_back(hf_config, tmp_path):
    hf_config.save_pretrained(str(tmp_path))
    config, _ = read_config(tmp_path)
    base, module, tokens = random_params(config), build_model(config), random_tokens()
    merged = merge(base, random_adapters(EVERY, base), EVERY)
    ours = forward(module, merged, tokens)
    assert np.abs(ours - forward(module, base, tokens)).max() > 0.1
    save_model(tmp_path / "out", module, merged, tiny_tokenizer())
    theirs = torch_logits(load_torch(tmp_path / "out"), tokens)
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-5)
    again, params, _ = load_model(tmp_path / "out")
    np.testing.assert_allclose(forward(again, params, tokens), ours, atol=1e-5)
