"""What verdicts amount to: pass@k, pass rate and accuracy, in all, by difficulty and by source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pper_jax import evaluation
from pper_jax.tasks import Task


def count_statuses(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many programs got each verdict."""
    return dict(Counter(row["status"] for row in rows))


def summarise_verdicts(rows: Sequence[dict[str, Any]], tasks: Sequence[Task] = ()) -> str:
    """One line: programs, how many pass, mean pass rate (of those that could be judged), kinds of verdicts.

    With the ``tasks`` that programs were asked for, it also says how many of them have none.
    """
    judged = [row["pass_rate"] for row in rows if row["status"] != "infrastructure"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(count_statuses(rows).items(), key=lambda kv: -kv[1]))
    rate = f"{100 * np.mean(judged):.1f} %" if judged else "unknown"
    lost = len(rows) - len(judged)
    left_out = f" of the {len(judged)} that could be judged" if lost and judged else ""
    without = len({task.task_id for task in tasks} - {row["task_id"] for row in rows})
    unanswered = f"; {without} of {len(tasks)} tasks have no program" if without else ""
    return f"{len(rows)} programs: {kinds}; mean pass rate {rate}{left_out}{unanswered}"


def groups_of(tasks: Iterable[Task]) -> dict[str, dict[str, list[str]]]:
    """Task ids by label, for ``by_difficulty`` and ``by_source``; tasks without a label are in no group of a kind."""
    tasks = list(tasks)
    kinds = {"by_difficulty": "difficulty", "by_source": "source"}
    labels = {
        kind: sorted({getattr(task, name) for task in tasks if getattr(task, name)}) for kind, name in kinds.items()
    }
    return {
        kind: {label: [task.task_id for task in tasks if getattr(task, name) == label] for label in labels[kind]}
        for kind, name in kinds.items()
    }


def figures(
    tasks: Sequence[Task], rows: Sequence[dict[str, Any]], ks: Sequence[int], method: str, seed: int
) -> dict[str, Any]:
    """pass@k, pass rate and accuracy of verdict rows with 95 % intervals, in all, by difficulty and by source.

    ``tasks`` of each is how many the figures speak for: those without a program have failed (``unanswered``), those
    whose answer could not be judged are left out (``not_judged``). ``answer`` says what the answer to a task is:
    programs drawn by ``method`` ``sample`` all count alike; otherwise it is the first program, ``pass@k`` says whether
    one of the first k passes, and ``mean_of_programs`` holds the figures of all of them.
    """
    found = evaluation.outcomes([task.task_id for task in tasks], rows)
    return {
        "method": method,
        "answer": evaluation.answer_name(method),
        "programs": len(rows),
        "statuses": count_statuses(rows),
        "all": _figures_of(list(found.values()), ks, method, seed),
        **{
            kind: {label: _figures_of([found[name] for name in names], ks, method, seed) for label, names in by.items()}
            for kind, by in groups_of(tasks).items()
        },
    }


def _figures_of(found: Sequence[evaluation.Outcome], ks: Sequence[int], method: str, seed: int) -> dict[str, Any]:
    rates, solved = evaluation.answers(found, method)
    result = evaluation.summarise(rates, seed=seed, solved=solved)
    for k in ks:
        values = np.array([outcome.at(k, method) for outcome in found])
        known = values[~np.isnan(values)]
        result |= {**evaluation.figure(f"pass@{k}", known, seed), f"pass@{k}_tasks": len(known)}
    if evaluation.answer_name(method) == "best beam" and any(len(outcome.rates) > 1 for outcome in found):
        rates_of_all, solved_of_all = evaluation.answers(found, evaluation.SAMPLED)
        result["mean_of_programs"] = evaluation.summarise(rates_of_all, seed=seed, solved=solved_of_all)
    result["unanswered"] = sum(not outcome.rates for outcome in found)
    result["not_judged"] = int(np.isnan(rates).sum())
    return result


def print_figures(result: dict[str, Any], ks: Sequence[int]) -> None:
    """A table of the figures, percent, with 95 % intervals, and which tasks they do not speak for."""
    names = ["pass_rate", "accuracy", *(f"pass@{k}" for k in ks)]
    total, sources = result["all"], result.get("by_source", {})
    rows = [("all", total), *result["by_difficulty"].items(), *(sources.items() if len(sources) > 1 else ())]
    if "mean_of_programs" in total:
        rows.append(("all, mean of the beams", total["mean_of_programs"]))
    width = max(len(name) for name, _ in rows)
    print(f"{'':{width}}  {'tasks':>5}  " + "  ".join(f"{name.replace('_', ' '):>20}" for name in names))
    for name, row in rows:
        print(f"{name:{width}}  {row['tasks']:>5}  " + "  ".join(_with_interval(row, key).rjust(20) for key in names))
    print(f"an answer is the {result['answer']}; percent, with 95 % intervals over tasks")
    if total["unanswered"]:
        print(f"{total['unanswered']} of {total['tasks']} tasks have no program, which counts as failed")
    asked = total["tasks"] + total["not_judged"]
    if total["not_judged"]:
        print(f"{total['tasks']} of {asked} tasks could be judged; the others are left out, by no fault of theirs")
    for k in ks:
        if (known := total[f"pass@{k}_tasks"]) < total["tasks"]:
            print(f"pass@{k} speaks for {known} of {asked} tasks: of the others too few programs could be judged")


def _with_interval(row: Mapping[str, Any], key: str) -> str:
    if row.get(key) is None:
        return "-" if key.startswith("pass@") else "unknown"
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return f"{percent(row[key])} [{percent(low)}, {percent(high)}]"


def percent(value: float) -> str:
    """0.1234 -> "12.3"."""
    return f"{100 * value:.1f}"
