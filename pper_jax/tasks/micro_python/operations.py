"""All operations by name."""

from __future__ import annotations

from pper_jax.tasks.micro_python.list_operations import LIST_ENDS, LIST_STEPS
from pper_jax.tasks.micro_python.operation import Operation
from pper_jax.tasks.micro_python.single_operations import SINGLES
from pper_jax.tasks.micro_python.string_operations import STRING_ENDS, STRING_STEPS

OPERATIONS = {op.name: op for op in (*LIST_STEPS, *LIST_ENDS, *STRING_STEPS, *STRING_ENDS, *SINGLES)}

__all__ = ["LIST_ENDS", "LIST_STEPS", "OPERATIONS", "SINGLES", "STRING_ENDS", "STRING_STEPS", "Operation"]
