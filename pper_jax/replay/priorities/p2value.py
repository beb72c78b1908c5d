"""P2Value, the paper's: how likely the model finds a program, mixed with how many tests it passes."""

from pper_jax.replay.priorities.rule import Priority

RULE = Priority(lambda stored: stored.log_p2value, scope="program", noun="P2Value")
