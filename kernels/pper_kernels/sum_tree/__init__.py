"""Going down a sum tree from many targets at once."""

from pper_kernels.sum_tree.api import descend
from pper_kernels.sum_tree.reference import two_sum

__all__ = ["descend", "two_sum"]
