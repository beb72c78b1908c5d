"""The figures of a study, from its runs' files: gains, differences to the reference, curves, budgets.

Nothing here depends on a clock, so that a study that was interrupted gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pper_jax import evaluation
from pper_jax.files import finite, parse_jsonl, read_jsonl
from pper_jax.study.config import Study
from pper_jax.study.ledger import Ledger, apart, ledger, metrics_of
from pper_jax.study.sharing import Job
from pper_jax.tasks import text_of

Runs = Mapping[int, Job]  # an arm's finished runs, by seed


def figures_of(study: Study, jobs: Sequence[Job], failed: Mapping[str, str]) -> dict[str, Any]:
    """All figures, as plain data (``study.json``)."""
    config = study.config
    arms: dict[str, dict[int, Job]] = {name: {} for name in study.arms}
    for job in jobs:
        if job.name not in failed and job.arm is not None and job.seed is not None:
            arms[job.arm][job.seed] = job
    spent = {name: _spent(runs) for name, runs in arms.items()}
    differing = {name: _apart(arms[name], arms[config.reference], spent, config.equal) for name in arms}
    return finite(
        {
            "study": config.name,
            "hypothesis": config.hypothesis,
            "base": config.base,
            "settings": list(config.settings),
            "part": config.part,
            "equal": list(config.equal),
            "reference": config.reference,
            "seeds": list(config.seeds),
            "failed": dict(failed),
            "arms": {
                name: {
                    "settings": list(config.arms[name]),
                    "seeds": sorted(runs),
                    "ledger": spent[name]["mean"],
                    "apart": differing[name],
                    **_traits(list(runs.values())),
                }
                for name, runs in arms.items()
            },
            "sets": {
                name: _set_figures(study, name, arms, differing) for name in study.arms[config.reference].tasks.eval
            },
        }
    )


def _spent(runs: Runs) -> dict[str, Any]:
    each = {seed: ledger(metrics_of(job.folder)) for seed, job in runs.items()}
    names = next(iter(each.values()), {})
    return {"each": each, "mean": {name: float(np.mean([one[name] for one in each.values()])) for name in names}}


def _apart(mine: Runs, reference: Runs, spent: Mapping[str, Any], equal: Sequence[str]) -> dict[str, float]:
    """How far an arm's budget is from the reference's over the seeds that both have; empty where it is within 2 %."""
    arm, other = (next(iter(runs.values())).arm if runs else None for runs in (mine, reference))
    common = sorted(mine.keys() & reference.keys())
    if not common or arm is None or other is None:
        return {}
    sums: list[Ledger] = []
    for name in (arm, other):
        each = spent[name]["each"]
        sums.append({key: sum(each[seed][key] for seed in common) for key in each[common[0]]})
    found = apart(sums[0], sums[1], equal)
    if found.get("target_tokens", 0) < 0 and _rounds_without_learning(mine.values()):
        del found["target_tokens"]  # it was given as many, and found nothing to learn from
    return found


def _rounds_without_learning(jobs: Iterable[Job]) -> int:
    return sum(row["event"] == "nothing_to_learn" for job in jobs for row in metrics_of(job.folder))


def _traits(jobs: Sequence[Job]) -> dict[str, Any]:
    """What an arm's draws and programs were like, on average over its runs and rounds."""
    rows = [row for job in jobs for row in metrics_of(job.folder)]
    distinct, solved, partial = zip(*[_written(job) for job in jobs], strict=True) if jobs else ((), (), ())
    return {
        "effective_sample_size": _mean([row["effective_sample_size"] for row in rows if row["event"] == "replay"]),
        "distinct_programs": _mean(distinct),
        "tasks_solved": _mean(solved),
        "tasks_partly": _mean(partial),
        "rounds_without_learning": _rounds_without_learning(jobs),
        "entropy": _by_round(rows, "entropy", "nats"),
    }


