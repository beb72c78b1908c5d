"""`pper pretrain`: make the demo model, a tiny GPT-2 trained on micro_python references with injected bugs.

The bugs leave room to improve: the model knows the right program but often prefers a habitual mistake.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from pper_jax.errors import RunFailure, UserError
from pper_jax.files import check_model_folder
from pper_jax.loop.config import TrainSection
from pper_jax.models import ModelConfig, build_model, rules_of, save_model
from pper_jax.ranges import check_number, check_seed
from pper_jax.settings import dump_yaml
from pper_jax.sharding import batch_sharding, check_batch, make_mesh
from pper_jax.tasks.micro_python import pretraining_corpus
from pper_jax.terminal import Progress, say
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, make_train_step, pack_examples
from pper_jax.types import TrainBatch

END_OF_TEXT = "<|endoftext|>"
LEAST_VOCABULARY = 257  # every byte, and the end of text
LOOK_EVERY = 50  # steps between two looks at the loss

RECIPE = "pretrain.yaml"  # the configuration, kept with the model


@dataclass(frozen=True)
class CorpusSection:
    """Training text: ``examples`` (prompt, completion) pairs; ``bug_rate`` scales the share of buggy completions."""

    examples: int = 200_000
    bug_rate: float = 0.5
    vocab_size: int = 768

    def __post_init__(self) -> None:
        """Judge the numbers."""
        check_number("examples", self.examples, whole=True, least=1, most=100_000_000)
        check_number("bug_rate", self.bug_rate, least=0)
        check_number("vocab_size", self.vocab_size, whole=True, least=LEAST_VOCABULARY, most=1_000_000)


@dataclass(frozen=True)
class ShapeSection:
    """Shape of the GPT-2; the MLP is four times as wide as the model."""

    hidden_size: int = 192
    num_layers: int = 4
    num_heads: int = 6
    max_positions: int = 256

    def __post_init__(self) -> None:
        """Judge the numbers."""
        for name, most in (("hidden_size", 65_536), ("num_layers", 1_024), ("num_heads", 65_536)):
            check_number(name, getattr(self, name), whole=True, least=1, most=most)
        check_number("max_positions", self.max_positions, whole=True, least=2, most=1_000_000)
        if self.hidden_size % self.num_heads:
            raise UserError(
                f"hidden_size is {self.hidden_size}; it must be a multiple of num_heads, which is {self.num_heads}"
            )


@dataclass(frozen=True)
class PretrainConfig:
    """Configuration of `pper pretrain`; ``out`` becomes a Hugging Face folder."""

    out: str
    seed: int = 0
    corpus: CorpusSection = field(default_factory=CorpusSection)
    model: ShapeSection = field(default_factory=ShapeSection)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainSection = field(default_factory=TrainSection)

    def __post_init__(self) -> None:
        """Judge the numbers; the sections have judged their own."""
        check_seed("seed", self.seed)
        if self.train.max_length > self.model.max_positions:
            raise UserError(
                f"train.max_length is {self.train.max_length}, beyond model.max_positions, which is "
                f"{self.model.max_positions}; lower the one or raise the other"
            )


def train_tokenizer(texts: Iterator[str], vocab_size: int, max_length: int) -> Any:
    """Byte-level BPE with digits split one by one, and one special token, as a transformers fast tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Indentation of a new line is one word, so that a line's structure costs one token.
    pattern = Regex(r"\n *|[0-9]| ?[A-Za-z_]+| ?[^\sA-Za-z0-9_]+| +")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, behavior="isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]


def _batches(rows: TrainBatch, batch_size: int, seed: int) -> Iterator[TrainBatch]:
    """Endless epochs over ``rows``, at least a batch of them, in an order that depends on ``seed`` and epoch alone."""
    count = rows.tokens.shape[0]
    for epoch in itertools.count():
        order = np.random.default_rng([seed, epoch]).permutation(count)
        for start in range(0, count - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], rows)


def pretrain(config: PretrainConfig) -> Path:
    """Generate the corpus, train tokenizer and model, and write the HF folder ``config.out``.

    Raises:
        UserError: an ``out`` that cannot be written or holds what would be lost, a batch that the devices here do not
            divide, a corpus of fewer rows than a batch; all but the last before any work.
        RunFailure: the loss was not finite for many steps in a row; nothing is written.
    """
    began = time.monotonic()
    check_model_folder(config.out, (RECIPE,))
    mesh, batch = make_mesh(), config.train.batch_size
    check_batch(batch, config.train.accumulate, mesh, "train.batch_size")
    tokenizer, rows = _corpus(config)
    module, params = _fit(config, _shape(config.model, len(tokenizer)), rows, mesh)
    out = save_model(config.out, module, params, tokenizer, texts={RECIPE: dump_yaml(config)})
    say(f"wrote {out} after {(time.monotonic() - began) / 60:.1f} minutes")
    return out


