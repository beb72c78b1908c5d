"""A crew that makes up runs: the files that a study reads of a finished run, without a model."""

import random

from pper_jax.files import RunFolder, append_jsonl, write_atomic, write_json
from pper_jax.loop.config import RunConfig
from pper_jax.settings import from_dict
from pper_jax.tasks import read_tasks


class Fabricator:
    """Runs whose held-out pass rate rises by ``gains[arm]``; arms in ``fails`` fail, with that reason."""

    def __init__(self, gains, *, fails=None, tokens=None, programs=None, idle=()):
        self.gains, self.fails, self.tokens, self.idle = gains, fails or {}, tokens or {}, idle
        self.programs = programs or {}
        self.told = []

    def work(self, tasks):
        for index, task in enumerate(tasks):
            config = from_dict(RunConfig, task["config"])
            arm = config.name.rpartition("-")[0]
            self.told.append(task)
            reason = self.fails.get(arm)
            if reason is None:
                self.make(config, arm, task["given"])
            yield index, {"wall_s": 2.0, "cpu_s": 1.0, "reason": reason}

    def make(self, config, arm, given):
        folder = RunFolder(config_path(config))
        for kind in ("samples", "verdicts", "model"):
            (folder.path / kind).mkdir(parents=True, exist_ok=True)
        write_atomic(folder.config, "{}\n")
        rows = []
        for index in range(1, config.rounds + 1):
            tokens = self.tokens.get(arm, 1000)
            rows.append({"event": "sample", "round": index, "programs": 40, "tokens": tokens, "seconds": 1.0})
            rows.append({"event": "phase", "round": index, "phase": "test", "seconds": 0.5})
            rows.append(
                {
                    "event": "test",
                    "round": index,
                    "programs": self.programs.get(arm, 40),
                    "pass_rate": 0.5,
                    "seconds": 0.5,
                }
            )
            rows.append({"event": "replay", "round": index, "effective_sample_size": 0.5})
            if arm in self.idle:
                rows.append({"event": "nothing_to_learn", "round": index, "reason": "the replay buffer is empty"})
            else:
                rows.append({"event": "train", "round": index, "step": 1, "loss": 1.0, "tokens": 500})
            name = f"round_{index:03d}"
            append_jsonl(folder.samples(name), [{"task_id": f"t{i % 4}", "completion": f"{i % 8}"} for i in range(40)])
            append_jsonl(folder.verdicts(name), [verdict(f"t{i % 4}", i % 3 / 2) for i in range(40)])
        for name, spec in config.tasks.eval.items():
            tasks = [task.task_id for task in read_tasks(spec.source)]
            for index in sorted({0, config.rounds}):
                gain = self.gains.get(arm, 0.0) if index else 0.0
                rates = {task: rate(task, config.seed if index else 0, gain) for task in tasks}
                append_jsonl(folder.verdicts(f"eval_{index:03d}_{name}"), [verdict(*pair) for pair in rates.items()])
                append_jsonl(folder.samples(f"eval_{index:03d}_{name}"), [{"task_id": task} for task in tasks])
                mean = sum(rates.values()) / len(rates)
                rows.append({"event": "eval", "round": index, "split": name, "pass_rate": mean})
        append_jsonl(folder.metrics, rows)
        write_json(folder.model / "config.json", {})
        write_json(folder.replayed, {})
        write_json(folder.summary, {"rounds": config.rounds})


def config_path(config):
    from pathlib import Path

    return Path(config.out) / config.name


def verdict(task, rate):
    return {"task_id": task, "rank": 0, "status": "passed" if rate == 1 else "failed", "pass_rate": rate}


def rate(task, seed, gain):
    base = random.Random(f"{task}").random() * 0.6
    noise = random.Random(f"{task} {seed}").choice((-0.05, 0.0, 0.05))
    return min(1.0, max(0.0, base + noise + gain))
