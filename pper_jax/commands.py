"""What the sub-commands of `pper` do; the command line itself is in ``cli``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pper_jax import evaluation
from pper_jax.decode import (
    BeamConfig,
    DiverseBeamConfig,
    SampleConfig,
    StochasticBeamConfig,
    pack_prompts,
    score,
)
from pper_jax.errors import UserError
from pper_jax.execution import TestPool
from pper_jax.metrics import Progress
from pper_jax.models import load_model, resolve_model
from pper_jax.models.quantize import with_weights
from pper_jax.phases import LanguageModel, count_statuses, encode_prompts, run_tests, sample_tasks
from pper_jax.run_folder import model_folder, write_atomic
from pper_jax.tasks import Sample, Task, dump_jsonl, read_jsonl, read_samples
from pper_jax.types import Programs


def open_model(name: str, weights: str = "auto") -> LanguageModel:
    """A model from a HF folder, a GGUF file, a run folder or a known name.

    ``weights`` is how it is held: ``float32``, ``bfloat16``, ``int8``, or ``auto``, which is float32 on CPU and
    bfloat16 elsewhere, and also what int8 computes in. Named weights become part of the model's name, so that programs
    of different ones are not mixed in one file.
    """
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    module, params, tokenizer = load_model(model_folder(resolve_model(name)), dtype=dtype)
    module, params = with_weights(module, params, dtype if weights == "auto" else weights)
    return LanguageModel(module, params, tokenizer, name if weights == "auto" else f"{name} ({weights})")


def decode_config(
    method: str,
    width: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    groups: int | None = None,
    diversity: float = 0.5,
) -> Any:
    """The decoder's options for ``--method beam | diverse-beam | stochastic-beam | greedy | sample``."""
    if method == "diverse-beam":
        return DiverseBeamConfig(
            width=width, max_new_tokens=max_new_tokens, groups=groups or width, diversity=diversity
        )
    if method == "stochastic-beam":
        return StochasticBeamConfig(num_samples=width, max_new_tokens=max_new_tokens, temperature=temperature)
    if method == "beam":
        return BeamConfig(width=width, max_new_tokens=max_new_tokens)
    if method == "greedy":
        return SampleConfig(num_samples=1, temperature=0.0, max_new_tokens=max_new_tokens)
    return SampleConfig(num_samples=width, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)


def summarise_verdicts(rows: Sequence[dict[str, Any]]) -> str:
    """One line: programs, how many pass, mean pass rate (of those that could be judged), kinds of verdicts."""
    judged = [row["pass_rate"] for row in rows if row["status"] != "infrastructure"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(count_statuses(rows).items(), key=lambda kv: -kv[1]))
    rate = f"{100 * np.mean(judged):.1f} %" if judged else "unknown"
    lost = len(rows) - len(judged)
    left_out = f" of the {len(judged)} that could be judged" if lost and judged else ""
    return f"{len(rows)} programs: {kinds}; mean pass rate {rate}{left_out}"


def forget_if_complete(path: Path, keys: set[Any], key: str) -> None:
    """Remove an output that already covers all ``keys``: the same command again starts over, a cut one goes on."""
    if path.exists() and {row.get(key) for row in read_jsonl(path, torn_ok=True)} >= keys:
        path.unlink()


def sample_file(
    model: LanguageModel,
    tasks: Sequence[Task],
    out: Path,
    config: Any,
    *,
    batch_size: int,
    seed: int,
    only_distinct: bool = False,
) -> list[Sample]:
    """Write programs for ``tasks`` to ``out``, or complete what an interrupted call wrote there."""
    forget_if_complete(out, {task.task_id for task in tasks}, "task_id")
    key = jax.random.key(seed)
    return sample_tasks(model, tasks, out, config, batch_size=batch_size, key=key, only_distinct=only_distinct)


def test_file(tasks: Sequence[Task], samples_path: Path, out: Path, pool: TestPool) -> str:
    """Test a samples file with a pool that is not open yet; returns the summary line."""
    samples = read_samples(samples_path, tasks)
    out.parent.mkdir(parents=True, exist_ok=True)
    forget_if_complete(out, set(range(len(samples))), "sample")
    with pool:
        line = summarise_verdicts(run_tests(pool, tasks, samples, out))
    known = pool.statistics.shared + pool.statistics.from_cache
    return line + (f"; {known} verdicts were known from the same program and tests" if known else "")


