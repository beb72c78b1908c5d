"""Parity with transformers' ``generate(num_beams=...)``: the same programs, in the same order, with the same scores.

A case is a model, a prompt and a configuration. Where the two differ the case is a near-tie if, and only if, the
reference does not agree with itself either when its weights are changed by a millionth; near-ties are counted.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pper_jax.decode import BeamConfig, beam_search
from pper_jax.decode.prompts import prompts_from_padded
from pper_jax.models import build_model, hf
from pper_jax.models.weights import assemble
from pper_jax.types import Programs

VOCAB, SLOTS, ROWS, FILL = 48, 8, 6, 1
EOS = (3, 5, 7)
SIZES = {
    "gpt2": partial(transformers.GPT2Config, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "llama": partial(transformers.LlamaConfig, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
                     num_key_value_heads=2, intermediate_size=24, max_position_embeddings=64),
}  # fmt: skip


@cache
def models(family: str, seed: int) -> tuple[Any, Any, Any]:
    """``(transformers' model, our module, its parameters)`` with the same random weights."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    none = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = SIZES[family](vocab_size=VOCAB, attn_implementation="eager", **none)
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in theirs.named_parameters():
        parameter.data.normal_(1.0 if "norm" in name or "ln_" in name else 0.0, 0.4)
    # far out, so that an EOS is often among the best tokens and often among the worst
    theirs.get_output_embeddings().weight.data[list(EOS)] *= 2
    with TemporaryDirectory() as folder:
        theirs.config.save_pretrained(folder)
        ours, _ = hf.read_config(Path(folder))
    stored = {
        name: tensor.numpy
        for name, tensor in theirs.state_dict().items()
        if not (ours.tie_embeddings and name == "lm_head.weight")
    }
    return theirs, build_model(ours), assemble(ours, stored, "hf", family)


def reference(model: Any, tokens: np.ndarray, mask: np.ndarray, config: BeamConfig) -> tuple[np.ndarray, Any]:
    """Tokens ``[B, N, T]`` (filled up with ``FILL``) and scores ``[B, N]``, None for one beam, by ``generate``."""
    options: dict[str, Any] = {"num_return_sequences": config.num_return or config.width}
    if config.width > 1:
        options |= {"length_penalty": config.length_penalty, "early_stopping": config.early_stopping}
    if config.eos_ids:
        options |= {"eos_token_id": list(config.eos_ids), "pad_token_id": FILL, "min_new_tokens": config.min_new_tokens}
    if config.bad_token_ids:
        options |= {"bad_words_ids": [[token] for token in config.bad_token_ids]}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        out = model.generate(
            torch.tensor(tokens), attention_mask=torch.tensor(mask), do_sample=False, num_beams=config.width,
            max_new_tokens=config.max_new_tokens, repetition_penalty=config.repetition_penalty,
            return_dict_in_generate=True, output_scores=True, **options,
        )  # fmt: skip
    shape = (len(tokens), options["num_return_sequences"])
    written = np.full((*shape, config.max_new_tokens), FILL)
    found = out.sequences[:, tokens.shape[1] :].numpy()
    written[..., : found.shape[1]] = found.reshape(*shape, -1)
    return written, out.sequences_scores.numpy().reshape(shape) if config.width > 1 else None


def disagrees_with_itself(model: Any, *case: Any) -> np.ndarray:
    """Rows ``[B]`` in which the reference writes something else once its weights are changed by a millionth."""
    before, (expected, _) = {k: v.clone() for k, v in model.state_dict().items()}, reference(model, *case)
    different = np.zeros(len(expected), bool)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.data *= 1 + 1e-6 * torch.randn(parameter.shape, generator=generator)
        different |= np.any(reference(model, *case)[0] != expected, axis=(1, 2))
        model.load_state_dict(before)
    return different


@dataclass
class Tally:
    """What the comparisons found."""

    count: Counter[str] = field(default_factory=Counter)
    largest: float = 0.0

    def compare(self, family: str, seed: int, prompts: list[list[int]], config: BeamConfig) -> None:
        theirs, module, params = models(family, seed)
        tokens, mask = np.zeros((2, ROWS, SLOTS), int)
        for row, prompt in enumerate(prompts):
            tokens[row, SLOTS - len(prompt) :], mask[row, SLOTS - len(prompt) :] = prompt, 1
        ours: Programs = beam_search(module, params, prompts_from_padded(tokens, mask), config=config)
        expected, scores = reference(theirs, tokens, mask, config)
        assert scores is None or np.all(scores > -1e6), "the reference ran out of programs"
        wrong = np.any(np.asarray(ours.tokens) != expected, axis=(1, 2))
        if wrong.any():
            ties = wrong & disagrees_with_itself(theirs, tokens, mask, config)
            np.testing.assert_array_equal(np.asarray(ours.tokens)[wrong & ~ties], expected[wrong & ~ties])
        if scores is not None:
            # a negative penalty multiplies the sum by the length: what counts there is the sum
            scale = np.minimum(1.0, np.asarray(ours.length) ** config.length_penalty)
            difference = (np.abs(np.asarray(ours.score) - scores) * scale)[~wrong]
            assert difference.size == 0 or difference.max() < 1e-4
            self.largest = max(self.largest, difference.max(initial=0))
        self.count["cases"] += ROWS
        self.count["programs"] += expected.shape[0] * expected.shape[1]
        self.count["ended by an EOS"] += int(np.sum(ours.finished))
        self.count["near-ties"] += int(wrong.sum())

    def __str__(self) -> str:
        return ", ".join(f"{n} {what}" for what, n in self.count.items()) + f"; scores within {self.largest:.1e}"


def test_a_near_tie_is_where_the_reference_disagrees_with_itself():
    model, _, _ = models("gpt2", 0)
    tokens = np.random.default_rng(0).integers(0, VOCAB, (ROWS, SLOTS))
    case = (tokens, np.ones_like(tokens), BeamConfig(width=2, max_new_tokens=3))
    assert not disagrees_with_itself(model, *case).any()
    assert disagrees_with_itself(with_equal_tokens(model), *case).all()


def with_equal_tokens(model: Any) -> Any:
    model = copy.deepcopy(model)
    model.get_output_embeddings().weight.data[:] = model.get_output_embeddings().weight.data[0].clone()
    return model


def batches() -> Any:
    prompt = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=SLOTS)
    return st.tuples(st.integers(0, 9), st.lists(prompt, min_size=ROWS, max_size=ROWS))


