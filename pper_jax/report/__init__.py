"""One self-contained HTML page about a run, or about several runs side by side."""

from pper_jax.report.compare import labels_of
from pper_jax.report.data import Gain, RunData, load_run
from pper_jax.report.gains import gain_lines
from pper_jax.report.page import write_report
from pper_jax.report.tables import Table, as_markdown, as_text, paper_tables

__all__ = [
    "Gain",
    "RunData",
    "Table",
    "as_markdown",
    "as_text",
    "gain_lines",
    "labels_of",
    "load_run",
    "paper_tables",
    "write_report",
]
