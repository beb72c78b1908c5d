"""micro_python: our own family of small Python tasks, generated from a seed, for the demo model and the loop.

Operations are chained into specs (``universe``), each of one split; a task is a spec's description with test cases that
tell it from every other (``cases``) and from the ``mistakes`` that the pretraining text makes. ``bands`` of difficulty
have splits of their own, the hardest beyond what the demo model solves, and cases that grade (``band_cases``).
"""

from pper_jax.tasks.micro_python.bands import BAND_SPLITS
from pper_jax.tasks.micro_python.generate import generate, inject_bug, pretraining_corpus
from pper_jax.tasks.micro_python.universe import SPLITS

__all__ = ["BAND_SPLITS", "SPLITS", "generate", "inject_bug", "pretraining_corpus"]
