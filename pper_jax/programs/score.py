"""Log-probabilities of programs written elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from pper_jax.decode import pack_prompts, score
from pper_jax.errors import UserError
from pper_jax.files import dump_jsonl, write_atomic
from pper_jax.programs.language_model import LanguageModel, encode_prompts
from pper_jax.tasks import Sample, Task, read_samples
from pper_jax.terminal import Progress
from pper_jax.text import completion_text, completion_tokens
from pper_jax.types import Programs


@dataclass(frozen=True)
class Scorable:
    """What is scored of a sample: ``tokens`` behind ``context``, which is its prompt unless they ``merge`` with it."""

    context: Sequence[int]
    tokens: Sequence[int]
    merges: bool = False


def score_file(model: LanguageModel, tasks: Sequence[Task], samples_path: Path, out: Path, batch_size: int = 8) -> int:
    """Write each sample with the model's log-probability of its program; returns how many.

    Raises:
        UserError: a sample is a whole ``solution`` that does not begin with its task's prompt, or is too long.
    """
    samples = read_samples(samples_path, tasks)
    rows = score_samples(model, tasks, samples, batch_size)
    write_atomic(out, dump_jsonl([row.to_json() for row in rows]))
    return len(rows)


def score_samples(
    model: LanguageModel, tasks: Sequence[Task], samples: Sequence[Sample], batch_size: int = 8
) -> list[Sample]:
    """The samples with the ``logprob``, ``num_tokens`` and ``tokens`` that the model gives their programs.

    The tokens are the sample's own where it has them and they are its completion; else prompt and completion are
    tokenised as one, and what follows the longest run of first tokens that they share with the prompt is scored. Where
    a token lies across the border it is scored too, and ``tokens`` are left out, as they do not follow the prompt's.

    An EOS is scored where the program had one: its own tokens end in one or its ``stop_reason`` is ``"eos"``. A program
    of which nothing is said (no tokens, ``stop_reason`` or ``finished``) is taken for a whole one, which an EOS ends.

    Raises:
        UserError: a sample is a whole ``solution`` that does not begin with its task's prompt, is too long, or no text
            that a tokenizer reads.
    """
    by_id = {task.task_id: (task, prompt) for task, prompt in zip(tasks, encode_prompts(model, tasks), strict=True)}
    todo = [_scorable(model, *by_id[sample.task_id], sample) for sample in samples]
    _check_lengths(model, samples, todo)
    before, behind = max(len(one.context) for one in todo), max(1, *(len(one.tokens) for one in todo))
    rows = []
    with Progress("score", len(samples), unit="programs") as progress:
        for first in range(0, len(samples), batch_size):
            chosen = [min(first + i, len(samples) - 1) for i in range(batch_size)]
            prompts = pack_prompts([todo[i].context for i in chosen], before)
            programs = _pack_programs([todo[i].tokens for i in chosen], behind)
            scores = np.asarray(score(model.module, model.params, prompts, programs))
            for row, i in enumerate(dict.fromkeys(chosen)):
                own = None if todo[i].merges else tuple(todo[i].tokens)
                logprob = float(scores[row, 0].sum())
                rows.append(replace(samples[i], logprob=logprob, num_tokens=len(todo[i].tokens), tokens=own))
                progress.update(1)
    return rows


def _scorable(model: LanguageModel, task: Task, prompt: Sequence[int], sample: Sample) -> Scorable:
    name, text = f"task {task.task_id}", _completion(task, sample)
    ends, own = model.eos_ids, list(sample.tokens or ())
    closed = bool(own) and own[-1] in ends
    body = own[:-1] if closed else own
    ended = sample.stop_reason == "eos" or closed
    if sample.stop_reason is None and sample.tokens is None:
        ended = sample.finished is not False
    if sample.tokens is not None and prompt and _is_own(model, prompt, body, text, sample.stop_reason):
        return Scorable(prompt, own if closed or not ended else [*body, *_end(model)])
    context, tokens = completion_tokens(model.tokenizer, task.prompt, text, ends, name)
    return Scorable(context, [*tokens, *(_end(model) if ended else ())], merges=len(context) < len(prompt))


def _completion(task: Task, sample: Sample) -> str:
    if sample.completion is not None:
        return sample.completion
    program = sample.solution or ""
    if not program.startswith(task.prompt):
        raise UserError(
            f"the solution for task {task.task_id} does not begin with the task's prompt, so it has no completion "
            "to score; give it as a completion"
        )
    return program[len(task.prompt) :]


def _is_own(model: LanguageModel, prompt: Sequence[int], body: Sequence[int], text: str, reason: str | None) -> bool:
    """Whether ``body`` are tokens of this model that say ``text``.

    Of a program that was cut at a stop they may say less: a token across the cut is none of them.
    """
    size = model.module.config.vocab_size
    if not all(type(token) is int and 0 <= token < size for token in body):
        return False
    said = completion_text(model.tokenizer, prompt, body)
    return text == said or (reason == "stop" and text.startswith(said))


def _end(model: LanguageModel) -> tuple[int, ...]:
    """The end that is meant where none is named: the tokenizer's EOS, else the model's first."""
    eos = model.tokenizer.eos_token_id
    return (eos,) if eos in model.eos_ids else model.eos_ids[:1]


def _check_lengths(model: LanguageModel, samples: Sequence[Sample], todo: Sequence[Scorable]) -> None:
    limit = model.module.config.max_positions
    lengths = [len(one.context) + len(one.tokens) for one in todo]
    if max(lengths) > limit:
        number = int(np.argmax(lengths))
        raise UserError(
            f"program {number + 1}, for task {samples[number].task_id}, and its prompt have {lengths[number]} tokens, "
            f"which is beyond the model's context of {limit}; leave it out"
        )


def _pack_programs(token_lists: Sequence[Sequence[int]], length: int) -> Programs:
    tokens = pack_prompts(token_lists, length)
    shape = (len(token_lists), 1)
    return Programs(
        tokens=tokens.tokens[:, None],
        length=tokens.length[:, None],
        logprob=jnp.zeros(shape),
        token_logprobs=jnp.zeros((*shape, length)),
        finished=jnp.ones(shape, bool),
    )
