"""Tests run on the CPU, offline, with eight virtual devices so that meshes can be tested anywhere."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
COMPILED = tempfile.mkdtemp(prefix="pper_tests_compiled_")  # one for each process: nothing compiled outlasts the tests
os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.02"


def pytest_configure(config: pytest.Config) -> None:
    """Everyday tests compile in less time, to slower code, since that is most of what they do; slow ones as users."""
    if "not slow" in config.getoption("markexpr"):
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


def pytest_unconfigure() -> None:
    shutil.rmtree(COMPILED, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def few_compiled_programs() -> Iterator[None]:
    """Give up what a test file compiled: every program takes memory maps, and a process may have only so many."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    """A model that compiles in no time and knows nothing, with the demo model's tokenizer."""
    import jax
    import jax.numpy as jnp

    from pper_jax.models import ModelConfig, build_model, load_model, resolve_model, save_model

    module, _, tokenizer = load_model(resolve_model("micro"))
    config = ModelConfig("gpt2", module.config.vocab_size, 16, 1, 2, 2, 8, 32, 256, attention_bias=True, mlp_bias=True)
    tiny = build_model(config)
    zeros = jnp.zeros((1, 4), jnp.int32)
    params = tiny.init(jax.random.key(0), zeros, zeros, jnp.ones((1, 4, 4), bool))["params"]
    return save_model(tmp_path_factory.mktemp("models") / "tiny", tiny, params, tokenizer)
