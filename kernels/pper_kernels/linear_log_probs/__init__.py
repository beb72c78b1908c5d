"""Log-probabilities of given tokens after the output projection, without all logits at once."""

from pper_kernels.linear_log_probs.api import linear_log_probs
from pper_kernels.linear_log_probs.reference import linear_log_probs_reference
from pper_kernels.linear_log_probs.sharded import Split, linear_log_probs_sharded

__all__ = ["Split", "linear_log_probs", "linear_log_probs_reference", "linear_log_probs_sharded"]
