"""The work of a beam search, counted by hand on small shapes."""

from dataclasses import replace

import pytest

from pper_jax.bench.models import shape_of
from pper_jax.bench.roofline import Rates, Work, count, layer_weights
from pper_jax.models.weights import parameter_shapes

TINY = shape_of("tiny")  # 2 layers, width 32, 2 heads of 16, vocabulary 101


@pytest.mark.parametrize("name", ["tiny", "small", "gpt2-124m", "smollm2-135m"])
def test_layer_weights_are_the_matrices_of_the_layers(name):
    shapes = parameter_shapes(shape_of(name))
    kernels = [shape for path, shape in shapes.items() if path.startswith("layer_") and path.endswith("kernel")]
    sizes = []
    for shape in kernels:
        size = 1
        for axis in shape:
            size *= axis
        sizes.append(size)
    assert layer_weights(shape_of(name)) == sum(sizes)


def test_one_new_token_needs_the_prompt_alone():
    n, project = layer_weights(TINY), 101 * 32
    counted = count(TINY, [3], [1], k=5, batch=1, itemsize=4)
    assert counted.prefill.operations == 2 * n * 3 + 4 * 2 * 32 * (1 + 2 + 3) + 2 * project
    assert counted.prefill.bytes == 2 * 2 * 32 * 4 * 3 + (n + project) * 4
    assert counted.steps == Work(0, 0)
    assert counted.step_count == 0


def test_a_step_reads_the_prompt_once_for_all_beams():
    n, project, slot = layer_weights(TINY), 101 * 32, 2 * 2 * 32 * 4
    counted = count(TINY, [10], [3], k=4, batch=8, itemsize=4)  # two model steps, which see 10 + 1 and 10 + 2 tokens
    assert counted.step_count == 2
    assert counted.steps.operations == 4 * (2 * (2 * n + 2 * project) + 4 * 2 * 32 * (11 + 12))
    assert counted.steps.bytes == slot * ((10 + 4) + (10 + 8) + 2 * 4) + 2 * (n + project) * 4


def test_fewer_key_heads_make_the_cache_smaller_and_attention_no_cheaper():
    wide = replace(TINY, family="llama")
    narrow = replace(wide, num_kv_heads=1)
    fewer = layer_weights(wide) - layer_weights(narrow)
    a, b = (count(config, [8], [9], k=2, batch=1, itemsize=2) for config in (wide, narrow))
    assert a.steps.operations - b.steps.operations == 2 * 8 * 2 * fewer
    seen = 8 * 8 + 2 * 36 + 2 * 8  # the prompt 8 times, 1 + 2 + ... + 8 slots of 2 beams, 8 x 2 slots written
    assert a.steps.bytes - b.steps.bytes == 8 * 2 * fewer + 2 * 2 * 16 * 2 * seen


def test_steps_are_shared_by_the_rows_of_a_batch():
    assert count(TINY, [4] * 8, [11] * 8, k=2, batch=8, itemsize=4).step_count == 10
    assert count(TINY, [4] * 8, [11] * 8, k=2, batch=4, itemsize=4).step_count == 20
    assert count(TINY, [4] * 4, [41, 1, 1, 1], k=2, batch=4, itemsize=4).step_count == 40


def test_the_bound_is_the_slower_of_arithmetic_and_memory():
    rates = Rates(operations_s=100.0, bytes_s=10.0)
    assert Work(operations=200.0, bytes=10.0).bound_s(rates) == 2.0
    assert Work(operations=200.0, bytes=50.0).bound_s(rates) == 5.0
