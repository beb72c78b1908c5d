"""HumanEval's prompts through SmolLM2-135M, which `pper models get smollm2-135m-instruct` fetches: minutes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from test_decode_engine import compilations

from pper_jax.decode import BeamConfig, decode_prompts
from pper_jax.models import get_model, load_model

HUMANEVAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "humaneval" / "HumanEval.jsonl.gz"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not HUMANEVAL.exists(), reason="the shared task sets are not here")]


def test_humaneval_streams_with_at_most_six_compilations():
    module, params, tokenizer = load_model(str(get_model("smollm2-135m-instruct")))
    with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as file:
        prompts = [tokenizer.encode(json.loads(line)["prompt"]) for line in file]
    config = BeamConfig(width=3, max_new_tokens=32, eos_ids=(2,))
    options = {"config": config, "batch_size": 16, "buckets": (128, 256, 512), "reproducible": True}
    with compilations() as seen:
        found = dict(decode_prompts(module, params, prompts, **options))
    print(f"{len(found)} prompts, {len(seen)} compilations")
    assert len(found) == 164
    assert all(len(programs) == 3 for programs in found.values())
    assert len(seen) <= 6
