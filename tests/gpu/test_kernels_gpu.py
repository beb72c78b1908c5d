"""The kernels, compiled, on an NVIDIA GPU. On another machine each test fails and says that it needs a GPU."""

from functools import partial

import jax
import numpy as np
import pytest
from kernel_cases import EPS, TRITON_GOES, AttentionKernelContract, ProjectionContract, attention_case, projection_case

from pper_kernels.beam_attention import beam_attention
from pper_kernels.project_topk import project_top_log_probs

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings(TRITON_GOES)]


class TestBeamAttention(AttentionKernelContract):
    attend = staticmethod(jax.jit(partial(beam_attention, implementation="pallas_gpu")))

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    @pytest.mark.parametrize(
        "shape",
        [
            pytest.param((8, 3, 12, 1, 64, 128, 192), id="GPT-2 124M"),
            pytest.param((8, 10, 25, 1, 64, 128, 640), id="GPT-2 XL"),
            pytest.param((64, 10, 3, 3, 64, 128, 640), id="SmolLM2-135M"),
        ],
    )
    def test_shapes_of_models(self, shape, dtype):
        self.check(attention_case(10, *shape, dtype=dtype), dtype)


class TestProjection(ProjectionContract):
    project = staticmethod(
        jax.jit(
            partial(project_top_log_probs, implementation="pallas_gpu"), static_argnums=2, static_argnames="transposed"
        )
    )

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    @pytest.mark.parametrize(
        ("rows", "depth", "vocabulary", "count"),
        [
            pytest.param(24, 768, 50257, 6, id="GPT-2 124M"),
            pytest.param(640, 1600, 50257, 20, id="GPT-2 XL"),
            pytest.param(192, 576, 49152, 20, id="SmolLM2-135M"),
        ],
    )
    def test_shapes_of_models(self, rows, depth, vocabulary, count, dtype):
        hidden, table = projection_case(11, rows, depth, vocabulary, True, dtype=dtype)
        table = (table / np.sqrt(depth)).astype(table.dtype)
        mine, reference = (
            jax.jit(partial(project_top_log_probs, count=count, transposed=True, implementation=name))(hidden, table)
            for name in ("pallas_gpu", "reference")
        )
        # the same bfloat16 products, summed in float32 in another order: logits of about 1, at most 8
        np.testing.assert_allclose(mine[0], reference[0], rtol=0, atol=8 * np.sqrt(depth) * EPS["float32"])
        exact = np.asarray(hidden, np.float32) @ np.asarray(table, np.float32).T
        taken = [np.take_along_axis(exact, np.asarray(token), axis=1) for token in (mine[1], reference[1])]
        np.testing.assert_allclose(*taken, rtol=0, atol=8 * np.sqrt(depth) * EPS["float32"])
