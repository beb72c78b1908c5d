"""What loading a checkpoint takes of the host's memory: 1.5 GB in shards onto a mesh of eight devices of the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from model_helpers import tiny_tokenizer
from safetensors.numpy import save_file

from pper_jax.models import ModelConfig, hf
from pper_jax.models.weights import parameter_shapes, stored_shape, stored_tensors

CONFIG = ModelConfig("llama", 264, 2048, 8, 16, 16, 128, 5504, 64, activation="silu")  # 1.6 GB in float32
LOADS = """
import resource, sys
import jax
from pper_jax.models import load_model
from pper_jax.sharding import make_mesh
def held(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
mesh = make_mesh(1, 8, 1)
jax.device_put(0.0)
before = held()
module, params, _ = load_model(sys.argv[1], mesh=mesh)
jax.block_until_ready(params)
size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before, held() - before)
"""


@pytest.mark.slow
def test_a_sharded_checkpoint_takes_little_more_than_its_size(tmp_path):
    """Run with ``pytest -m slow -s``."""
    rng, shapes, files = np.random.default_rng(0), parameter_shapes(CONFIG), {}
    for tensor in stored_tensors(CONFIG, shapes):
        array = rng.standard_normal(stored_shape(tensor, shapes, "hf"), np.float32)
        file = f"model-{len(files):05}.safetensors"
        save_file({tensor.hf: array}, str(tmp_path / file), metadata={"format": "pt"})
        files[tensor.hf] = file
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    (tmp_path / "config.json").write_text(json.dumps(hf.config_dict(CONFIG, "float32", {"eos_token_id": 259})))
    tiny_tokenizer().save_pretrained(str(tmp_path))
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", LOADS, str(tmp_path)], capture_output=True, text=True, check=True, env=environment
    )
    size, most, after = map(int, done.stdout.split()[-3:])
    print(f"\n{size / 1e9:.2f} GB of parameters: {most / size:.2f} times at most, {after / size:.2f} times afterwards")
    assert size > 1.5e9
    assert most < 1.5 * size
