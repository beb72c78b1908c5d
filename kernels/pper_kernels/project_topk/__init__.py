"""Output projection, log-softmax and the best tokens of each row."""

from pper_kernels.project_topk.reference import top_log_probs

__all__ = ["top_log_probs"]
