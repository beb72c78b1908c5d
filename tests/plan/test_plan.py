"""Plans on simulated devices, against counts by hand and against what a run's step takes."""

import json
from dataclasses import replace

import jax
import pytest

from pper_jax import replay
from pper_jax.cli import main
from pper_jax.errors import UserError
from pper_jax.learn import make_learn_step
from pper_jax.loop.config import BeamSection, LearnSection, MeshSection, RunConfig
from pper_jax.models import LoraConfig, build_model
from pper_jax.models.shapes import SHAPES
from pper_jax.plan import compiling
from pper_jax.plan import plan as planning
from pper_jax.plan.bounds import bound
from pper_jax.plan.compiling import Compiled, extended
from pper_jax.plan.hlo import Account
from pper_jax.plan.plan import LEARN, Part, Plan, estimate_s, meshes, plan_run, search
from pper_jax.plan.show import lines, ranking, to_json
from pper_jax.plan.steps import lower_learn
from pper_jax.plan.topology import parse_topology
from pper_jax.sharding import make_mesh
from pper_jax.train import init_train_state, make_optimizer
from pper_jax.train.objectives import ObjectiveConfig

LLAMA = replace(
    SHAPES["llama-7b"], vocab_size=96, hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8,
    mlp_size=64, max_positions=128,
)  # fmt: skip
CPU8, TPUS = parse_topology("cpu:8"), parse_topology("v5e:2x4")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PPER_CACHE", str(tmp_path))
    monkeypatch.setitem(SHAPES, "tiny-llama", LLAMA)
    monkeypatch.setitem(SHAPES, "tiny", replace(SHAPES["tiny"], num_layers=1))


def asked(model="tiny", mesh=(2, 2, 2), **train):
    train = {"batch_size": 16, "max_length": 32, **train}
    return RunConfig(
        name="x", model=model, mesh=MeshSection(*mesh), train=LearnSection(**train),
        beam=BeamSection(width=2, max_new_tokens=8, batch_size=8), replay=replay.ReplayConfig(capacity=64),
    )  # fmt: skip


def by_hand(model, rows, length):
    """Matrix FLOPs of a train step: twice a multiply-add, backward twice forward, every position's logits."""
    queries, keys = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    mlp = (3 if model.family == "llama" else 2) * model.hidden_size * model.mlp_size
    layer = model.hidden_size * (2 * queries + 2 * keys) + mlp
    weights = model.num_layers * layer + model.vocab_size * model.hidden_size
    attention = model.num_layers * 4 * queries * length
    return 3 * rows * length * (2 * weights + attention)


@pytest.mark.parametrize("name", ["tiny", "tiny-llama"])
def test_operations_are_those_counted_by_hand(name):
    plan = plan_run(asked(name, (1, 1, 1)), parse_topology("cpu:1"), parts=(LEARN,))
    assert plan.parts[0].call.account.matrix_flops == pytest.approx(by_hand(SHAPES[name], 16, 32), rel=0.02)
    assert plan.parts[0].call.account.opaque == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2-124m", "smollm2-135m"])
def test_operations_of_real_shapes_are_those_counted_by_hand(name):
    config = asked(name, (1, 1, 1), batch_size=4, max_length=128)
    plan = plan_run(config, parse_topology("cpu:1"), layers=(1, 2), parts=(LEARN,))
    assert plan.parts[0].call.account.matrix_flops == pytest.approx(by_hand(SHAPES[name], 4, 128), rel=0.02)


def test_figures_are_extended_along_a_line():
    def call(layers):
        account = Account(10.0 + 5 * layers, 7.0 * layers, {"all-reduce/data": 3.0 * layers})
        return Compiled(account, {"parameters": 100.0 + layers}, arguments=50.0, temporaries=2.0 * layers, seconds=9.0)

    assert extended(call(2), call(4), (2, 4), 48) == replace(call(48), seconds=18.0)
    refused = Compiled(refused=1e12)
    assert extended(call(2), refused, (2, 4), 48) == refused


@pytest.mark.slow
def test_two_depths_give_the_operations_and_weights_of_a_third(monkeypatch):
    monkeypatch.setitem(SHAPES, "deep", replace(SHAPES["tiny"], num_layers=4))
    config, one = asked("deep", (1, 1, 1)), parse_topology("cpu:1")
    whole, along = (plan_run(config, one, layers=depths, parts=(LEARN,)).parts[0] for depths in ((), (1, 2)))
    assert along.call.account.matrix_flops == whole.call.account.matrix_flops
    for what in ("parameters", "optimizer", "buffer"):
        assert along.memory[what] == whole.memory[what]
    assert sum(along.memory.values()) == pytest.approx(sum(whole.memory.values()), rel=0.2)