def _corpus(config: PretrainConfig) -> tuple[Any, TrainBatch]:
    """The tokenizer trained on the corpus, and the corpus packed into rows ``[rows, train.max_length]``."""
    with Progress("corpus", config.corpus.examples, unit="examples") as progress:
        pairs = []
        for pair in pretraining_corpus(config.corpus.examples, config.seed, config.corpus.bug_rate):
            pairs.append(pair)
            progress.update(1)
    sample = (prompt + completion for prompt, completion in pairs[:20_000])
    tokenizer = train_tokenizer(sample, config.corpus.vocab_size, config.model.max_positions)
    prompts, completions = (_encode(tokenizer, list(side)) for side in zip(*pairs, strict=True))
    eos, longest = tokenizer.eos_token_id, config.train.max_length
    rows = pack_examples(((p, [*c, eos]) for p, c in zip(prompts, completions, strict=True)), longest)
    lengths = np.array([len(p) + len(c) + 1 for p, c in zip(prompts, completions, strict=True)])
    dropped, count = int((lengths > longest).sum()), rows.tokens.shape[0]
    say(
        f"{len(pairs)} examples, {lengths.mean():.0f} tokens each (99 % under {np.percentile(lengths, 99):.0f}, "
        f"longest {lengths.max()}), packed into {count} rows; vocabulary {len(tokenizer)}"
        + (f"; {dropped} longer than train.max_length={longest} are left out" if dropped else "")
    )
    if count < config.train.batch_size:
        raise UserError(
            f"the corpus fills {count} rows of train.max_length={longest} tokens ({dropped} examples are longer), "
            f"fewer than train.batch_size={config.train.batch_size}; raise corpus.examples or lower the batch size"
        )
    return tokenizer, rows


def _shape(shape: ShapeSection, vocab_size: int) -> ModelConfig:
    return ModelConfig(
        family="gpt2",
        vocab_size=vocab_size,
        hidden_size=shape.hidden_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_heads,
        head_dim=shape.hidden_size // shape.num_heads,
        mlp_size=4 * shape.hidden_size,
        max_positions=shape.max_positions,
        attention_bias=True,
        mlp_bias=True,
    )


def _fit(config: PretrainConfig, model_config: ModelConfig, rows: TrainBatch, mesh: Mesh) -> tuple[Any, Any]:
    module = build_model(model_config)
    key = jax.random.key(config.seed)
    row = jax.tree.map(lambda leaf: leaf[:1], rows)
    length = row.tokens.shape[1]
    params = jax.jit(module.init)(key, row.tokens, row.segment_ids, np.ones((1, length, length), bool))["params"]
    steps = config.train.steps
    optimizer = make_optimizer(config.optimizer, steps)
    state = init_train_state(params, optimizer, key, mesh, rules_of(module))
    step = make_train_step(module, optimizer, state, mesh, accumulate=config.train.accumulate)
    batches = _batches(rows, config.train.batch_size, config.seed)
    losses = Losses(config.train.stop_after_skipped)
    with Progress("pretrain", steps, unit="steps") as progress:
        for i in range(steps):
            state, metrics = step(state, jax.device_put(next(batches), batch_sharding(mesh)))
            losses.pending.append((metrics.loss, metrics.skipped))
            if i % LOOK_EVERY == LOOK_EVERY - 1:  # one step late: never waits for the step that is running
                progress.note(f"loss {losses.look(keep=1):.4f}")
            progress.update(1)
    losses.look()
    return module, jax.device_get(state.params)


class Losses:
    """Losses on the device that nobody has looked at; ``patience`` skipped steps in a row are too many."""

    def __init__(self, patience: int) -> None:
        self.patience, self.skipped = patience, 0
        self.pending: list[tuple[jax.Array, jax.Array | bool]] = []

    def look(self, keep: int = 0) -> float:
        """The mean of all but the last ``keep`` that were not skipped; RunFailure after too many in a row that were."""
        count = len(self.pending) - keep
        ready, self.pending = self.pending[:count], self.pending[count:]
        losses = []
        for loss, skipped in jax.device_get(ready):
            self.skipped = self.skipped + 1 if skipped else 0
            if self.skipped >= self.patience:
                raise RunFailure(
                    f"the loss or its gradient was NaN or infinite in {self.skipped} steps in a row; no model is "
                    "written. Lower optimizer.learning_rate"
                )
            losses += [] if skipped else [float(loss)]
        return float(np.mean(losses)) if losses else float("nan")
