"""Figures of merit and their uncertainty: pass@k, pass rate, accuracy, intervals, comparison of two models. Pure numpy.

*Pass rate* is the mean over tasks of passed / total tests (APPS's test-case average), *accuracy* the share of tasks
whose tests all pass (APPS's strict accuracy). A NaN pass rate marks a fault of the harness and is left out.
"""

from pper_jax.evaluation.crossed import Crossed, crossed_bootstrap, crossed_interval
from pper_jax.evaluation.estimates import figure, pass_at_k, pass_rates, percent, summarise
from pper_jax.evaluation.intervals import (
    agreeing_interval,
    bootstrap_interval,
    interval_of_shares,
    paired_bootstrap,
    proportion_interval,
    wilson_interval,
)
from pper_jax.evaluation.outcomes import SAMPLED, Outcome, answer_name, answers, outcomes
from pper_jax.evaluation.paired import compare, holm, mcnemar

__all__ = [
    "SAMPLED",
    "Crossed",
    "Outcome",
    "agreeing_interval",
    "answer_name",
    "answers",
    "bootstrap_interval",
    "compare",
    "crossed_bootstrap",
    "crossed_interval",
    "figure",
    "holm",
    "interval_of_shares",
    "mcnemar",
    "outcomes",
    "paired_bootstrap",
    "pass_at_k",
    "pass_rates",
    "percent",
    "proportion_interval",
    "summarise",
    "wilson_interval",
]
