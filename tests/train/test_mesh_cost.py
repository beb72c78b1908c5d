"""What a train step computes and moves on a mesh, read from the compiled module: nothing twice, and no activations."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax.models import ModelConfig, build_model, load_model, resolve_model
from pper_jax.plan.hlo import account, involuntary
from pper_jax.sharding import batch_sharding, make_mesh
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, make_train_step
from pper_jax.types import TrainBatch
from pper_kernels.linear_log_probs.api import FEW_ROWS, MANY_ROWS

MESHES = {"data": (8, 1, 1), "fsdp": (1, 8, 1), "all": (2, 2, 2), "tp": (1, 1, 8)}
# 6 heads, which tp = 8 does not divide
TINY = ModelConfig("gpt2", 64, 48, 1, 6, 6, 8, 96, 64, attention_bias=True, mlp_bias=True)


def tiny(**changes):
    module = build_model(ModelConfig(**{**vars(TINY), **changes}))
    tokens = jnp.zeros((1, 4), jnp.int32)
    return module, jax.jit(module.init)(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]


def compiled(model, axes, accumulate, rows, length, **options):
    """What one device does in the step; alone it makes logits in blocks, as many as have targets: here all."""
    module, mesh = module_of(model, axes, accumulate, rows, length, **options)
    positions = rows * length // accumulate
    return account(module.as_text(), mesh, trips=max(1, positions // block_of(positions)))


def block_of(positions):
    return MANY_ROWS if positions >= 2 * MANY_ROWS else FEW_ROWS


def temporary_bytes(model, axes, rows, length):
    return module_of(model, axes, 1, rows, length)[0].memory_analysis().temp_size_in_bytes


def module_of(model, axes, accumulate, rows, length, **options):
    """The step, compiled, and its mesh."""
    module, params = model
    mesh = make_mesh(*axes, devices=jax.devices()[: math.prod(axes)])
    optimizer = make_optimizer(OptimizerConfig(), 10)
    state = init_train_state(jax.tree.map(jnp.array, params), optimizer, jax.random.key(1), mesh)
    tokens = jnp.zeros((rows, length), jnp.int32)
    batch = jax.device_put(TrainBatch(tokens, tokens + 1, tokens == 0, jnp.ones(rows)), batch_sharding(mesh))
    step = make_train_step(module, optimizer, state, mesh, accumulate=accumulate, **options)
    return step.lower(state, batch).compile(), mesh


def operand_bytes(found, axes):
    """Bytes of what the collectives take or give, whole: ``account`` has what the best algorithm moves of them."""
    sizes, total = dict(zip(("data", "fsdp", "tp"), axes, strict=True)), 0.0
    for name, moved in found.collectives.items():
        kind, _, over = name.partition("/")
        n = math.prod(sizes[axis] for axis in over.split("+"))
        total += moved / (n - 1) * n / (2 if kind == "all-reduce" else 1)
    return total


def size_of(params):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(params))


@pytest.fixture(scope="module")
def alone():
    return compiled(tiny(), (1, 1, 1), 4, 32, 16).matrix_flops


@pytest.mark.parametrize("name", MESHES)
def test_devices_share_the_products_and_data_adds_its_gradients_once_for_all_micro_batches(alone, capfd, name):
    model = tiny()
    found = compiled(model, MESHES[name], 4, 32, 16)
    assert alone / 8 <= found.matrix_flops * (1 + 1e-9) <= 1.02 * alone / 8
    assert involuntary(capfd.readouterr().err) == 0
    if name == "data":
        assert size_of(model[1]) <= operand_bytes(found, MESHES[name]) <= 1.05 * size_of(model[1])


def test_fsdp_moves_weights_and_no_activations():
    model, rows, length = tiny(), 64, 64  # so that activations are the greater part
    moved = operand_bytes(compiled(model, (1, 8, 1), 1, rows, length), (1, 8, 1))
    assert rows * length * 48 * 4 > 4 * size_of(model[1])
    assert moved <= 3 * size_of(model[1])


@pytest.mark.parametrize("axes", [(1, 8, 1), pytest.param((2, 2, 2), marks=pytest.mark.slow)], ids=str)
def test_gathered_once_four_micro_batches_move_over_fsdp_what_one_does(capfd, axes):
    model = tiny()
    one, four = (compiled(model, axes, parts, 64, 16, gather="once") for parts in (1, 4))
    of_one, of_four = (sum(b for name, b in x.collectives.items() if "tp" not in name) for x in (one, four))
    assert of_four == pytest.approx(of_one, rel=0.01)
    assert four.matrix_flops == pytest.approx(one.matrix_flops, rel=0.02)
    assert involuntary(capfd.readouterr().err) == 0
    if axes == (1, 8, 1):
        each = compiled(model, axes, 4, 64, 16)
        assert operand_bytes(four, axes) <= 3 * size_of(model[1]) < operand_bytes(each, axes)


@pytest.mark.slow
@pytest.mark.parametrize("gather", ["each", "once"])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_demo_model_on_four_meshes(capfd, accumulate, gather):
    model = load_model(resolve_model("micro"))[:2]
    size, one, moved = size_of(model[1]), compiled(model, (1, 1, 1), accumulate, 32, 192).matrix_flops, {}
    for name, axes in MESHES.items():
        found = compiled(model, axes, accumulate, 32, 192, gather=gather)
        moved[name] = operand_bytes(found, axes)
        of_ideal = 8 * found.matrix_flops / one
        moves = f"{moved[name] / 2**20:.1f} MiB, {moved[name] / size:.2f} of the parameters"
        with capfd.disabled():
            print(f"{name} {axes}, {accumulate} micro-batches, gather {gather}: collectives {moves};", end="")
            print(f" matrix FLOPs * 8 / one device's {of_ideal:.3f}")
        assert of_ideal <= 1.02
    assert involuntary(capfd.readouterr().err) == 0
    assert moved["data"] <= 1.05 * size
    if accumulate == 1 or gather == "once":  # else each micro-batch scatters its gradient: no device has a whole one
        assert moved["fsdp"] <= 3 * size
        assert moved["all"] <= 45 * 2**20


def losses_of(model, axes, accumulate, steps=20, **options):
    module, params = model
    mesh = make_mesh(*axes, devices=jax.devices()[: math.prod(axes)])
    optimizer = make_optimizer(OptimizerConfig(learning_rate=3e-3, warmup_steps=4), 20)
    state = init_train_state(jax.tree.map(jnp.array, params), optimizer, jax.random.key(1), mesh)
    step, found = make_train_step(module, optimizer, state, mesh, accumulate=accumulate, **options), []
    rng = np.random.default_rng(0)
    for _ in range(steps):
        tokens = rng.integers(1, 50, (32, 12)).astype(np.int32)
        tokens[:, 1::2] = (3 * tokens[:, ::2] + 1) % 50  # something to learn
        inside = np.arange(12) < rng.integers(4, 12, (32, 1))
        weight = rng.random(32).astype(np.float32)
        state, metrics = step(state, TrainBatch(tokens, inside.astype(np.int32), inside, weight))
        found.append(float(metrics.loss))
    return found


def test_an_odd_vocabulary_is_split_over_tp_and_learns_the_same(capfd):
    """51 tokens: the table is split by columns and its rows are padded within the step; logits beyond are no tokens."""
    model = tiny(vocab_size=51, num_heads=2, num_kv_heads=2, tie_embeddings=False)
    expected = losses_of(model, (1, 1, 1), 1)
    np.testing.assert_allclose(losses_of(model, (1, 2, 4), 1), expected, rtol=1e-4)
    assert expected[-1] < 0.95 * expected[0]
    assert involuntary(capfd.readouterr().err) == 0


@pytest.mark.parametrize("axes", [(2, 2, 2), pytest.param((2, 4, 1), marks=pytest.mark.slow)], ids=str)
def test_weights_gathered_once_learn_the_same(axes):
    model = tiny()
    found = losses_of(model, axes, 2, steps=4, gather="once")
    np.testing.assert_allclose(found, losses_of(model, (1, 1, 1), 1, steps=4), rtol=1e-5)


def lean(model):
    """The same model, whose loss holds few logits at a time."""
    module, params = model
    return module.clone(compute=replace(module.compute, lean_loss=True)), params


@pytest.mark.slow
@pytest.mark.parametrize("gather", ["each", "once"])
def test_the_lean_loss_is_the_same_on_a_mesh(gather):
    for heads in ({"num_heads": 2, "num_kv_heads": 2}, {"tie_embeddings": False}):
        model = tiny(vocab_size=51, **heads)
        expected = losses_of(model, (1, 1, 1), 1, steps=8)
        for axes in ((2, 2, 2), (1, 8, 1)):
            found = losses_of(lean(model), axes, 2, steps=8, gather=gather)
            np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_the_lean_loss_holds_no_logits_on_a_mesh():
    model, axes, rows, length = tiny(vocab_size=8192), (2, 2, 2), 64, 64
    whole, few = (temporary_bytes(one, axes, rows, length) for one in (model, lean(model)))
    logits = 4 * rows * length * 8192 // 8
    print(f"temporaries of a device: {whole / 2**20:.1f} MiB, lean {few / 2**20:.1f} MiB; its logits", end="")
    print(f" {logits / 2**20:.1f} MiB")
    assert few <= whole - 0.9 * logits


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_twenty_steps_have_the_same_losses_on_every_mesh(family, accumulate):
    heads = {"num_heads": 6, "num_kv_heads": 2, "mlp_bias": False} if family == "llama" else {}
    model = tiny(family=family, num_layers=2, vocab_size=51, **heads)
    expected = losses_of(model, (1, 1, 1), 1)
    assert expected[-1] < 0.95 * expected[0]
    for axes in MESHES.values():
        found = losses_of(model, axes, accumulate)
        apart = np.abs(np.array(found) / expected - 1).max()
        print(f"{family} {axes}, {accumulate} micro-batches: 20 losses within {apart:.1e} of one device's")
        assert apart <= 1e-4
