"""Projection and best tokens: the reference and the kernels in interpret mode."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import CALLS, COMPILE_FAST, TRITON_GOES, ProjectionContract, lower, projection_case, projection_shapes

from pper_kernels.project_topk import pallas_gpu, pallas_tpu, project_top_log_probs, top_log_probs


def project_by(**options):
    project = partial(project_top_log_probs, **options)
    return staticmethod(jax.jit(project, static_argnums=2, static_argnames="transposed", compiler_options=COMPILE_FAST))


class TestReference(ProjectionContract):
    project = project_by(implementation="reference")


class TestPallasGpu(ProjectionContract):
    project = project_by(implementation="pallas_gpu", interpret=True)


class TestPallasTpu(ProjectionContract):
    project = project_by(implementation="pallas_tpu", interpret=True)


def test_the_reference_is_the_best_of_the_written_logits():
    hidden, table = projection_case(2, 4, 16, 200, True)
    chosen = jax.jit(partial(project_top_log_probs, count=7, transposed=True))(hidden, table)
    plain = jax.jit(partial(top_log_probs, count=7))(hidden @ table.T)
    np.testing.assert_array_equal(chosen[1], plain[1])
    np.testing.assert_allclose(chosen[0], plain[0], rtol=1e-5)


@pytest.mark.filterwarnings(TRITON_GOES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(24, 768, 50257, 6, True), (640, 1600, 50257, 20, True), (3, 40, 300, 130, False)])
@pytest.mark.parametrize(("platform", "kernel"), [("tpu", pallas_tpu), ("cuda", pallas_gpu)])
def test_kernels_lower_without_the_device(platform, kernel, shape, dtype):
    rows, depth, vocabulary, count, transposed = shape
    operands = projection_shapes(rows, depth, vocabulary, transposed, dtype)
    project = partial(kernel.project_top_log_probs, count=count, transposed=transposed)
    text = lower(project, platform, *operands)
    assert CALLS[platform] in text
    if vocabulary > 10 * depth:
        assert f"{rows}x{vocabulary}x" not in text  # no array of all logits


def test_more_tokens_than_a_kernel_keeps():
    hidden, table = jnp.ones((2, 16)), jnp.ones((400, 16))
    with pytest.raises(ValueError, match="'pallas_gpu' keeps at most 256 tokens a row, not 300"):
        project_top_log_probs(hidden, table, 300, transposed=True, implementation="pallas_gpu", interpret=True)
    assert project_top_log_probs(hidden, table, 300, transposed=True)[1].shape == (2, 300)
