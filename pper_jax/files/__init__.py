"""Every file that is written, and how: JSON lines, outputs, run folders. Standard library only."""

from pper_jax.files.jsonl import append_jsonl, dump_jsonl, parse_jsonl, read_jsonl, read_text
from pper_jax.files.outputs import write_atomic, write_json
from pper_jax.files.run_folder import RunFolder, model_folder

__all__ = [
    "RunFolder",
    "append_jsonl",
    "dump_jsonl",
    "model_folder",
    "parse_jsonl",
    "read_jsonl",
    "read_text",
    "write_atomic",
    "write_json",
]
