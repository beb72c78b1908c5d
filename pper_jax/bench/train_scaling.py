"""``python -m pper_jax.bench.train_scaling N``: the step of the demo model on N simulated devices, as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

ROWS, LENGTH = 32, 64


def meshes(count: int) -> list[tuple[int, int, int]]:
    """``(data, fsdp, tp)``: each axis alone, and a mixture."""
    if count == 1:
        return [(1, 1, 1)]
    mixed = [(2, 2, count // 4)] if count >= 4 else []
    return [(count, 1, 1), (1, count, 1), (1, 1, count), *mixed]


def ideal_bytes(mesh: tuple[int, int, int], size: int) -> float:
    """What data and fsdp must move a device: gradients added over data; weights gathered twice, gradients scattered.

    Of tp, whose traffic is activations, nothing is counted.
    """
    data, fsdp, tp = mesh
    part = size / tp
    return 2 * (data - 1) / data * part / fsdp + 3 * (fsdp - 1) / fsdp * part


def measure(axes: tuple[int, int, int]) -> dict[str, Any]:
    """One step: its loss, and what its compiled module does on each device."""
    import jax
    import jax.numpy as jnp

    from pper_jax.models import load_model, on_mesh, resolve_model, rules_of
    from pper_jax.plan.hlo import account
    from pper_jax.sharding import make_mesh
    from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, make_train_step
    from pper_jax.types import TrainBatch

    module, params, _ = load_model(resolve_model("micro"))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    mesh = make_mesh(*axes)
    optimizer = make_optimizer(OptimizerConfig(), 10)
    state = init_train_state(params, optimizer, jax.random.key(0), mesh, rules_of(module))
    tokens = jax.random.randint(jax.random.key(1), (ROWS, LENGTH), 1, module.config.vocab_size)
    batch = TrainBatch(tokens, jnp.ones_like(tokens), jnp.ones(tokens.shape, bool), jnp.ones(ROWS))
    step = make_train_step(on_mesh(module, mesh), optimizer, state, mesh)
    compiled = step.lower(state, batch).compile()  # type: ignore[attr-defined]
    found = account(compiled.as_text(), mesh, trips=ROWS * LENGTH // 512)
    memory = compiled.memory_analysis()
    return {
        "mesh": ",".join(map(str, axes)),
        "devices": mesh.size,
        "loss": float(compiled(state, batch)[1].loss),
        "flops": found.matrix_flops,
        "collective_bytes": found.collective_bytes,
        "collectives": dict(found.collectives),
        "ideal_bytes": ideal_bytes(axes, size),
        "bytes": memory.temp_size_in_bytes + memory.argument_size_in_bytes,
    }


def main() -> None:
    """Print the rows of all meshes of so many devices."""
    count = int(sys.argv[1])
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    print(json.dumps([measure(axes) for axes in meshes(count)]))


if __name__ == "__main__":
    main()