def score_file(model: LanguageModel, tasks: Sequence[Task], samples_path: Path, out: Path, batch_size: int = 8) -> int:
    """Write each sample with the model's log-probability of its completion and EOS; returns how many.

    Raises:
        UserError: a sample is a whole ``solution`` that does not begin with its task's prompt, or is too long.
    """
    samples = read_samples(samples_path, tasks)
    by_id = {task.task_id: (task, prompt) for task, prompt in zip(tasks, encode_prompts(model, tasks), strict=True)}
    programs = [_completion_tokens(model, by_id[s.task_id][0], s) for s in samples]
    longest_prompt = max(len(by_id[s.task_id][1]) for s in samples)
    longest = max(len(tokens) for tokens in programs)
    if longest_prompt + longest > model.module.config.max_positions:
        raise UserError(
            f"{samples_path}: a prompt and program of up to {longest_prompt + longest} tokens are beyond the model's "
            f"context of {model.module.config.max_positions}; leave the longest out"
        )
    rows = []
    with Progress("score", len(samples), unit="programs") as progress:
        for first in range(0, len(samples), batch_size):
            chosen = [min(first + i, len(samples) - 1) for i in range(batch_size)]
            prompts = pack_prompts([by_id[samples[i].task_id][1] for i in chosen], longest_prompt)
            scores = np.asarray(
                score(model.module, model.params, prompts, _pack_programs([programs[i] for i in chosen], longest))
            )
            for row, i in enumerate(dict.fromkeys(chosen)):
                logprob = float(scores[row, 0].sum())
                rows.append({**samples[i].to_json(), "logprob": logprob, "num_tokens": len(programs[i])})
                progress.update(1)
    write_atomic(out, dump_jsonl(rows))
    return len(rows)


def _completion_tokens(model: LanguageModel, task: Task, sample: Sample) -> list[int]:
    text = sample.completion
    if text is None:
        program = sample.solution or ""
        if not program.startswith(task.prompt):
            raise UserError(
                f"the solution for task {task.task_id} does not begin with the task's prompt, so it has no completion "
                "to score; give it as a completion"
            )
        text = program[len(task.prompt) :]
    return [*model.tokenizer(text, add_special_tokens=False)["input_ids"], *model.eos_ids]


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


def evaluate(
    model: LanguageModel,
    tasks: Sequence[Task],
    ks: Sequence[int],
    method: str,
    config: Any,
    *,
    batch_size: int,
    pool: TestPool,
    out: Path | None,
    seed: int,
) -> dict[str, Any]:
    """Sample, test and judge a model; returns the figures that ``print_figures`` shows, as plain data.

    With ``out`` the samples and verdicts are kept there, and an interrupted evaluation goes on where it stopped.
    """
    with tempfile.TemporaryDirectory(prefix="pper-eval-") as scratch:
        folder = out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        samples = sample_file(model, tasks, folder / "samples.jsonl", config, batch_size=batch_size, seed=seed)
        forget_if_complete(folder / "verdicts.jsonl", set(range(len(samples))), "sample")
        with pool:
            rows = run_tests(pool, tasks, samples, folder / "verdicts.jsonl")
    return figures(tasks, rows, ks, method, seed)


def figures(
    tasks: Sequence[Task], rows: Sequence[dict[str, Any]], ks: Sequence[int], method: str, seed: int
) -> dict[str, Any]:
    """pass@k, pass rate and accuracy of verdict rows, in all and by difficulty.

    Beam results are ordered and no random draws: there ``pass@k`` says whether one of the best k programs passes.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["status"] != "infrastructure":  # a fault of ours says nothing about the program
            groups.setdefault(row["task_id"], []).append(row)
    passed = {task_id: [row["pass_rate"] == 1 for row in group] for task_id, group in groups.items()}
    best = {task_id: group[0]["pass_rate"] for task_id, group in groups.items()}

    def of(chosen: Sequence[Task]) -> dict[str, Any]:
        known = [task.task_id for task in chosen if task.task_id in groups]
        result = evaluation.summarise(np.array([best[task_id] for task_id in known]), seed=seed)
        for k in ks:
            result[f"pass@{k}"] = _pass_at(k, [passed[task_id] for task_id in known], method)
        return result

    labels = sorted({task.difficulty for task in tasks if task.difficulty})
    return {
        "method": method,
        "programs": len(rows),
        "statuses": count_statuses(rows),
        "all": of(tasks),
        "by_difficulty": {label: of([task for task in tasks if task.difficulty == label]) for label in labels},
    }


def _pass_at(k: int, passed: Sequence[Sequence[bool]], method: str) -> float | None:
    """Mean over tasks with at least ``k`` judged programs; None when there is none."""
    enough = [marks for marks in passed if len(marks) >= k] if method == "sample" else passed
    if not enough:
        return None
    if method == "sample":
        n, c = (np.array([f(marks) for marks in enough]) for f in (len, sum))
        return float(evaluation.pass_at_k(n, c, k).mean())
    return float(np.mean([any(marks[:k]) for marks in enough]))


def print_figures(result: dict[str, Any], ks: Sequence[int]) -> None:
    """A table of the figures, percent, with 95 % intervals."""
    heads = ["tasks", "pass rate", "accuracy", *(f"pass@{k}" for k in ks)]
    rows = [("all", result["all"]), *result["by_difficulty"].items()]
    width = max(len(name) for name, _ in rows)
    print(f"{'':{width}}  {heads[0]:>5}  {heads[1]:>20}  {heads[2]:>20}  " + "  ".join(f"{h:>8}" for h in heads[3:]))
    for name, row in rows:
        cells = [f"{row['tasks']:>5}"]
        for key in ("pass_rate", "accuracy"):
            cells.append(
                f"{_percent(row[key])} [{_percent(row[key + '_low'])}, {_percent(row[key + '_high'])}]".rjust(20)
            )
        cells += [_percent(row[f"pass@{k}"]).rjust(8) for k in ks]
        print(f"{name:{width}}  " + "  ".join(cells))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
