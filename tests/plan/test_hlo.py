"""The accounts of compiled modules, against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from pper_jax.plan.hlo import account, involuntary, totals
from pper_jax.sharding import make_mesh


def compiled(function, *shapes, mesh=None, specs=None, out=None):
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    if mesh is None:
        return jax.jit(function).lower(*given).compile().as_text()
    ins = tuple(NamedSharding(mesh, spec) for spec in specs)
    outs = NamedSharding(mesh, out)
    return jax.jit(function, in_shardings=ins, out_shardings=outs).lower(*given).compile().as_text()


def test_a_loop_of_products_counts_as_often_as_it_runs():
    def layers(x, weights):
        return lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    found = account(compiled(layers, (8, 32), (5, 32, 32)), {})
    assert found.matrix_flops == 5 * 2 * 8 * 32 * 32
    assert found.unknown_loops == 0


def test_loops_within_loops_multiply():
    def power(x, w):
        inner = lambda _, x: jnp.tanh(x @ w)  # noqa: E731
        return lax.fori_loop(0, 3, lambda _, x: lax.fori_loop(0, 7, inner, x), x)

    assert account(compiled(power, (8, 32), (32, 32)), {}).matrix_flops == 3 * 7 * 2 * 8 * 32 * 32


def test_a_loop_of_unknown_length_takes_the_callers_number():
    def until(x, w, n):
        return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.tanh(c[1] @ w)), (0.0, x))[1]

    text = compiled(until, (8, 32), (32, 32), ())
    assert account(text, {}).matrix_flops == 2 * 8 * 32 * 32
    assert account(text, {}, trips=11).matrix_flops == 11 * 2 * 8 * 32 * 32
    assert account(text, {}).unknown_loops == 1


def test_stacks_of_products_and_gradients():
    def loss(x, w):
        return jnp.sum(jnp.einsum("bij,bjk->bik", x, w) ** 2)

    found = account(compiled(jax.grad(loss, argnums=(0, 1)), (4, 8, 16), (4, 16, 32)), {})
    assert found.matrix_flops == 3 * 2 * 4 * 8 * 16 * 32


def test_of_two_branches_the_dearer_counts():
    def either(x, w):
        return lax.cond(x[0, 0] > 0, lambda: jnp.tanh(x @ w) @ w, lambda: x @ w)

    assert account(compiled(either, (8, 32), (32, 32)), {}).matrix_flops == 2 * 2 * 8 * 32 * 32


@pytest.mark.parametrize(
    ("axes", "n"), [(("data",), 4), (("tp",), 2), (("data", "tp"), 8)], ids=["data", "tp", "data+tp"]
)
def test_an_all_reduce_by_its_axes(axes, n):
    mesh = make_mesh(4, 1, 2)
    sums = jax.shard_map(
        lambda x: lax.psum(x, axes), mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
    )
    text = compiled(sums, (64, 32), mesh=mesh, specs=[PartitionSpec()], out=PartitionSpec())
    found = account(text, mesh)
    assert found.collectives == {f"all-reduce/{'+'.join(axes)}": 2 * (n - 1) / n * 64 * 32 * 4}
    assert list(found.calls.values()) == [1]


def test_a_sum_over_a_split_axis_is_an_all_reduce_and_a_share_of_the_products():
    mesh = make_mesh(2, 1, 4)
    specs = [PartitionSpec("data", "tp"), PartitionSpec("tp", None)]
    text = compiled(jnp.dot, (16, 64), (64, 32), mesh=mesh, specs=specs, out=PartitionSpec("data", None))
    found = account(text, mesh)
    assert found.matrix_flops == 2 * 16 * 64 * 32 / 8
    assert found.collectives == {"all-reduce/tp": 2 * 3 / 4 * (8 * 32 * 4)}


def test_gathering_in_a_loop_counts_each_time():
    mesh = make_mesh(1, 8, 1)

    def layers(x, weights):
        def layer(x, w):
            w = lax.with_sharding_constraint(w, NamedSharding(mesh, PartitionSpec()))
            return jnp.tanh(x @ w), None

        return lax.scan(layer, x, weights)[0]

    specs = [PartitionSpec("fsdp"), PartitionSpec(None, "fsdp")]
    found = account(compiled(layers, (8, 32), (6, 32, 32), mesh=mesh, specs=specs, out=PartitionSpec("fsdp")), mesh)
    assert found.matrix_flops == 6 * 2 * 1 * 32 * 32
    assert totals(found.collectives, "kind") == {"all-gather": 7 / 8 * 6 * 32 * 32 * 4}
    assert totals(found.collectives, "axes") == {"fsdp": 7 / 8 * 6 * 32 * 32 * 4}


def test_a_permutation_moves_what_a_device_sends():
    mesh = make_mesh(1, 8, 1)
    spec = PartitionSpec("fsdp")
    turn = jax.shard_map(
        lambda x: lax.ppermute(x, "fsdp", [(i, (i + 1) % 8) for i in range(8)]),
        mesh=mesh, in_specs=spec, out_specs=spec,
    )  # fmt: skip
    found = account(compiled(turn, (64, 32), mesh=mesh, specs=[spec], out=spec), mesh)
    assert found.collectives == {"collective-permute/fsdp": 8 * 32 * 4}


def test_memory_traffic_of_a_copy_and_of_a_slice():
    assert account(compiled(lambda x: x * 2 + 1, (64, 32)), {}).bytes == 2 * 64 * 32 * 4

    def rows(x, n):
        return lax.dynamic_slice(x, (n.astype(jnp.int32), 0), (2, 32)) * 2

    found = account(compiled(rows, (64, 32), ()), {}).bytes
    assert 2 * 2 * 32 * 4 <= found <= 2 * 2 * 32 * 4 + 16  # and the place, at most twice


def module(*lines, before=""):
    return f"HloModule m\n\n{before}\nENTRY %main (a: f32[1]) -> f32[1] {{\n" + "\n".join(lines) + "\n}\n"


TPU_STACK = module(
    "  %a = bf16[4,64,16]{2,1,0:T(8,128)(2,1)S(1)} parameter(0)",
    "  %b = bf16[4,32,16]{2,1,0:T(8,128)(2,1)} parameter(1)",
    "  ROOT %c = f32[4,64,32]{1,2,0:T(8,128)} convolution(%a, %b), window={size=4 stride=3 lhs_dilate=4}, "
    "dim_labels=0bf_0oi->0bf",
)


def test_products_of_tpus_are_convolutions():
    found = account(TPU_STACK, {})
    assert found.matrix_flops == 2 * 4 * 64 * 32 * 16
    assert found.bytes == 4 * 32 * 16 * 2 + 4 * 64 * 32 * 4  # what lies in the scratchpad, S(1), costs none


def test_axes_of_a_window_go_by_their_numbers():
    text = module(
        "  %a = bf16[64,512,100,1]{1,2,0,3:T(8,128)(2,1)} parameter(0)",
        "  %b = bf16[100,25,64,1]{0,2,1,3:T(8,128)(2,1)} parameter(1)",
        "  ROOT %c = bf16[64,512,25,64]{1,3,0,2:T(8,128)(2,1)} convolution(%a, %b), "
        "window={size=1x25 pad=0_0x24_24 rhs_reversal=0x1}, dim_labels=0bf1_i1o0->0b1f",
    )
    assert account(text, {}).matrix_flops == 2 * (64 * 512) * 100 * (25 * 64)


def test_a_convolution_that_slides_counts_no_padding():
    text = module(
        "  %a = f32[1,6,3]{2,1,0} parameter(0)",
        "  %b = f32[3,3,5]{2,1,0} parameter(1)",
        "  ROOT %c = f32[1,6,5]{2,1,0} convolution(%a, %b), window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f",
    )
    assert account(text, {}).matrix_flops == 2 * (6 * 3 - 2) * 3 * 5


@pytest.mark.parametrize(
    ("target", "config"),
    [
        ("__cublas$gemm", ', backend_config={"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"]}}'),
        ("__onednn$matmul", ""),
    ],
)
def test_products_of_libraries(target, config):
    text = module(
        "  %a = f32[4,8,16]{2,1,0} parameter(0)",
        "  %b = f32[4,16,32]{2,1,0} parameter(1)",
        f'  ROOT %c = f32[4,8,32]{{2,1,0}} custom-call(%a, %b), custom_call_target="{target}"{config}',
    )
    assert account(text, {}).matrix_flops == 2 * 4 * 8 * 16 * 32


def test_a_call_that_is_not_known_is_named():
    text = module(
        "  %a = f32[8]{0} parameter(0)", '  ROOT %c = f32[8]{0} custom-call(%a), custom_call_target="tpu_custom_call"'
    )
    assert account(text, {}).opaque == {"tpu_custom_call": 1}


@pytest.mark.parametrize(
    ("direction", "first", "step", "limit", "times"),
    [("LT", 0, 1, 6, 6), ("LT", 2, 3, 9, 3), ("LE", 0, 1, 6, 7), ("GT", 6, -1, 0, 6)],
)
def test_a_count_that_stands_in_the_condition_alone(direction, first, step, limit, times):
    condition = f"""%cond (p: (s32[], f32[8,8], s32[])) -> pred[] {{
  %p = (s32[], f32[8,8]{{1,0}}, s32[]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %n = s32[] get-tuple-element(%p), index=2
  ROOT %go = pred[] compare(%i, %n), direction={direction}
}}
"""
    body = f"""%body (p: (s32[], f32[8,8], s32[])) -> (s32[], f32[8,8], s32[]) {{
  %q = (s32[], f32[8,8]{{1,0}}, s32[]) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %one = s32[] constant({step})
  %next = s32[] add(%j, %one)
  %x = f32[8,8]{{1,0}} get-tuple-element(%q), index=1
  %y = f32[8,8]{{1,0}} dot(%x, %x), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}
  %m = s32[] get-tuple-element(%q), index=2
  ROOT %t = (s32[], f32[8,8]{{1,0}}, s32[]) tuple(%next, %y, /*index=2*/%m)
}}
"""
    text = module(
        f"  %zero = s32[] constant({first})",
        f"  %most = s32[] constant({limit})",
        "  %a = f32[8,8]{1,0} parameter(0)",
        "  %copied = s32[] copy(%most)",
        "  %start = (s32[], f32[8,8]{1,0}, s32[]) tuple(%zero, %a, %copied)",
        "  ROOT %w = (s32[], f32[8,8]{1,0}, s32[]) while(%start), condition=%cond, body=%body",
        before=condition + body,
    )
    found = account(text, {})
    assert found.matrix_flops == times * 2 * 8**3
    assert found.unknown_loops == 0


GROUPS = [
    ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", "data", 2),
    ("replica_groups=[4,2]<=[8]", "tp", 2),
    ("replica_groups=[4,2]<=[2,2,2]T(0,2,1)", "fsdp", 2),
    ("replica_groups=[2,4]<=[8]", "fsdp+tp", 4),
    ("replica_groups={}", "data+fsdp+tp", 8),
    ("replica_groups=mesh['axis_0'=2,'axis_1'=1,'axis_2'=2,'axis_3'=2] {'axis_2'}", "fsdp", 2),
    ("replica_groups=mesh['a'=2,'b'=4] {'a','b':(2)2}", "data+tp", 4),
    ("replica_groups=mesh['a'=4,'b'=2], device_ids=([4,2]<=[2,4]T(1,0)) {'b'}", "data", 2),
]


@pytest.mark.parametrize(("groups", "axes", "n"), GROUPS)
def test_groups_however_they_are_written(groups, axes, n):
    text = module(
        "  %a = f32[16]{0} parameter(0)",
        f"  ROOT %r = f32[16]{{0}} all-reduce(%a), channel_id=1, {groups}, use_global_device_ids=true, to_apply=%add",
    )
    mesh = {"data": 2, "fsdp": 2, "tp": 2}
    assert account(text, mesh).collectives == {f"all-reduce/{axes}": pytest.approx(2 * (n - 1) / n * 64)}


def test_fusions_of_tpus_a_scattered_sum_and_a_gathering_in_parts():
    inside = """%all-reduce-scatter.1 (i: f32[64,8]) -> f32[32,8] {
  %i = f32[64,8]{1,0:T(8,128)} parameter(0)
  %r = f32[64,8]{1,0:T(8,128)} all-reduce(%i), channel_id=1, replica_groups={{0,1}}, to_apply=%add
  %z = s32[] constant(0)
  ROOT %s = f32[32,8]{1,0:T(8,128)} dynamic-slice(%r, %z, %z), dynamic_slice_sizes={32,8}
}