def test_a_learn_step_that_scans_its_layers_is_compiled_whole(monkeypatch):
    monkeypatch.setitem(SHAPES, "deep", replace(SHAPES["tiny"], num_layers=3))
    config, told = asked("deep", (1, 1, 1), scan_layers=True), list[str]()
    plan_run(config, parse_topology("cpu:1"), layers=(1, 2), parts=(LEARN,), tell=told.append)
    assert [sentence.rpartition(", ")[2] for sentence in told] == ["3 layers"]


def test_memory_is_what_a_run_s_step_then_takes():
    config = asked(mesh=(2, 2, 2), accumulate=2)
    part = plan_run(config, CPU8, parts=(LEARN,)).parts[0]

    mesh, module = make_mesh(2, 2, 2), build_model(SHAPES["tiny"])
    tokens = jax.numpy.zeros((1, 1), jax.numpy.int32)
    params = module.init(jax.random.key(0), tokens, tokens, jax.numpy.ones((1, 1, 1), bool))["params"]
    optimizer = make_optimizer(config.optimizer, 40)
    state = init_train_state(params, optimizer, jax.random.key(0), mesh)
    buffer = replay.init(config.replay, max_length=32)
    step = make_learn_step(module, optimizer, state, mesh, config.replay, batch_size=16, accumulate=2)
    memory = step.lower(state, buffer).compile().memory_analysis()

    for what, tree in (("parameters", state.params), ("optimizer", state.opt_state)):
        assert part.memory[what] == sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))
    assert part.memory["buffer"] == sum(leaf.nbytes for leaf in jax.tree.leaves(buffer))
    assert part.call.arguments == memory.argument_size_in_bytes
    assert part.memory["temporaries"] == pytest.approx(memory.temp_size_in_bytes, rel=0.01)
    assert part.memory["layout"] < 256  # the step's number and the key


def test_adapters_are_what_is_trained_and_the_base_lies_beside_them():
    def holds(config):
        return lower_learn(config, SHAPES["tiny"], "float32", make_mesh(2, 2, 2)).holds

    adapted, whole = holds(replace(asked(), lora=LoraConfig(rank=2))), holds(asked())
    assert adapted["base"] == whole["parameters"]
    assert adapted["optimizer"] < whole["optimizer"] / 2
    assert whole["base"] == 0


def test_an_objective_s_columns_are_in_the_buffer():
    def buffer(**objective):
        config = asked(objective=ObjectiveConfig(**objective))
        return lower_learn(config, SHAPES["tiny"], "float32", make_mesh(8)).holds["buffer"]

    assert buffer(name="grpo") - buffer() == 64 * (32 + 1) * 4  # an advantage, and a log-probability a token


def test_a_decode_segment_writes_its_tokens_and_holds_its_cache():
    plan = plan_run(asked(mesh=(4, 1, 2)), CPU8)
    learn, decode = plan.parts
    rows, slots = 8, 64 + 2 * 16  # 24 tokens of a prompt in 64 slots, and two beams' of 16 steps
    numbers = 2 * 32 * rows * slots  # keys and values of one layer of width 32
    assert decode.memory["cache"] == numbers * 4 / (4 * 2)  # rows over data, heads over tp
    assert decode.tokens == rows * 2 * 32
    assert decode.memory["kept optimizer"] == learn.memory["optimizer"]
    assert "kept parameters" not in decode.memory  # without fsdp decoding reads the trained weights themselves
    assert decode.call.account.unknown_loops == 1  # the segment itself


@pytest.fixture
def nothing_compiles(monkeypatch):
    """Each call is as large as its mesh's tp says."""
    monkeypatch.setitem(planning.LOWERING, LEARN, lambda *_: None)

    def compile_call(_, mesh):
        return Compiled(holds={"parameters": 1e6 / mesh.shape["tp"]}, temporaries=5.0)

    monkeypatch.setattr(planning, "compile_call", compile_call)


def test_what_was_compiled_is_remembered_and_another_asking_is_not(nothing_compiles, monkeypatch):
    told = []
    plans = [plan_run(asked(), CPU8, parts=(LEARN,), tell=told.append) for _ in range(2)]
    assert len(told) == 1
    assert plans[0].parts[0].call == plans[1].parts[0].call
    plan_run(asked(max_length=48), CPU8, parts=(LEARN,), tell=told.append)
    plan_run(replace(asked(), name="y", out="elsewhere"), CPU8, parts=(LEARN,), tell=told.append)
    assert len(told) == 2
    monkeypatch.setattr(compiling, "versions", lambda: {"jax": "another"})
    plan_run(asked(), CPU8, parts=(LEARN,), tell=told.append)
    assert len(told) == 3


