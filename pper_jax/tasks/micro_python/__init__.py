"""micro_python: our own family of small Python tasks, generated from a seed, for the demo model and the loop.

Operations are chained into specs (``universe``), each of one split; a task is a spec's description with test cases that
tell it from every other (``cases``) and from the ``mistakes`` that the pretraining text makes.
"""

from pper_jax.tasks.micro_python.generate import generate, inject_bug, pretraining_corpus
from pper_jax.tasks.micro_python.universe import SPLITS

__all__ = ["SPLITS", "generate", "inject_bug", "pretraining_corpus"]
