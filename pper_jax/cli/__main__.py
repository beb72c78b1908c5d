"""``python -m pper_jax.cli``."""

import sys

from pper_jax.cli import main

sys.exit(main())
