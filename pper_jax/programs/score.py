"""Log-probabilities of programs written elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from pper_jax.decode import pack_prompts, score
from pper_jax.errors import UserError
from pper_jax.files import dump_jsonl, write_atomic
from pper_jax.programs.language_model import LanguageModel, encode_prompts
from pper_jax.tasks import Sample, Task, read_samples
from pper_jax.terminal import Progress
from pper_jax.text import Profile, completion_text, completion_tokens
from pper_jax.types import Programs


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
    model: LanguageModel,
    tasks: Sequence[Task],
    samples: Sequence[Sample],
    batch_size: int = 8,
    *,
    label: str = "score",
) -> list[Sample]:
    """The samples with the ``tokens``, ``num_tokens`` and ``logprob`` that the model gives their programs.

    Scored is the text that the model itself would have written to give the program: its completion, or what the
    model's profile makes of it (``raw``). The tokens are the sample's own where it has them and they say that text,
    else those of the text behind the prompt (``pper_jax.text.completion_tokens``).

    An EOS is among them where the program had one: its own tokens end in one or its ``stop_reason`` is ``"eos"``. A
    program of which nothing is said (no tokens, ``stop_reason`` or ``finished``), and one that was written for another
    profile and not cut by the length limit, is taken for a whole one, which an EOS ends.

    Raises:
        UserError: a program is none that the model's profile could make from a text (a ``solution`` that does not begin
            with its task's prompt), is too long, or no text that a tokenizer reads; a prompt has no tokens.
    """
    by_id = {task.task_id: (task, prompt) for task, prompt in zip(tasks, encode_prompts(model, tasks), strict=True)}
    prompts = [by_id[sample.task_id][1] for sample in samples]
    programs = [_program_tokens(model, *by_id[sample.task_id], sample) for sample in samples]
    _check_lengths(model, samples, prompts, programs)
    before, behind = max(map(len, prompts)), max(1, max(map(len, programs)))
    rows = []
    with Progress(label, len(samples), unit="programs") as progress:
        for first in range(0, len(samples), batch_size):
            chosen = [min(first + i, len(samples) - 1) for i in range(batch_size)]
            packed = _pack_programs([programs[i] for i in chosen], behind)
            scores = np.asarray(
                score(model.module, model.params, pack_prompts([prompts[i] for i in chosen], before), packed)
            )
            for row, i in enumerate(dict.fromkeys(chosen)):
                tokens, logprob = tuple(programs[i]), float(scores[row, 0].sum())
                said = _said(model, by_id[samples[i].task_id][0], samples[i])
                rows.append(replace(samples[i], logprob=logprob, num_tokens=len(tokens), tokens=tokens, **said))
                progress.update(1)
    return rows


def scorable(
    model: LanguageModel, tasks: Sequence[Task], samples: Sequence[Sample], most: int
) -> tuple[list[Sample], dict[str, int]]:
    """The samples that the model could have written within ``most`` tokens, prompt included; why not the others.

    ``most`` is a row's length; the model's context bounds it too.
    """
    by_id = {task.task_id: (task, prompt) for task, prompt in zip(tasks, encode_prompts(model, tasks), strict=True)}
    limit, kept, lost = min(most, model.module.config.max_positions), list[Sample](), Counter[str]()
    for sample in samples:
        task, prompt = by_id[sample.task_id]
        if _text(model.profile, task, sample) is None:
            lost[f"cannot be written under profile {model.profile.name}"] += 1
        elif len(prompt) + len(_program_tokens(model, task, prompt, sample)) > limit:
            lost[f"are beyond {limit} tokens with their prompt"] += 1
        else:
            kept.append(sample)
    return kept, dict(lost)


def _program_tokens(model: LanguageModel, task: Task, prompt: Sequence[int], sample: Sample) -> list[int]:
    """The program's tokens behind ``prompt``, with the end where it had one."""
    text, profile, own = _text(model.profile, task, sample), model.profile, list(sample.tokens or ())
    if text is None:
        raise UserError(
            f"the solution for task {task.task_id} does not begin with the task's prompt, so it has no completion "
            "to score; give it as a completion"
        )
    closed = bool(own) and own[-1] in model.eos_ids
    body = own[:-1] if closed else own
    ended = closed or sample.stop_reason == "eos" or (profile.end is not None and sample.stop_reason == "stop")
    if (sample.stop_reason is None and sample.tokens is None) or not _is_meant_for(profile, sample):
        ended = sample.finished is not False and sample.stop_reason != "length"
    mark = profile.end if ended else None
    if sample.tokens is not None and _is_own(model, prompt, body, text, sample.stop_reason, None if closed else mark):
        return own if closed or mark or not ended else [*own, *_end(model)]
    asked, what = profile.ask(task, model.tokenizer), f"task {task.task_id}"
    whole = text + (mark or "")
    body = completion_tokens(model.tokenizer, asked, whole, model.eos_ids, what, written_out=profile.written_out)
    return [*body, *(_end(model) if ended and mark is None else ())]


