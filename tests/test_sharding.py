import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from pper_jax.errors import UserError
from pper_jax.models import MODEL_FAMILIES, ModelConfig
from pper_jax.models.weights import parameter_shapes
from pper_jax.sharding import check_axes, check_batch, make_mesh, rule, rule_for, spec_for, unfollowed


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
    assert spec_for("layer_0/attention/key/kernel", (16, 3, 7), mesh) == PartitionSpec("fsdp", None, None)
    assert spec_for("layer_0/up/kernel", (15, 32), mesh) == PartitionSpec(None, "tp")


def test_what_the_first_spec_cannot_split_the_next_one_splits_elsewhere():
    mesh = make_mesh(data=2, fsdp=2, tp=2)
    assert spec_for("layer_0/attention/key/kernel", (16, 3, 8), mesh) == PartitionSpec("fsdp", None, "tp")
    assert spec_for("token_embedding/embedding", (50257, 16), mesh) == PartitionSpec(None, ("fsdp", "tp"))


def test_a_rule_that_a_shape_cannot_follow_is_said_once_with_its_cost():
    mesh = make_mesh(data=2, fsdp=2, tp=2)
    tree = {f"layer_{i}": {"up": {"kernel": np.zeros((16, 33)), "bias": np.zeros(34)}} for i in range(3)}
    said = "layer_0/up/kernel [16, 33] and 2 like it: tp=2 does not divide 33, so there are 4 copies of each part"
    assert [sentence.startswith(said) for sentence in unfollowed(tree, mesh)] == [True]
    assert unfollowed({"token_embedding": {"embedding": np.zeros((50257, 16))}}, mesh) == []
    assert unfollowed(tree, make_mesh(data=8)) == []


def test_a_family_may_have_exceptions_which_go_first():
    mesh = make_mesh(data=2, fsdp=2, tp=2)
    own = (rule(r"router/kernel$", ("fsdp", None)), rule(r"up/kernel$", (None, "tp")))
    assert spec_for("layer_0/router/kernel", (16, 4), mesh, own) == PartitionSpec("fsdp", None)
    assert spec_for("layer_0/up/kernel", (16, 4), mesh, own) == PartitionSpec(None, "tp")
    assert spec_for("layer_0/down/kernel", (16, 4), mesh, own) == PartitionSpec("tp", "fsdp")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ((rule("up/kernel$", ("tp", None)), rule("kernel$", (None, "tp"))), "both claim layer_0/up/kernel"),
        ((rule("up/kernel$", ("tp", "tp")),), "splits two dimensions over tp"),
        ((rule("up/kernel$", ("fsdp", None), (("fsdp", "tp"), "tp")),), "splits two dimensions over tp"),
        ((rule("up/kernel$", ("model", None)),), "names the axis 'model'"),
    ],
)
def test_rules_that_contradict_are_refused(own, said):
    with pytest.raises(UserError, match=said):
        spec_for("layer_0/up/kernel", (16, 4), make_mesh(), own)


def test_the_table_has_one_rule_for_every_parameter_of_the_families():
    for family in MODEL_FAMILIES:
        shapes = parameter_shapes(ModelConfig(family, 32, 16, 1, 2, 2, 8, 32, 32, tie_embeddings=False))
        for path, shape in shapes.items():
            found = rule_for(path, len(shape), MODEL_FAMILIES[family].rules)
            assert (found is None) == (len(shape) == 1 and "up" not in path), path


@pytest.mark.parametrize("axis", ["fsdp", "tp"])
def test_an_axis_that_splits_nothing_is_one_sentence(axis):
    tree = {"layer_0": {"up": {"kernel": np.zeros((12, 12))}}}
    check_axes(tree, make_mesh(**{"data": 2, "fsdp": 1, "tp": 1, axis: 4}))
    with pytest.raises(UserError, match=f"mesh.{axis} is 8, which divides no weight of this model"):
        check_axes(tree, make_mesh(**{"data": 1, "fsdp": 1, "tp": 1, axis: 8}))


def test_a_batch_that_the_mesh_does_not_divide_is_one_sentence():
    mesh = make_mesh(data=2, fsdp=2, tp=2)
    check_batch(32, 8, mesh)
    with pytest.raises(UserError, match="batch_size is 24; it must be a multiple of 16, which is mesh data 2"):
        check_batch(24, 4, mesh)


def test_meshes_use_auto_axes_so_that_stock_layers_work():
    mesh = make_mesh()
    with jax.set_mesh(mesh):
        assert jnp.ones((8, 2)).sum() == 16
