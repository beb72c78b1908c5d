"""Going down a sum tree: the reference and the TPU kernel in interpret mode, against intervals added up in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import CALLS, lower

from pper_kernels.sum_tree import descend, pallas_tpu

ARITY = 128


def tree_of(leaves: np.ndarray) -> tuple[np.ndarray, int]:
    """Rows ``[R, 128]`` of the tree over ``leaves``, and its depth."""
    depth = 1
    while ARITY**depth < leaves.size:
        depth += 1
    levels = [np.pad(leaves.astype(np.float32), (0, ARITY**depth - leaves.size))]
    while levels[0].size > 1:
        levels.insert(0, levels[0].reshape(-1, ARITY).sum(1, dtype=np.float32))
    return np.concatenate([np.zeros(ARITY - 1, np.float32), *levels]).reshape(-1, ARITY), depth


class Contract:
    """What every backend must do."""

    @pytest.mark.parametrize(("count", "empty"), [(100, 0.0), (3000, 0.5), (20_000, 0.9)])
    def test_each_target_falls_on_the_leaf_whose_part_of_the_total_holds_it(self, count, empty):
        rng = np.random.default_rng(count)
        leaves = (rng.random(count) * (rng.random(count) >= empty)).astype(np.float32)
        rows, depth = tree_of(leaves)
        target = np.append(np.sort(rng.random(61)) * leaves.sum(dtype=np.float64), [0.0, leaves.sum() * (1 - 2.0**-20)])
        high = target.astype(np.float32)
        nodes = self.descend(rows, high, (target - high).astype(np.float32), depth=depth)
        leaf = np.asarray(nodes) - (ARITY**depth - 1) // (ARITY - 1)
        ends = np.cumsum(leaves, dtype=np.float64)
        slack = 2.0**-20 * ends[-1]
        assert (leaves[leaf] > 0).all()
        assert (target >= ends[leaf] - leaves[leaf] - slack).all()
        assert (target <= ends[leaf] + slack).all()

    def test_the_ends_of_the_total_fall_on_the_outermost_leaves_with_weight(self):
        leaves = np.zeros(300, np.float32)
        leaves[[37, 260]] = 1.0
        rows, depth = tree_of(leaves)
        high, low = np.array([-1e-6, 0, 1, 3], np.float32), np.array([0, 0, 1e-9, 0], np.float32)
        nodes = self.descend(rows, high, low, depth=depth)
        assert (np.asarray(nodes) - 129).tolist() == [37, 37, 260, 260]


class TestReference(Contract):
    descend = staticmethod(jax.jit(partial(descend, implementation="reference"), static_argnames="depth"))


class TestPallasTpu(Contract):
    descend = staticmethod(
        jax.jit(partial(descend, implementation="pallas_tpu", interpret=True), static_argnames="depth")
    )


def test_the_kernel_lowers_for_a_tpu_without_one():
    shape = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    text = lower(partial(pallas_tpu.descend, depth=3), "tpu", shape((16_514, 128)), shape((4096,)), shape((4096,)))
    assert CALLS["tpu"] in text


@pytest.mark.parametrize("rows", [(9, 4), (2**18, 128)])
def test_trees_that_the_kernel_cannot_hold_are_refused(rows):
    one = jnp.zeros(1)
    with pytest.raises(ValueError, match="'pallas_tpu' takes rows of 128"):
        jax.eval_shape(partial(pallas_tpu.descend, depth=2), jnp.zeros(rows), one, one)


def test_there_is_no_gpu_kernel():
    with pytest.raises(ValueError, match="'pallas_gpu' does not exist for the sum tree"):
        descend(jnp.zeros((2, 128)), jnp.zeros(1), jnp.zeros(1), depth=1, implementation="pallas_gpu")
