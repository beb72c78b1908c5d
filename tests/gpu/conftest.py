"""The GPU's tests are held to the same cases as the interpreter's: ``JAX_PLATFORMS=cuda pytest -m gpu tests/gpu``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "kernels"))