def _is_meant_for(profile: Profile, sample: Sample) -> bool:
    """Whether the sample has the very text that a model writes under ``profile``."""
    if profile.program is None:
        return sample.completion is not None or sample.raw is None
    return sample.raw is not None and sample.profile == profile.name


def _text(profile: Profile, task: Task, sample: Sample) -> str | None:
    """What a model writes under ``profile`` to give the sample's program; None where nothing does."""
    if profile.program is None and sample.completion is not None:
        return sample.completion
    if _is_meant_for(profile, sample) and sample.raw is not None:
        return sample.raw
    if sample.solution is not None:
        return profile.raw(task, sample.solution)
    before = "" if task.tests["kind"] == "answer" else task.prompt
    return profile.raw(task, before + (sample.completion or ""))


def _said(model: LanguageModel, task: Task, sample: Sample) -> dict[str, Any]:
    """The keys of a row that say what was scored, where that is another text than the program's."""
    profile = model.profile
    if profile.program is None:
        return {}
    raw = _text(profile, task, sample) or ""
    return {"completion": None, "solution": profile.program(task, raw), "raw": raw, "profile": profile.name}


def _is_own(
    model: LanguageModel,
    prompt: Sequence[int],
    body: Sequence[int],
    text: str,
    reason: str | None,
    mark: str | None,
) -> bool:
    """Whether ``body`` are tokens of this model that say ``text``, and the ``mark`` behind it where it ended in one.

    Of a program that was cut at another stop they may say less: a token across the cut is none of them.
    """
    size = model.module.config.vocab_size
    if not all(type(token) is int and 0 <= token < size for token in body):
        return False
    said = completion_text(model.tokenizer, prompt, body)
    if mark is not None:
        return said.startswith(text + mark)
    return text == said or (reason == "stop" and text.startswith(said))


def _end(model: LanguageModel) -> tuple[int, ...]:
    """The end that is meant where none is named: the tokenizer's EOS, else the model's first."""
    eos = model.tokenizer.eos_token_id
    return (eos,) if eos in model.eos_ids else model.eos_ids[:1]


def _check_lengths(
    model: LanguageModel,
    samples: Sequence[Sample],
    prompts: Sequence[Sequence[int]],
    programs: Sequence[Sequence[int]],
) -> None:
    limit = model.module.config.max_positions
    for number, (sample, prompt, program) in enumerate(zip(samples, prompts, programs, strict=True), start=1):
        name = f"program {number}, for task {sample.task_id[:100]}"
        if not prompt:
            raise UserError(f"{name}: the prompt has no tokens; give it at least one, such as the tokenizer's BOS.")
        if len(prompt) + len(program) > limit:
            raise UserError(
                f"{name}: {len(prompt) + len(program)} tokens with its prompt are beyond the model's context of "
                f"{limit}; leave it out."
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
