"""Beam decode attention: the reference and the kernels in interpret mode; and what a kernel's name does where."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import (
    CALLS,
    COMPILE_FAST,
    TRITON_GOES,
    AttentionContract,
    AttentionKernelContract,
    attention_case,
    attention_shapes,
    lower,
)

from pper_kernels.beam_attention import api, beam_attention, pallas_gpu, pallas_tpu
from pper_kernels.beam_attention.blocks import live_blocks


def attend_by(**options):
    return staticmethod(jax.jit(partial(beam_attention, **options), compiler_options=COMPILE_FAST))


class TestReference(AttentionContract):
    attend = attend_by(implementation="reference")


class TestPallasGpu(AttentionKernelContract):
    attend = attend_by(implementation="pallas_gpu", interpret=True)


class TestPallasTpu(AttentionKernelContract):
    attend = attend_by(implementation="pallas_tpu", interpret=True)


def test_live_blocks_come_first_in_order():
    visible = jnp.zeros((2, 10), bool).at[0, jnp.array([3, 9])].set(True)
    order, count = live_blocks(visible, block=3)
    np.testing.assert_array_equal(count, [2, 0])
    np.testing.assert_array_equal(order, [[1, 3, 0, 2], [0, 1, 2, 3]])


@pytest.mark.filterwarnings(TRITON_GOES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "shape", [(8, 3, 12, 1, 64, 128, 192), (2, 10, 3, 3, 64, 100, 0), (1, 10, 25, 1, 80, 300, 640)]
)
@pytest.mark.parametrize(("platform", "kernel"), [("tpu", pallas_tpu), ("cuda", pallas_gpu)])
def test_kernels_lower_without_the_device(platform, kernel, shape, dtype):
    assert CALLS[platform] in lower(kernel.beam_attention, platform, *attention_shapes(*shape, dtype))


def test_a_kernel_that_cannot_run_here_fails_at_once():
    operands = attention_case(0, 1, 1, 1, 1, 16, 4, 4)
    with pytest.raises(ValueError, match=r"'pallas_tpu' needs a TPU, but jax runs on 'cpu' here"):
        beam_attention(*operands, implementation="pallas_tpu")
    with pytest.raises(
        ValueError, match=r"'cuda' does not exist; choose one of 'reference', 'pallas_gpu', 'pallas_tpu'"
    ):
        beam_attention(*operands, implementation="cuda")


def test_the_choice_follows_the_platform_that_a_program_is_lowered_for(monkeypatch):
    monkeypatch.setattr(api, "PREFERRED", {"tpu": "pallas_tpu"})
    operands = attention_case(0, 1, 2, 1, 1, 16, 4, 4)
    for platform, kernel in (("tpu", True), ("cpu", False)):
        assert ("tpu_custom_call" in lower(beam_attention, platform, *operands)) == kernel
    reference = jax.jit(partial(beam_attention, implementation="reference"))
    np.testing.assert_array_equal(jax.jit(beam_attention)(*operands), reference(*operands))
