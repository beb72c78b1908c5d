"""pper_jax: beam search, testing and prioritized experience replay (BTP, arXiv 2410.12236) in JAX.

Importing this package loads nothing heavy; import the room you need, e.g. ``from pper_jax.decode import beam_search``.
"""

__version__ = "0.1.0"