%first (p: bf16[32,8]) -> (bf16[32,8], bf16[64,8]) {
  %p = bf16[32,8]{1,0} parameter(0)
  %g = bf16[64,8]{1,0} all-gather(%p), channel_id=2, replica_groups={{0,1}}, dimensions={0}, \
backend_config={"async_collective_fusion_config":{"flag_start":"-1","flag_end":"-1"}}
  ROOT %t = (bf16[32,8]{1,0}, bf16[64,8]{1,0}) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}

%second (p: bf16[32,8]) -> bf16[64,8] {
  %q = bf16[32,8]{1,0} parameter(0)
  ROOT %h = bf16[64,8]{1,0} all-gather(%q), channel_id=2, replica_groups={{0,1}}, dimensions={0}, \
backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
}
"""
    text = module(
        "  %a = f32[64,8]{1,0} parameter(0)",
        "  %b = bf16[32,8]{1,0} parameter(1)",
        "  %f = f32[32,8]{1,0} fusion(%a), kind=kCustom, calls=%all-reduce-scatter.1",
        "  %s = (bf16[32,8]{1,0}, bf16[64,8]{1,0}) fusion(%b), kind=kCustom, calls=%first",
        "  ROOT %d = bf16[64,8]{1,0} fusion(%b), kind=kCustom, calls=%second",
        before=inside,
    )
    found = account(text, {"fsdp": 2})
    assert found.collectives == {"reduce-scatter/fsdp": 64 * 8 * 4 / 2, "all-gather/fsdp": 64 * 8 * 2 / 2}
    assert found.opaque == {}


def test_what_a_fusion_passes_on_is_neither_read_nor_written():
    inside = """%inside (p: f32[64,8], q: bf16[64,8], i: s32[]) -> (f32[64,8], f32[4,8], bf16[64,8]) {
  %p = f32[64,8]{1,0} parameter(0)
  %q = bf16[64,8]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %s = f32[4,8]{1,0} dynamic-slice(%p, %i, %i), dynamic_slice_sizes={4,8}
  %u = bf16[1,8]{1,0} bitcast(%i)
  %w = bf16[64,8]{1,0} dynamic-update-slice(%q, %u, %i, %i)
  ROOT %t = (f32[64,8]{1,0}, f32[4,8]{1,0}, bf16[64,8]{1,0}) tuple(%p, %s, %w)
}
"""
    text = module(
        "  %a = f32[64,8]{1,0} parameter(0)",
        "  %b = bf16[64,8]{1,0} parameter(1)",
        "  %c = s32[] parameter(2)",
        "  ROOT %f = (f32[64,8]{1,0}, f32[4,8]{1,0}, bf16[64,8]{1,0}) fusion(%a, %b, %c), kind=kLoop, calls=%inside",
        before=inside,
    )
    # read: the slice and the number; written: the slice and the row that is updated
    assert account(text, {}).bytes == 4 * 8 * 4 + 4 + 4 * 8 * 4 + 8 * 2


def test_work_done_twice_to_save_memory_is_counted():
    text = module("  %a = f32[8]{0} parameter(0)", "  ROOT %b.remat2 = f32[8]{0} negate(%a)")
    assert account(text, {}).rematerialized == 1


def test_complaints_of_the_partitioner_are_counted_once_a_value():
    line = "W1 spmd_partitioner.cc:656] [SPMD] Involuntary full rematerialization. The compiler cannot go from x to y"
    log = "\n".join(f"{line} efficiently for HLO operation %{name} = f32[4]" for name in ("a.1", "a.1", "b.2"))
    assert involuntary(log) == 2
    assert involuntary("nothing of the kind") == 0


def test_what_is_no_module_is_refused():
    with pytest.raises(ValueError, match="no computation"):
        account("nothing", {})


def test_loops_of_unknown_length_within_each_other_have_a_number_each():
    def until(x, w, n):
        def inner(x):
            return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.tanh(c[1] @ w)), (0.0, x))[1]

        return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, inner(c[1] @ w)), (0.0, x))[1]

    text, once = compiled(until, (8, 32), (32, 32), ()), 2 * 8 * 32 * 32
    assert account(text, {}, trips=(3, 5)).matrix_flops == 3 * (1 + 5) * once
    assert account(text, {}, trips=(3,)).matrix_flops == 3 * (1 + 1) * once
    assert account(text, {}, trips=3).matrix_flops == 3 * (1 + 3) * once
