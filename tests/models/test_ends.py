"""All tokens that end a model's programs: where they are read, and that they outlast an export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import transformers
from gguf import GGMLQuantizationType as Q
from model_helpers import gpt2_config, load_torch, random_torch, tiny_tokenizer
from test_gguf import GPT2, write_gguf

from pper_jax.cli import main
from pper_jax.errors import UserError
from pper_jax.models import load_model, read_ends, save_model
from pper_jax.programs import open_model

EOS = 259
TASK = {"task_id": "t/1", "prompt": "def f(x):\n", "tests": {"kind": "answer", "expected": "1"}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    random_torch(gpt2_config(n_positions=64)).save_pretrained(str(folder))
    (folder / "generation_config.json").unlink(missing_ok=True)
    tiny_tokenizer().save_pretrained(str(folder))
    return folder


def with_ends(plain: Path, folder: Path, config=EOS, generation=None) -> Path:
    """A copy of a model whose files name these ends."""
    shutil.copytree(plain, folder)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | {"eos_token_id": config}))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    return folder


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        ([259, 3], None, (259, 3)),
        (259, [3, 259], (259, 3)),
        (7, None, (7, 259)),  # another than the tokenizer's
        (None, None, (259,)),
        ([5, 6], [6, 7], (5, 6, 7, 259)),
        ([-1, 50256, 4], 263, (4, 263, 259)),  # beyond the tokenizer, but within the model's vocabulary of 264
    ],
)
def test_ends_are_those_of_config_generation_config_and_tokenizer(plain, tmp_path, config, generation, ends):
    folder = with_ends(plain, tmp_path / "m", config, generation)
    assert read_ends(folder, tiny_tokenizer()) == ends
    if config is not None:
        assert open_model(str(folder)).eos_ids == ends


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config": "</s>"}, r"config.json: eos_token_id cannot be '</s>'"),
        ({"config": True}, "cannot be True"),
        ({"generation": [1, 2.5]}, r"generation_config.json: eos_token_id cannot be \[1, 2.5\]"),
        ({"generation": ["x" * 999]}, r"cannot be \['x{98}; it is"),
    ],
)
def test_an_end_that_is_no_token_id_is_named_with_its_file(plain, tmp_path, files, message):
    folder = with_ends(plain, tmp_path / "m", **files)
    with pytest.raises(UserError, match=message):
        read_ends(folder, tiny_tokenizer())


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_damaged_generation_config_is_named(plain, tmp_path, text):
    folder = with_ends(plain, tmp_path / "m", generation=3)
    (folder / "generation_config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"generation_config.json: not"):
        read_ends(folder, tiny_tokenizer())


def sampled(model: Path, folder: Path) -> dict:
    tasks, out = folder / "tasks.jsonl", folder / "out.jsonl"
    tasks.write_text(json.dumps(TASK) + "\n")
    argv = ["sample", "--method", "greedy", "--max-new-tokens", "8", "--batch-size", "1"]
    assert main([*argv, "--model", str(model), "--tasks", str(tasks), "--out", str(out)]) == 0
    return json.loads(out.read_text())


def test_a_program_ends_at_any_of_the_ends_and_so_does_an_export(plain, tmp_path):
    tokens = sampled(plain, tmp_path)["tokens"]
    end = tokens[3]
    folder = with_ends(plain, tmp_path / "m", generation=[EOS, end])
    row = sampled(folder, tmp_path)
    assert row["tokens"] == tokens[: tokens.index(end) + 1]
    assert (row["stop_reason"], row["finished"], row["num_tokens"]) == ("eos", True, len(row["tokens"]))
    assert main(["models", "export", str(folder), str(tmp_path / "exported")]) == 0
    for name in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / "exported" / name).read_text())["eos_token_id"] == [EOS, end]
    prompt = tiny_tokenizer()(TASK["prompt"], return_tensors="pt")
    theirs = load_torch(tmp_path / "exported").generate(**prompt, do_sample=False, max_new_tokens=8, pad_token_id=EOS)
    assert theirs[0, prompt["input_ids"].shape[1] :].tolist() == row["tokens"]


def test_a_gguf_files_ends_are_read_and_kept(tmp_path):
    extra = {"tokenizer.ggml.eot_token_id": 7, "tokenizer.ggml.eom_token_id": 9}
    write_gguf(tmp_path / "m.gguf", random_torch(GPT2), Q.F32, ids=extra)
    module, params, tokenizer = load_model(tmp_path / "m.gguf")
    assert read_ends(tmp_path / "m.gguf", tokenizer) == (260, 7, 9)
    assert open_model(str(tmp_path / "m.gguf")).eos_ids == (260, 7, 9)
    folder = save_model(tmp_path / "m", module, params, tokenizer, eos_ids=(260, 7, 9))
    assert read_ends(folder, tokenizer) == (260, 7, 9)
    assert transformers.GenerationConfig.from_pretrained(str(folder)).eos_token_id == [260, 7, 9]


@pytest.mark.parametrize(("pre", "said", "bos"), [("llama-bpe", None, True), ("llama-bpe", False, False),
                                                  ("smollm", None, False), ("smollm", True, True)])  # fmt: skip
def test_a_gguf_file_that_says_nothing_gets_a_bos_where_llama_cpp_adds_one(tmp_path, pre, said, bos):
    write_gguf(tmp_path / "m.gguf", random_torch(GPT2), Q.F32, pre=pre, bos=said)
    tokenizer = load_model(tmp_path / "m.gguf")[2]
    assert (tokenizer("hello")["input_ids"][0] == tokenizer.bos_token_id) == bos
