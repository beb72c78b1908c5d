import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from pper_jax.errors import UserError
from pper_jax.sharding import make_mesh, spec_for


def test_minus_one_takes_the_devices_that_are_left():
    mesh = make_mesh(data=-1, fsdp=2, tp=2)
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tp": 2}


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, -1, 1), (-1, 3, 1), (0, 1, 1), (16, 1, 1)])
def test_a_mesh_that_does_not_fit_is_one_sentence(sizes):
    with pytest.raises(UserError, match="does not fit the 8 devices"):
        make_mesh(*sizes)


@pytest.mark.parametrize("size", [float("nan"), 2.0, "2", True, -2, None])
def test_a_size_that_is_no_whole_number_is_one_sentence(size):
    with pytest.raises(UserError, match=r"mesh\.fsdp is .*; it must be a whole number at least -1"):
        make_mesh(-1, size, 1)


def test_the_table_splits_weights_by_path():
    mesh = make_mesh(data=2, fsdp=2, tp=2)
    assert spec_for("params/layer_3/attention/query/kernel", (16, 4, 8), mesh) == PartitionSpec("fsdp", "tp", None)
    assert spec_for("opt_state/1/0/mu/layer_0/down/kernel", (32, 16), mesh) == PartitionSpec("tp", "fsdp")
    assert spec_for("params/final_norm/scale", (16,), mesh) == PartitionSpec()


def test_a_dimension_that_an_axis_does_not_divide_is_replicated():
    mesh = make_mesh(data=2, fsdp=2, tp=2)
    assert spec_for("layer_0/attention/key/kernel", (16, 3, 8), mesh) == PartitionSpec("fsdp", None, None)


def test_meshes_use_auto_axes_so_that_stock_layers_work():
    mesh = make_mesh()
    with jax.set_mesh(mesh):
        assert jnp.ones((8, 2)).sum() == 16
