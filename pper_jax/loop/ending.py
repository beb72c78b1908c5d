"""What a run leaves at its end: the model, what was replayed most, and the summary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from pper_jax import evaluation, replay
from pper_jax.files import RunFolder, finite, model_folder, notices, parse_jsonl, read_jsonl, write_json
from pper_jax.loop.parts import Parts
from pper_jax.loop.state import LoopState
from pper_jax.models import resolve_model, save_model
from pper_jax.tasks import Task, text_of

SHOWN = 10


def is_finished(folder: RunFolder, rounds: int) -> bool:
    """Whether a run of so many rounds came to its end, and all that it left is there."""
    try:
        summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    whole = folder.replayed.exists() and (folder.model / "config.json").exists()
    return isinstance(summary, dict) and summary.get("rounds") == rounds and whole


def finish(parts: Parts, state: LoopState, folder: RunFolder) -> None:
    """Write model, replayed programs and summary: the run is finished when the last is there."""
    config = parts.config
    last = config.rounds if state.best is None else int(state.best.stands)
    model, params = parts.model, jax.device_get(parts.team.params(parts.weights(state.train)))
    if not parts.team.leads:
        return
    texts = notices(model_folder(resolve_model(config.model)))
    save_model(folder.model, model.module, params, model.tokenizer, eos_ids=model.eos_ids, texts=texts)
    write_json(folder.replayed, finite({"programs": most_replayed(folder, parts)}))
    summary = {
        "name": config.name,
        "seed": config.seed,
        "profile": config.profile,
        "rounds": config.rounds,
        "splits": {name: gain(folder, name, tasks, last, config.seed) for name, tasks in parts.held_out.items()},
        "programs": int(state.programs),
        "train_steps": int(state.train.step),
        "finished": True,
    } | ({"rolled_back_to": last} if last != config.rounds else {})
    write_json(folder.summary, finite(summary))


def gain(folder: RunFolder, split: str, tasks: Sequence[Task], last: int, seed: int) -> dict[str, Any]:
    """Before and after round ``last`` on one held-out split: the paired difference, its interval, McNemar's test."""
    names = [task.task_id for task in tasks]
    before, after = (
        evaluation.answers(evaluation.outcomes(names, rows).values(), "beam")
        for rows in (read_jsonl(folder.verdicts(f"eval_{index:03d}_{split}")) for index in (0, last))
    )
    return evaluation.compare(before[0], after[0], seed=seed)


def most_replayed(folder: RunFolder, parts: Parts) -> list[dict[str, Any]]:
    """The programs drawn most often, with the reason of their last draw."""
    draws: dict[int, dict[str, Any]] = {}
    times: dict[int, int] = {}
    for index in range(1, parts.config.rounds + 1):
        path = folder.draws(index)
        for _, row in parse_jsonl(path) if path.exists() else ():
            draws[row["program"]] = row
            times[row["program"]] = times.get(row["program"], 0) + 1
    top = sorted(times, key=lambda program: (-times[program], program))[:SHOWN]
    written = _programs(folder, parts.config.rounds, set(top))
    prompts = {task.task_id: task.prompt for task in parts.tasks}
    return [
        {
            "task_id": written[program]["task_id"],
            "prompt": prompts[written[program]["task_id"]],
            "completion": text_of(written[program]),
            "round": written[program]["round"],
            "times_drawn": times[program],
            **{key: draws[program][key] for key in ("possibility", "pass_rate", "p2value", "rank", "probability")},
            "reason": replay.draw_reason(draws[program], parts.rules),
        }
        for program in top
    ]


def _programs(folder: RunFolder, rounds: int, wanted: set[int]) -> dict[int, dict[str, Any]]:
    """The sample rows of the programs of these numbers, with their round."""

    def rows() -> Iterator[dict[str, Any]]:
        for index in range(1, rounds + 1):
            path = folder.samples(f"round_{index:03d}")
            for _, row in parse_jsonl(path) if path.exists() else ():
                yield {**row, "round": index}

    return {number: row for number, row in enumerate(rows()) if number in wanted}
