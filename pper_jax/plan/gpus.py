"""What XLA's compiler has to know of an NVIDIA GPU that is not there."""

from __future__ import annotations

from dataclasses import dataclass

from pper_jax.plan.chips import Chip


@dataclass(frozen=True)
class Device:
    """A GPU, as the CUDA programming guide ("Compute capabilities") and its maker's paper have it.

    Attributes:
        called: the device's name.
        capability: compute capability, major and minor.
        cores: multiprocessors.
        lanes: float32 units of each.
        shared: bytes of shared memory of each; a block may have all but 1 KiB.
        cache: bytes of the L2 cache.
        clock: GHz.
    """

    called: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    shared: int
    cache: int
    clock: float


DEVICES = {
    "a100": Device("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 164 << 10, 40 << 20, 1.41),
    "h100": Device("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 228 << 10, 50 << 20, 1.98),
    "h200": Device("NVIDIA H200", (9, 0), 132, 128, 228 << 10, 50 << 20, 1.98),
}


def target_config(chip: Chip) -> str:
    """The text of XLA's ``GpuTargetConfigProto`` for a chip."""
    device = DEVICES[chip.name]
    major, minor = device.capability
    return f"""
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  core_count: {device.cores}
  fpus_per_core: {device.lanes}
  clock_rate_ghz: {device.clock}
  device_memory_size: {int(chip.memory)}
  memory_bandwidth: {int(chip.bandwidth)}
  l2_cache_size: {device.cache}
  shared_memory_per_core: {device.shared}
  shared_memory_per_block_optin: {device.shared - 1024}
  shared_memory_per_block: 49152
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_core_limit: 2048
  threads_per_block_limit: 1024
  threads_per_warp: 32
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
device_description_str: "{device.called}"
"""
