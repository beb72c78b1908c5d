"""micro_python: our own family of small Python tasks, generated from a seed, for the demo model and the loop."""

from pper_jax.tasks.micro_python.generate import generate, inject_bug, pretraining_corpus
from pper_jax.tasks.micro_python.universe import SPLITS

__all__ = ["SPLITS", "generate", "inject_bug", "pretraining_corpus"]
