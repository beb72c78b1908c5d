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

from pper_jax.files import check_model_folder
from pper_jax.loop.config import TrainSection
from pper_jax.models import ModelConfig, build_model, save_model
from pper_jax.settings import dump_yaml
from pper_jax.sharding import batch_sharding, make_mesh
from pper_jax.tasks.micro_python import pretraining_corpus
from pper_jax.terminal import Progress
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, make_train_step, pack_examples
from pper_jax.types import TrainBatch

END_OF_TEXT = "<|endoftext|>"

RECIPE = "pretrain.yaml"  # the configuration, kept with the model


@dataclass(frozen=True)
class CorpusSection:
    """Training text: ``examples`` (prompt, completion) pairs; ``bug_rate`` scales the share of buggy completions."""

    examples: int = 200_000
    bug_rate: float = 0.5
    vocab_size: int = 768


@dataclass(frozen=True)
class ShapeSection:
    """Shape of the GPT-2; the MLP is four times as wide as the model."""

    hidden_size: int = 192
    num_layers: int = 4
    num_heads: int = 6
    max_positions: int = 256


@dataclass(frozen=True)
class PretrainConfig:
    """Configuration of `pper pretrain`; ``out`` becomes a Hugging Face folder."""

    out: str
    seed: int = 0
    corpus: CorpusSection = field(default_factory=CorpusSection)
    model: ShapeSection = field(default_factory=ShapeSection)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainSection = field(default_factory=TrainSection)


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
    """Endless epochs over ``rows`` in an order that depends on ``seed`` and the epoch alone."""
    count = rows.tokens.shape[0]
    for epoch in itertools.count():
        order = np.random.default_rng([seed, epoch]).permutation(count)
        for start in range(0, count - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], rows)


def pretrain(config: PretrainConfig) -> Path:
    """Generate the corpus, train tokenizer and model, and write the HF folder ``config.out``.

    Raises UserError, before any work, where that folder cannot be written or holds what would be lost.
    """
    check_model_folder(config.out, (RECIPE,))
    began = time.monotonic()
    with Progress("corpus", config.corpus.examples, unit="examples") as progress:
        pairs = []
        for pair in pretraining_corpus(config.corpus.examples, config.seed, config.corpus.bug_rate):
            pairs.append(pair)
            progress.update(1)
    shape = config.model
    sample = (prompt + completion for prompt, completion in pairs[:20_000])
    tokenizer = train_tokenizer(sample, config.corpus.vocab_size, shape.max_positions)
    prompts, completions = (_encode(tokenizer, list(side)) for side in zip(*pairs, strict=True))
    eos = tokenizer.eos_token_id
    rows = pack_examples(((p, [*c, eos]) for p, c in zip(prompts, completions, strict=True)), config.train.max_length)
    lengths = np.array([len(p) + len(c) + 1 for p, c in zip(prompts, completions, strict=True)])
    print(
        f"{len(pairs)} examples, {lengths.mean():.0f} tokens each (99 % under {np.percentile(lengths, 99):.0f}, "
        f"longest {lengths.max()}), packed into {rows.tokens.shape[0]} rows; vocabulary {len(tokenizer)}",
        flush=True,
    )
    model_config = ModelConfig(
        family="gpt2",
        vocab_size=len(tokenizer),
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
    module, params = _fit(config, model_config, rows)
    out = Path(config.out)
    save_model(out, module, params, tokenizer, texts={RECIPE: dump_yaml(config)})
    print(f"wrote {out} after {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return out


def _fit(config: PretrainConfig, model_config: ModelConfig, rows: TrainBatch) -> tuple[Any, Any]:
    module = build_model(model_config)
    mesh = make_mesh()
    key = jax.random.key(config.seed)
    row = jax.tree.map(lambda leaf: leaf[:1], rows)
    length = row.tokens.shape[1]
    params = jax.jit(module.init)(key, row.tokens, row.segment_ids, np.ones((1, length, length), bool))["params"]
    steps = config.train.steps
    optimizer = make_optimizer(config.optimizer, steps)
    state = init_train_state(params, optimizer, key, mesh)
    step = make_train_step(module, optimizer, state, mesh, accumulate=config.train.accumulate)
    batches = _batches(rows, config.train.batch_size, config.seed)
    losses: list[jax.Array] = []
    with Progress("pretrain", steps, unit="steps") as progress:
        for i in range(steps):
            state, metrics = step(state, jax.device_put(next(batches), batch_sharding(mesh)))
            losses.append(metrics.loss)
            if i % 50 == 49:  # one step late: never waits for the step that is running
                progress.note(f"loss {float(np.mean(jax.device_get(losses[-51:-1]))):.4f}")
            progress.update(1)
    return module, jax.device_get(state.params)
