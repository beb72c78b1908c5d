"""``pper`` and ``python -m pper_jax.cli``: the process in which :func:`pper_jax.cli.main` runs."""

import sys

from pper_jax.cli import main
from pper_jax.memory import begin_again_in_huge_pages

WITH_MODELS = {"run", "study", "sample", "score", "eval", "pretrain", "bench", "doctor"}


def start() -> int:
    """`main` of the command line; commands that compute with a model do so with large blocks in huge pages."""
    if WITH_MODELS.intersection(sys.argv[1:2]):
        begin_again_in_huge_pages()
    return main()


if __name__ == "__main__":
    sys.exit(start())
