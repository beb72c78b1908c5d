"""Every file that is written, and how: JSON lines, outputs, run folders. Standard library only."""

from pper_jax.files.digests import digest, digest_path
from pper_jax.files.jsonl import (
    append_jsonl,
    dump_jsonl,
    dump_row,
    finite,
    parse_jsonl,
    read_jsonl,
    read_lines,
    read_text,
)
from pper_jax.files.locks import lock_folder, wait_for_folder
from pper_jax.files.model_folder import check_model_folder, fresh_folder, notices
from pper_jax.files.outputs import check_output, is_stream, target_of, write_atomic, write_json, write_together
from pper_jax.files.partial import Partial, finish_together, open_partial, partial_of
from pper_jax.files.run_folder import RunFolder, empty_marked_folder, is_marked, mark_folder, model_folder

__all__ = [
    "Partial",
    "RunFolder",
    "append_jsonl",
    "check_model_folder",
    "check_output",
    "digest",
    "digest_path",
    "dump_jsonl",
    "dump_row",
    "empty_marked_folder",
    "finish_together",
    "finite",
    "fresh_folder",
    "is_marked",
    "is_stream",
    "lock_folder",
    "mark_folder",
    "model_folder",
    "notices",
    "open_partial",
    "parse_jsonl",
    "partial_of",
    "read_jsonl",
    "read_lines",
    "read_text",
    "target_of",
    "wait_for_folder",
    "write_atomic",
    "write_json",
    "write_together",
]
