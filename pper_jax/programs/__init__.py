"""Programs: written (phase B), tested (phase T), scored and judged; files as they go."""

from pper_jax.programs.evaluate import evaluate, sample_file, test_file
from pper_jax.programs.figures import figures, print_figures, summarise_verdicts
from pper_jax.programs.language_model import LanguageModel, encode_prompts, open_model
from pper_jax.programs.methods import decode_config
from pper_jax.programs.score import score_file
from pper_jax.programs.testing import count_statuses, run_tests
from pper_jax.programs.write import sample_tasks

__all__ = [
    "LanguageModel",
    "count_statuses",
    "decode_config",
    "encode_prompts",
    "evaluate",
    "figures",
    "open_model",
    "print_figures",
    "run_tests",
    "sample_file",
    "sample_tasks",
    "score_file",
    "summarise_verdicts",
    "test_file",
]
