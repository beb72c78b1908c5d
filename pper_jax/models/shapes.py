"""Models whose shapes are known without any file: for benchmarks with random weights, and for plans."""

from __future__ import annotations

from pper_jax.models.config import ModelConfig


def _gpt2(vocab: int, hidden: int, layers: int, heads: int, positions: int = 1024) -> ModelConfig:
    return ModelConfig(
        family="gpt2",
        vocab_size=vocab,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=hidden // heads,
        mlp_size=4 * hidden,
        max_positions=positions,
        attention_bias=True,
        mlp_bias=True,
    )


SHAPES = {
    "gpt2-124m": _gpt2(50257, 768, 12, 12),
    "gpt2-xl": _gpt2(50257, 1600, 48, 25),
    "small": _gpt2(8192, 256, 4, 4),
    "tiny": _gpt2(101, 32, 2, 2, 256),
    "smollm2-135m": ModelConfig(
        family="llama",
        vocab_size=49152,
        hidden_size=576,
        num_layers=30,
        num_heads=9,
        num_kv_heads=3,
        head_dim=64,
        mlp_size=1536,
        max_positions=2048,
        activation="silu",
        rope_theta=100_000.0,
    ),
    "llama-7b": ModelConfig(
        family="llama",
        vocab_size=32000,
        hidden_size=4096,
        num_layers=32,
        num_heads=32,
        num_kv_heads=32,
        head_dim=128,
        mlp_size=11008,
        max_positions=4096,
        activation="silu",
        tie_embeddings=False,
    ),
}
