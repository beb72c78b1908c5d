import jax
import jax.numpy as jnp
import pytest
import small_runs

from pper_jax.models import ModelConfig, build_model, load_model, resolve_model, save_model


@pytest.fixture(scope="session", autouse=True)
def tiny_model(tmp_path_factory):
    """A model that compiles in no time, with the demo model's tokenizer."""
    module, params, tokenizer = load_model(resolve_model("micro"))
    config = ModelConfig("gpt2", module.config.vocab_size, 16, 1, 2, 2, 8, 32, 256, attention_bias=True, mlp_bias=True)
    tiny = build_model(config)
    zeros = jnp.zeros((1, 4), jnp.int32)
    params = tiny.init(jax.random.key(0), zeros, zeros, jnp.ones((1, 4, 4), bool))["params"]
    small_runs.SMALL["model"] = str(save_model(tmp_path_factory.mktemp("models") / "tiny", tiny, params, tokenizer))