QUIET = settings(deadline=None, derandomize=True, database=None, phases=[Phase.generate],
                 suppress_health_check=[HealthCheck.too_slow, HealthCheck.nested_given])  # fmt: skip
FEW = partial(BeamConfig, max_new_tokens=8, pad_id=FILL)
EVERYDAY = [
    ("gpt2", FEW(width=3, eos_ids=EOS[:1])),
    ("llama", FEW(width=5, eos_ids=EOS[:2], early_stopping=False)),
    ("gpt2", FEW(width=4, eos_ids=EOS[:2], length_penalty=1.0, early_stopping=False)),
    ("llama", FEW(width=3, eos_ids=EOS, length_penalty=1.0, early_stopping=True, num_return=2)),
    ("gpt2", FEW(width=2, eos_ids=EOS[:1], length_penalty=2.0, early_stopping="never")),
    ("llama", FEW(width=8, eos_ids=EOS[:1], length_penalty=0.6, early_stopping="never", num_return=3)),
    ("gpt2", FEW(width=4, eos_ids=EOS, length_penalty=-1.0, early_stopping=False)),
    ("llama", FEW(width=10)),
    ("gpt2", FEW(width=1, eos_ids=EOS[:2], length_penalty=2.0)),
    ("llama", FEW(width=4, eos_ids=EOS[:2], min_new_tokens=3, repetition_penalty=1.3, bad_token_ids=(0, 9, 47))),
    ("gpt2", FEW(width=3, eos_ids=EOS[:2], repetition_penalty=0.7, length_penalty=0.6, early_stopping=True)),
    ("llama", FEW(width=6, eos_ids=EOS, min_new_tokens=5, bad_token_ids=(1, 2), length_penalty=2.0,
                  early_stopping=False)),
]  # fmt: skip


def test_programs_and_scores_equal_those_of_generate():
    tally = Tally()
    for family, config in EVERYDAY:
        case = given(st.just(family), batches(), st.just(config))(lambda f, batch, c: tally.compare(f, *batch, c))
        settings(QUIET, max_examples=3)(case)()
    print(f"\n{tally}")
    assert tally.count["cases"] >= 200
    assert tally.count["ended by an EOS"] > tally.count["programs"] / 5
    assert tally.count["near-ties"] <= tally.count["cases"] / 50


@st.composite
def configs(draw: Any) -> BeamConfig:
    limit = draw(st.sampled_from([4, 8, 12]))
    width = draw(st.integers(1, 10))
    bad = draw(st.sets(st.integers(8, VOCAB - 1), max_size=3))
    return BeamConfig(
        width=width,
        max_new_tokens=limit,
        pad_id=FILL,
        eos_ids=draw(st.sampled_from([(), EOS[:1], EOS[:2], EOS])),
        length_penalty=draw(st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0])),
        early_stopping=draw(st.sampled_from([True, False, "never"])),
        num_return=draw(st.none() | st.integers(1, width)),
        min_new_tokens=draw(st.integers(0, limit)) * draw(st.booleans()),
        # greedy decoding there penalises logits, not log-probabilities
        repetition_penalty=draw(st.sampled_from([0.8, 1.0, 1.0, 1.2])) if width > 1 else 1.0,
        bad_token_ids=tuple(sorted(bad)),
    )


@pytest.mark.slow
def test_any_configuration_equals_generate():
    """Run with ``pytest -m slow tests/decode/test_beam_hf.py -s``."""
    tally = Tally()

    @settings(QUIET, max_examples=150)
    @given(st.sampled_from(["gpt2", "llama"]), batches(), configs())
    def case(family: str, batch: Any, config: BeamConfig) -> None:
        tally.compare(family, *batch, config)

    case()
    print(f"\n{tally}")
    assert tally.count["cases"] >= 200
    assert tally.count["programs"] >= 2000
    assert tally.count["near-ties"] <= tally.count["cases"] / 50
