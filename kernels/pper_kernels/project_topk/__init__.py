"""Output projection, log-softmax and the best tokens of each row."""

from pper_kernels.project_topk.api import project_top_log_probs
from pper_kernels.project_topk.reference import top_log_probs

__all__ = ["project_top_log_probs", "top_log_probs"]
