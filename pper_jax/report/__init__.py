"""One self-contained HTML page about a run, or about several runs side by side."""

from pper_jax.report.data import Gain, RunData, load_run
from pper_jax.report.gains import gain_lines
from pper_jax.report.page import write_report

__all__ = ["Gain", "RunData", "gain_lines", "load_run", "write_report"]
