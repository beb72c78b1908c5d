"""What every backend of a kernel is held to: the same cases, against sums written out in float64 with numpy."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

COMPILE_FAST = {"xla_backend_optimization_level": 0}  # of the interpreter's code, which runs once
EPS = {"float32": 2.0**-23, "bfloat16": 2.0**-8}


CALLS = {"cuda": "__gpu$xla.gpu.triton", "tpu": "tpu_custom_call"}  # what a program with a kernel calls
TRITON_GOES = "ignore:The Pallas Triton backend is deprecated:DeprecationWarning"  # jax 0.11 says so


def lower(function, platform, *operands):
    """The program for ``platform`` as text, on a machine that need not have one."""
    target = nullcontext()
    if platform == "cuda" and jax.__version_info__ >= (0, 11):  # from there on, Triton asks which GPU it is for
        device = AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
        mesh = AbstractMesh((1,), ("x",), (AxisType.Auto,), abstract_device=device)
        target = jax.sharding.use_abstract_mesh(mesh)
    allowed = [export.DisabledSafetyCheck.custom_call(CALLS["cuda"])]
    with target:
        return export.export(jax.jit(function), platforms=[platform], disabled_checks=allowed)(*operands).mlir_module()


def draw(random, shape, dtype):
    return random.standard_normal(shape, np.float32).astype(jnp.dtype(dtype))


def shapes(*operands):
    """Operands of which only the shapes matter."""
    return tuple(jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in operands)


def attention_shapes(rows, width, kv_heads, group, depth, prompt, slots, dtype="float32"):
    """The operands of ``beam_attention``."""
    return shapes(
        ((rows, width, kv_heads * group, depth), dtype),
        ((rows, kv_heads, depth, prompt), dtype),
        ((rows, kv_heads, prompt, depth), dtype),
        ((rows, kv_heads, depth, slots), dtype),
        ((rows, kv_heads, slots, depth), dtype),
        ((rows, prompt), bool),
        ((rows, width, slots), bool),
    )


def attention_case(seed, *shape, dtype="float32", seen=0.3):
    """numpy operands of ``beam_attention``: ragged right-padded prompts; each beam sees a share of the slots."""
    random = np.random.default_rng(seed)
    *floats, prompt_mask, mask = attention_shapes(*shape, dtype)
    rows, prompt = prompt_mask.shape
    lengths = random.integers(1, prompt, (rows, 1), endpoint=True)
    return (
        *(draw(random, x.shape, dtype) for x in floats),
        np.arange(prompt) < lengths,
        random.random(mask.shape) < seen,
    )


def attend_exactly(query, prompt_key, prompt_value, key, value, prompt_mask, mask):
    """Softmax attention in float64, one query at a time over the slots that it sees."""
    query, prompt_key, prompt_value, key, value = (
        np.asarray(x, np.float64) for x in (query, prompt_key, prompt_value, key, value)
    )
    rows, width, heads, depth = query.shape
    group = heads // prompt_key.shape[1]
    out = np.zeros_like(query)
    for b, k, h in np.ndindex(rows, width, heads):
        n = h // group
        seen, prompt_seen = np.asarray(mask[b, k]), np.asarray(prompt_mask[b])
        keys = np.concatenate([prompt_key[b, n][:, prompt_seen], key[b, n][:, seen]], axis=1)
        values = np.concatenate([prompt_value[b, n][prompt_seen], value[b, n][seen]])
        score = query[b, k, h] @ keys / np.sqrt(depth)
        weight = np.exp(score - score.max())
        out[b, k, h] = weight @ values / weight.sum()
    return out


SHARED = (3, 3, 2, 1, 16, 200, 300)  # one shape for many tests: compiled once


class AttentionContract:
    """A subclass gives ``attend(*operands)``."""

    @pytest.mark.parametrize(
        ("shape", "dtype"),
        [
            pytest.param((2, 3, 2, 1, 64, 100, 150), "float32", id="nothing a multiple of a block"),
            pytest.param((2, 3, 2, 1, 64, 100, 150), "bfloat16", id="the same in bfloat16"),
            pytest.param((1, 2, 1, 1, 16, 1, 1), "float32", id="one slot each"),
            pytest.param((3, 1, 2, 1, 16, 40, 70), "float32", id="one query a head"),
            pytest.param((2, 3, 2, 2, 32, 40, 0), "float32", id="no ring yet"),
            pytest.param((1, 10, 1, 7, 24, 140, 70), "bfloat16", id="70 queries a head, odd depth"),
            pytest.param((2, 4, 3, 3, 16, 64, 256), "float32", id="whole blocks"),
        ],
    )
    def test_softmax_over_prompt_and_ancestors(self, shape, dtype):
        self.check(attention_case(0, *shape, dtype=dtype), dtype)

    def test_rows_whose_ring_is_empty(self):
        *others, mask = attention_case(1, *SHARED)
        mask[1], mask[2, 1] = False, False
        self.check((*others, mask), "float32")

    def test_visible_slots_in_blocks_far_apart(self):
        *others, mask = attention_case(2, *SHARED)
        few = np.zeros_like(mask)
        few[0, 0, 299] = few[0, 1, 3] = few[1, 2, 150] = True
        self.check((*others, few), "float32")

    def test_prompt_slots_may_be_visible_anywhere(self):
        *others, prompt_mask, mask = attention_case(3, *SHARED)
        few = np.zeros_like(prompt_mask)
        few[0, 150] = few[1, 7] = few[1, 199] = few[2, 199] = True
        self.check((*others, few, mask), "float32")

    @pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
    def test_masked_keys_may_be_anything(self, poison):
        query, prompt_key, prompt_value, key, value, prompt_mask, mask = attention_case(4, *SHARED)
        mask[:, :, ::2] = False
        poisoned = np.where(mask.any(1)[:, None, None], key, np.float32(poison))
        poisoned_prompt = np.where(prompt_mask[:, None, None], prompt_key, np.float32(poison))
        out = self.attend(query, poisoned_prompt, prompt_value, poisoned, value, prompt_mask, mask)
        clean = self.attend(query, prompt_key, prompt_value, key, value, prompt_mask, mask)
        assert np.isfinite(clean).all()
        np.testing.assert_array_equal(out, clean)

    def test_a_beam_does_not_see_the_bad_key_of_another(self):
        query, prompt_key, prompt_value, key, value, prompt_mask, mask = attention_case(5, *SHARED)
        mask[:, :, 40] = [False, True, False]
        spoilt = key.copy()
        spoilt[..., 40] = np.nan
        out = self.attend(query, prompt_key, prompt_value, spoilt, value, prompt_mask, mask)
        clean = self.attend(query, prompt_key, prompt_value, key, value, prompt_mask, mask)
        np.testing.assert_array_equal(out[:, [0, 2]], clean[:, [0, 2]])

    def test_scores_far_apart_do_not_overflow(self):
        query, *others = attention_case(6, *SHARED)
        self.check((query * 1000, *others), "float32", scores=1000 * 16)

    def check(self, operands, dtype, scores=16.0):
        """Within rounding: of the output, of the weights (bfloat16 where the values are), and of float32 scores.

        A weight changes by as much as its score is wrong, absolutely, so an error of ``scores`` times the rounding of
        float32 carries over to the values, which are at most about 4.
        """
        out = self.attend(*operands)
        assert out.dtype == operands[0].dtype
        assert out.shape == operands[0].shape
        tolerance = 4 * (2 * EPS[dtype] + scores * EPS["float32"])
        np.testing.assert_allclose(np.asarray(out, np.float64), attend_exactly(*operands), rtol=0, atol=tolerance)


class AttentionKernelContract(AttentionContract):
    """What a kernel promises besides: XLA:CPU adds the reference's sums in an order that the batch's size decides."""

    def test_a_row_does_not_depend_on_the_others(self):
        operands = attention_case(7, *SHARED)
        alone = self.attend(*(x[1:2] for x in operands))
        np.testing.assert_array_equal(self.attend(*operands)[1:2], alone)

    def test_blocks_that_nobody_sees_are_not_read(self):
        """A value that is read spoils the sums even where its weight is zero."""
        query, prompt_key, prompt_value, key, value, prompt_mask, mask = attention_case(8, *SHARED)
        prompt_mask[:, 128:], mask[:, :, 128:256] = False, False
        clean = self.attend(query, prompt_key, prompt_value, key, value, prompt_mask, mask)
        prompt_value[:, :, 128:], value[:, :, 128:256] = np.nan, np.nan
        np.testing.assert_array_equal(
            self.attend(query, prompt_key, prompt_value, key, value, prompt_mask, mask), clean
        )
        assert np.isfinite(clean).all()


def projection_shapes(rows, depth, vocabulary, transposed, dtype="float32"):
    """The operands of ``project_top_log_probs``."""
    return shapes(((rows, depth), dtype), ((vocabulary, depth) if transposed else (depth, vocabulary), dtype))


def projection_case(seed, *shape, dtype="float32"):
    """numpy operands of ``project_top_log_probs``."""
    random = np.random.default_rng(seed)
    return tuple(draw(random, x.shape, dtype) for x in projection_shapes(*shape))


def rank_exactly(logits):
    """``(log-softmax, tokens best first)`` in float64, the lowest token first among equals; NaN is ``-inf``."""
    logits = np.where(np.isnan(logits), -np.inf, logits)
    top = logits.max(axis=1, keepdims=True)
    logprob = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return logprob, np.argsort(-logits, axis=1, kind="stable")


class ProjectionContract:
    """A subclass gives ``project(hidden, table, count, transposed=...)``.

    Where the tokens are compared, the operands are small integers: every sum of their products is exact, in any order
    and type, so logits tie exactly or differ by at least 1.
    """

    @pytest.mark.parametrize(
        ("rows", "depth", "vocabulary", "count", "transposed", "dtype"),
        [
            pytest.param(24, 96, 1000, 6, True, "float32", id="an embedding"),
            pytest.param(24, 96, 1000, 6, True, "bfloat16", id="the same in bfloat16"),
            pytest.param(3, 40, 700, 20, False, "bfloat16", id="a head, its width no multiple of a block"),
            pytest.param(1, 16, 5, 2, True, "float32", id="a few tokens"),
            pytest.param(2, 16, 300, 140, True, "float32", id="more tokens wanted than a tile of 128 has"),
            pytest.param(3, 16, 130, 500, False, "float32", id="more wanted than there are"),
            pytest.param(150, 16, 256, 3, True, "float32", id="many rows, whole tiles"),
        ],
    )
    def test_ties_are_broken_by_the_lowest_token(self, rows, depth, vocabulary, count, transposed, dtype):
        hidden, table = projection_case(0, rows, depth, vocabulary, transposed)
        hidden, table = (np.clip(np.round(x), -3, 3).astype(jnp.dtype(dtype)) for x in (hidden, table))
        logprob, token = self.project(hidden, table, count, transposed=transposed)
        assert (logprob.dtype, token.dtype) == (jnp.float32, jnp.int32)
        exact, order = rank_exactly(product(hidden, table, transposed))
        kept = min(count, vocabulary)
        np.testing.assert_array_equal(token, order[:, :kept])
        self.close(logprob, np.take_along_axis(exact, order[:, :kept], axis=1))

    @pytest.mark.parametrize("transposed", [True, False])
    def test_real_logits(self, transposed):
        hidden, table = projection_case(1, 5, 100, 900, transposed)
        logprob, token = self.project(hidden, table, 9, transposed=transposed)
        exact, order = rank_exactly(product(hidden, table, transposed))
        # a sum of 100 products of about 1, each rounded, in any order: at most 100 roundings of numbers below 64
        atol = 100 * 64 * EPS["float32"] / 2
        np.testing.assert_allclose(logprob, np.take_along_axis(exact, order[:, :9], axis=1), rtol=0, atol=atol)
        np.testing.assert_allclose(logprob, np.take_along_axis(exact, np.asarray(token), axis=1), rtol=0, atol=atol)

    def test_nan_logits_count_as_minus_infinity(self):
        hidden, table = np.ones((2, 16), np.float32), np.full((300, 16), np.nan, np.float32)
        hidden[1], table[250], table[7] = -1, 2 / 16, 1 / 16  # logits 2 and 1 for one row, -2 and -1 for the other
        logprob, token = self.project(hidden, table, 5, transposed=True)
        np.testing.assert_array_equal(token, [[250, 7, 0, 1, 2], [7, 250, 0, 1, 2]])
        best = -np.log1p(np.exp(-1))
        self.close(logprob[:, :2], [[best, best - 1]] * 2)
        np.testing.assert_array_equal(logprob[:, 2:], np.full((2, 3), -np.inf))

    @pytest.mark.parametrize("nothing", [np.nan, -np.inf])
    def test_a_row_without_a_finite_logit(self, nothing):
        hidden, table = np.ones((2, 16), np.float32), np.ones((300, 16), np.float32)
        hidden[1] = nothing
        logprob, token = self.project(hidden, table, 5, transposed=True)
        np.testing.assert_array_equal(token, [range(5), range(5)])
        self.close(logprob[0], np.full(5, -np.log(300)))
        np.testing.assert_array_equal(logprob[1], np.full(5, -np.inf))

    def test_infinite_logits_come_first_and_have_no_log_probability(self):
        hidden, table = np.ones((2, 16), np.float32), np.zeros((300, 16), np.float32)
        table[[140, 299]] = np.inf
        logprob, token = self.project(hidden, table, 5, transposed=True)
        np.testing.assert_array_equal(token, [[140, 299, 0, 1, 2]] * 2)
        np.testing.assert_array_equal(logprob, np.full((2, 5), -np.inf))

    def test_logits_that_rise_and_fall_with_the_token(self):
        """Rising: each tile pushes out all that the one before it left. Falling: none does."""
        hidden, table = np.zeros((2, 16), np.float32), np.zeros((300, 16), np.float32)
        hidden[:, 0], table[:, 0] = [1, -1], np.arange(300) // 2
        logprob, token = self.project(hidden, table, 5, transposed=True)
        np.testing.assert_array_equal(token, [[298, 299, 296, 297, 294], [0, 1, 2, 3, 4]])
        best = -np.log(2 * np.exp(-np.arange(150.0)).sum())
        self.close(logprob, [[best, best, best - 1, best - 1, best - 2]] * 2)

    def close(self, logprob, expected):
        """To the rounding of exp and log in float32, and of the difference of a logit from the largest."""
        np.testing.assert_allclose(logprob, expected, rtol=4 * EPS["float32"], atol=8 * EPS["float32"])


def product(hidden, table, transposed):
    hidden, table = np.asarray(hidden, np.float64), np.asarray(table, np.float64)
    return hidden @ (table.T if transposed else table)