def _written(job: Job) -> tuple[float, float, float]:
    """Of the programs that a run wrote to learn from: share that differ, of tasks solved, of tasks partly passed."""
    texts: set[tuple[str, str]] = set()
    best: dict[str, float] = {}
    partly: set[str] = set()
    count = 0
    for index in range(1, job.config.rounds + 1):
        name = f"round_{index:03d}"
        for _, row in parse_jsonl(job.folder.samples(name)):
            count += 1
            texts.add((row["task_id"], str(text_of(row))))
        for _, row in parse_jsonl(job.folder.verdicts(name)):
            best[row["task_id"]] = max(best.get(row["task_id"], 0.0), row["pass_rate"])
            if 0 < row["pass_rate"] < 1:
                partly.add(row["task_id"])
    tasks = max(1, len(best))
    return len(texts) / max(1, count), sum(rate == 1 for rate in best.values()) / tasks, len(partly) / tasks


def _by_round(rows: Sequence[Mapping[str, Any]], event: str, figure: str) -> list[dict[str, float]]:
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["event"] == event and row.get(figure) is not None:
            found.setdefault(row["round"], []).append(row[figure])
    return [{"round": index, figure: float(np.mean(values))} for index, values in sorted(found.items())]


def rates(job: Job, split: str, index: int) -> np.ndarray:
    """Pass rate of each held-out task after round ``index``, ``[tasks]`` in the order of their ids; NaN: not judged."""
    rows = read_jsonl(job.folder.verdicts(f"eval_{index:03d}_{split}"))
    names = sorted({row["task_id"] for row in rows})
    found, _ = evaluation.answers(evaluation.outcomes(names, rows).values(), "beam")
    return found


def _set_figures(
    study: Study, split: str, arms: Mapping[str, Runs], differing: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """One held-out set: each arm's pass rate, its gain and its difference to the reference."""
    reference = arms[study.config.reference]
    after = {
        name: {seed: rates(job, split, job.config.rounds) for seed, job in runs.items()} for name, runs in arms.items()
    }
    found: dict[str, Any] = {"arms": {}}
    for name, runs in arms.items():
        if not runs:
            continue
        before = {seed: rates(job, split, 0) for seed, job in runs.items()}
        found["tasks"], found["before"] = len(next(iter(before.values()))), _nan_mean(before.values())
        gains = np.stack([after[name][seed] - before[seed] for seed in sorted(runs)])
        arm: dict[str, Any] = {
            "after": _nan_mean(after[name].values()),
            "solved": _nan_mean([np.where(np.isnan(x), x, x == 1) for x in after[name].values()]),
            "gain": _interval(gains),
            "each": {str(seed): float(np.nanmean(after[name][seed] - before[seed])) for seed in sorted(runs)},
            "curve": _curve(list(runs.values()), split),
        }
        common = sorted(runs.keys() & reference.keys())
        if name != study.config.reference and common and not differing[name]:
            against = np.stack([after[name][seed] - after[study.config.reference][seed] for seed in common])
            means = np.nanmean(against, axis=1)
            arm["against"] = {**_interval(against), "wins": int((means > 0).sum()), "of": len(common)}
        found["arms"][name] = arm
    compared = [arm["against"] for arm in found["arms"].values() if "against" in arm]
    for against, adjusted in zip(compared, evaluation.holm([one["p"] for one in compared]), strict=True):
        against["holm"] = adjusted
    return found


def _interval(differences: np.ndarray) -> dict[str, float]:
    """Of ``[seeds, tasks]``: the mean with its interval over both, p, and the least effect that could be found."""
    found = evaluation.crossed_interval(differences)
    return {name: float(getattr(found, name)) for name in ("difference", "low", "high", "p", "least_effect")}


def _curve(jobs: Sequence[Job], split: str) -> list[dict[str, float]]:
    """Pass rate after each round that was evaluated, beside what was spent by then; means over the runs."""
    points: dict[int, list[dict[str, float]]] = {}
    for job in jobs:
        rows = metrics_of(job.folder)
        for row in rows:
            if row["event"] == "eval" and row["split"] == split and row["pass_rate"] is not None:
                spent = ledger(one for one in rows if one["round"] <= row["round"])
                points.setdefault(row["round"], []).append({"pass_rate": row["pass_rate"], **spent})
    return [
        {"round": index, **{name: float(np.mean([point[name] for point in found])) for name in found[0]}}
        for index, found in sorted(points.items())
    ]


def _nan_mean(values: Any) -> float:
    return float(np.nanmean(np.stack(list(values))))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
