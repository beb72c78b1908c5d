"""Beam search through the kernels, in Pallas's interpreter: the programs of the reference."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from decode_stand_ins import EOS, PROMPTS, tiny_gpt2

from pper_jax.decode import BeamConfig, decode_prompts
from pper_jax.errors import UserError
from pper_jax.models import attention, causal_lm
from pper_jax.models.quantize import quantize
from pper_jax.sharding import make_mesh

METHOD = BeamConfig(width=3, max_new_tokens=5, eos_ids=(EOS,))


@pytest.mark.parametrize(("kernels", "tied"), [("pallas_gpu", True), ("pallas_tpu", True), ("pallas_gpu", False)])
@pytest.mark.filterwarnings("ignore:.*[Tt]riton:DeprecationWarning")
def test_kernels_by_name_find_the_same_programs(kernels: str, tied: bool, monkeypatch: pytest.MonkeyPatch):
    module, params = tiny_gpt2(seed=4)
    if not tied:
        module = module.clone(config=replace(module.config, tie_embeddings=False))
        params = params | {"lm_head": {"kernel": np.asarray(params["token_embedding"]["embedding"]).T}}
    options = {"config": METHOD, "batch_size": 3, "buckets": (8,)}
    expected = dict(decode_prompts(module, params, PROMPTS, **options))
    used = []

    def interpreted(kernel, *args, **given):
        used.append((kernel.__name__, given["implementation"]))
        return kernel(*args, interpret=True, **given)

    for room, name in ((attention, "beam_attention"), (causal_lm, "project_top_log_probs")):
        monkeypatch.setattr(room, name, partial(interpreted, getattr(room, name)))
    monkeypatch.setattr("pper_jax.decode.engine.lay_out", lambda module, params, mesh: (module, params))
    named = module.clone(compute=replace(module.compute, kernels=kernels))
    found = dict(decode_prompts(named, params, PROMPTS, **options))
    assert set(used) == {("beam_attention", kernels), ("project_top_log_probs", kernels)}
    for index, programs in expected.items():
        assert [p.tokens for p in found[index]] == [p.tokens for p in programs]
        np.testing.assert_allclose([p.logprob for p in found[index]], [p.logprob for p in programs], atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*[Tt]riton:DeprecationWarning")
def test_int8_weights_go_through_the_attention_kernel_alone(monkeypatch: pytest.MonkeyPatch):
    module, params = quantize(*tiny_gpt2(seed=4))
    options = {"config": METHOD, "batch_size": 3, "buckets": (8,)}
    expected = dict(decode_prompts(module, params, PROMPTS, **options))
    monkeypatch.setattr(attention, "beam_attention", partial(attention.beam_attention, interpret=True))
    named = module.clone(compute=replace(module.compute, kernels="pallas_gpu"))
    found = dict(decode_prompts(named, params, PROMPTS, **options))
    for index, programs in expected.items():
        assert [p.tokens for p in found[index]] == [p.tokens for p in programs]
        np.testing.assert_allclose([p.logprob for p in found[index]], [p.logprob for p in programs], atol=1e-4)


def test_kernels_and_a_mesh_are_refused():
    module, params = tiny_gpt2()
    module = module.clone(compute=replace(module.compute, kernels="pallas_gpu"))
    with pytest.raises(UserError, match="run on one device"):
        decode_prompts(module, params, PROMPTS, config=METHOD, batch_size=8, mesh=make_mesh(8, 1, 1))
