"""Floating-point operations of the instructions that multiply matrices; a multiply-add is two."""

from __future__ import annotations

import json
import math
import re

import numpy as np

from pper_jax.plan.hlo_text import Computation, Instruction

MATRIX_CALLS = re.compile(r"matmul|gemm|[Cc]ublas|dnn\$", re.IGNORECASE)  # cuBLAS, oneDNN, cuDNN, Eigen


def dot_flops(one: Instruction, where: Computation) -> float:
    """Of a ``dot``: twice the numbers that come out times the length of the sums."""
    left = where.inputs(one)[0][0].dims
    return 2.0 * one.shapes[0].size * math.prod(left[axis] for axis in one.numbers("lhs_contracting_dims"))


def call_flops(one: Instruction, where: Computation) -> float:
    """Of a library's product of two matrices, stacked or not; further operands are biases."""
    left, right = (operand[0] for operand in where.inputs(one)[:2])
    out = one.shapes[0]
    if stated := re.search(r'"lhs_contracting_dimensions":(\[[^\]]*\])', one.attributes):
        return 2.0 * out.size * math.prod(left.dims[int(axis)] for axis in json.loads(stated.group(1)))
    stack = math.prod(out.dims[:-2]) if len(right.dims) == len(out.dims) else 1
    return 2.0 * out.size * math.sqrt(left.size * right.size / (out.size * stack))


def convolution_flops(one: Instruction, where: Computation) -> float:
    """Of a ``convolution``, the form in which TPUs multiply matrices; places of the window in the padding are none."""
    left, right = (operand[0].dims for operand in where.inputs(one)[:2])
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.attributes)
    if labels is None:
        return 0.0
    lhs, rhs, out = labels.groups()
    spatial = [label for label in rhs if label.isdigit()]
    window = _window(one.attributes, len(spatial))
    groups = re.search(r"batch_group_count=(\d+)", one.attributes)
    pairs = 1.0
    for label in spatial:  # the window's axes are in the order of their numbers
        sizes = left[lhs.index(label)], right[rhs.index(label)], one.shapes[0].dims[out.index(label)]
        pairs *= _pairs(*sizes, **{key: values[int(label)] for key, values in window.items()})
    features = one.shapes[0].dims[out.index("b")] * one.shapes[0].dims[out.index("f")] * right[rhs.index("i")]
    return 2.0 * features * pairs / (int(groups.group(1)) if groups else 1)


def _window(attributes: str, axes: int) -> dict[str, list[int]]:
    """Stride, padding before, and dilations of each axis of the window."""
    found = re.search(r"window=\{([^}]*)\}", attributes)
    stated = dict(part.split("=") for part in found.group(1).split()) if found else {}

    def numbers(key: str, default: int) -> list[int]:
        text = stated.get(key)
        return [int(part.split("_")[0]) for part in text.split("x")] if text else [default] * axes

    keys = {"stride": ("stride", 1), "before": ("pad", 0), "spread": ("lhs_dilate", 1), "gap": ("rhs_dilate", 1)}
    return {name: numbers(*key) for name, key in keys.items()}


def _pairs(inputs: int, taps: int, outputs: int, *, stride: int, before: int, spread: int, gap: int) -> int:
    """How many (place of the output, tap of the window) meet a number of the input, along one axis."""
    if taps == 1 and stride == spread == 1 and before == 0:
        return outputs
    at = np.arange(outputs)[:, None] * stride - before + np.arange(taps) * gap
    return int(((at >= 0) & (at % spread == 0) & (at // spread < inputs)).sum())