def test_bad_rows_and_meshes_are_one_sentence_before_anything_is_compiled():
    def refuse(_):
        raise AssertionError("compiled")

    for config, sentence in [
        (asked(mesh=(3, 1, 1)), "does not fit the 8 devices"),
        (asked(batch_size=12, accumulate=2), "must be a multiple of 8"),
        (asked(max_length=512), "context has 256"),
        (asked("nothing-of-the-kind"), "Shapes that need no file"),
    ]:
        with pytest.raises(UserError, match=sentence):
            plan_run(config, CPU8, tell=refuse)
    with pytest.raises(UserError, match="two depths"):
        plan_run(asked(), CPU8, layers=(2, 9), tell=refuse)


def test_meshes_divide_rows_and_heads():
    found = list(meshes(CPU8, asked(batch_size=4), SHAPES["tiny"]))  # 2 heads, 4 rows
    assert found == [{"data": a, "fsdp": b, "tp": 2} for a, b in ((4, 1), (2, 2), (1, 4))]
    with pytest.raises(UserError, match="no mesh of 8 devices divides"):
        search(asked(batch_size=3), CPU8, most=1)


def test_a_search_ranks_what_it_compiled(nothing_compiles):
    plans = search(asked(), CPU8, most=7, parts=(LEARN,))
    assert len({tuple(plan.mesh.values()) for plan in plans}) == 7  # tp 1 or 2, and all ways to split the rest
    assert [plan.mesh["tp"] for plan in plans] == [2, 2, 2, 1, 1, 1, 1]  # without rates, by memory
    assert len(ranking(plans)) == 8
    assert len(search(asked(), CPU8, most=2, parts=(LEARN,))) == 2


def as_plan(memory, refused=0.0, fits=True):
    call = Compiled(Account(1e12, 1e9, {"all-reduce/data": 1e6}, {"all-reduce/data": 3}), refused=refused)
    mesh = {"data": 8, "fsdp": 1, "tp": 1}
    part = Part(LEARN, call, bound(call, TPUS, mesh), memory, fits, 1000)
    return Plan(asked(), SHAPES["tiny"], TPUS, "bfloat16", mesh, (part,))


def test_a_plan_as_text_says_what_binds_and_whether_it_fits():
    text = "\n".join(lines(as_plan({"parameters": 2**30, "temporaries": 2**31})))
    assert "fits, 3.00 of 15.75 GiB" in text
    assert "matrix products binds" in text
    assert "all-reduce/data      976.6 KiB in 3 calls" in text
    text = "\n".join(lines(as_plan({"parameters": 2**30}, refused=2.0**36, fits=False)))
    assert "DOES NOT FIT, needs 64.00 of 15.75 GiB" in text
    assert "does not fit" in ranking([as_plan({}, refused=2.0**36, fits=False)])[1]


def test_a_plan_as_json_is_plain_data():
    found = json.loads(json.dumps(to_json(as_plan({"parameters": 2**30})), allow_nan=False))
    part = found["parts"]["learn step"]
    assert part["memory"] == {"parameters": 2**30, "total": 2**30}
    assert part["at_least_s"] == pytest.approx(1e12 / 197e12)
    assert part["binds"] == "matrix products"
    assert found["mesh"] == {"data": 8, "fsdp": 1, "tp": 1}


def test_the_command(tmp_path, capfd):
    config = tmp_path / "run.yaml"
    config.write_text(
        "name: x\nmodel: tiny\nbeam: {width: 2, max_new_tokens: 8, batch_size: 8}\n"
        "replay: {capacity: 64}\ntrain: {batch_size: 16, max_length: 32}\n"
    )
    assert main(["plan", str(config), "--topology", "cpu:8", "--json", "--only", "learn", "mesh.tp=2"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["mesh"] == {"data": 4, "fsdp": 1, "tp": 2}
    assert err.count("compiling the learn step for cpu:8, data x fsdp x tp = 4x1x2, 1 layers") == 1
    for arguments in (
        ["--topology", "v9:1"],
        ["--topology", "cpu:8", "mesh.tp=3"],
        ["--topology", "cpu:8", "--layers", "x"],
    ):
        assert main(["plan", str(config), *arguments]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1


def test_which_meshes_are_tried_first_goes_by_bytes_and_room():
    config, model = asked("llama-7b", batch_size=256, max_length=512), SHAPES["llama-7b"]
    pod = parse_topology("v5e:16x16")

    def seconds(data, fsdp, tp):
        return estimate_s({"data": data, "fsdp": fsdp, "tp": tp}, pod, config, model)

    assert seconds(256, 1, 1) == float("inf")  # 3 copies of 27 GB on one chip
    weights, tokens = 4 * 6.738e9, 512
    assert seconds(1, 256, 1) == pytest.approx(255 / 256 * 3 * weights / 200e9, rel=1e-3)
    by_tp = 15 / 16 * (3 * weights / 16 + 8 * 16 * tokens * 4096 * 2 * 32) / 100e9
    assert seconds(1, 16, 16) == pytest.approx(by_tp, rel=1e-3)
