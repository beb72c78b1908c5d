"""Runs commands on stand-ins for model and pool, each in a process of its own that a fault may hit at the n-th write.

Reads one JSON object a line (command, its options, the fault), answers one line: the exit code (negative: a signal) and
what was begun and kept. Programs and verdicts name everything that was asked of them, so that a mixture would show.
"""

import errno
import json
import os
import signal
import sys
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

warnings.simplefilter("ignore")

from pper_jax.errors import RunFailure, UserError  # noqa: E402
from pper_jax.files import check_output, dump_jsonl, jsonl, outputs, partial, write_atomic  # noqa: E402
from pper_jax.programs import testing, write  # noqa: E402
from pper_jax.tasks import Sample, Task, read_samples  # noqa: E402
from pper_jax.terminal import Interrupted, interruption  # noqa: E402

evaluate = import_module("pper_jax.programs.evaluate")
REAL_WRITE = outputs.write_bytes
LOG = 3


@dataclass(frozen=True)
class Method:
    num_samples: int
    max_new_tokens: int

    @property
    def programs_per_prompt(self):
        return self.num_samples


def tasks_of(asked):
    return [
        Task(f"t/{i}", "x", {"kind": "answer", "expected": f"version {asked['tests']}"}) for i in range(asked["tasks"])
    ]


def programs(task_id, asked):
    method = Method(asked["programs"], asked["tokens"])
    return [
        Sample(task_id, completion=f"{task_id} {rank} {method} seed {asked['seed']}", rank=rank, model="stand-in")
        for rank in range(method.num_samples)
    ]


def verdict(task, program, limits):
    tests = [{"detail": f"{task.tests['expected']} {limits} {program}"}]
    row = {"passed": 1, "total": 1, "pass_rate": 1.0, "status": "pass", "tests": tests}
    return SimpleNamespace(to_json=lambda: row)


def note(*words):
    os.write(LOG, (" ".join(words) + "\n").encode())


class Pool:
    compare, isolation, stop = "strict", "program", "all"
    statistics = SimpleNamespace(shared=0, from_cache=0)

    def __init__(self, asked):
        self.seconds = asked["timeout"]
        self.compare = f"strict, {self.seconds} s"

    def expect(self, programs):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def as_completed(self, jobs):
        for index in reversed(range(len(jobs))):
            job = jobs[index]
            note("begun", "verdict", job.program)
            task = SimpleNamespace(tests=job.tests)
            yield index, verdict(task, job.program, self.seconds)
            note("kept", "verdict", job.program)


def stand_in(asked):
    """Put the stand-ins in the place of decoding."""

    def decode(module, params, prompts, *, names, only, **options):
        for index in reversed(only):
            note("begun", "programs", names[index])
            yield index, []
            note("kept", "programs", names[index])

    write.decode_prompts = decode
    write.encode_prompts = lambda model, tasks: [[1] for _ in tasks]
    write.ends_of = lambda model, tasks: None
    write.sample_rows = lambda model, task, found: programs(task.task_id, asked)
    random = SimpleNamespace(key=lambda seed: seed, key_data=lambda key: SimpleNamespace(tolist=lambda: [key]))
    write.jax = evaluate.jax = SimpleNamespace(random=random)
    evaluate.figures = lambda *found: {}


def fault_at(number, kind):
    """From the ``number``-th write on (a kill: in the middle of it) nothing works any more."""
    count = 0

    def hit(fd, data):
        nonlocal count
        count += 1
        if number is None or count < number or kind == "kill late":
            return REAL_WRITE(fd, data)
        if kind == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
            return REAL_WRITE(fd, data)
        REAL_WRITE(fd, data[: len(data) // 2])
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for module in (outputs, partial, jsonl):
        module.write_bytes = hit
    real_replace, replaced = os.replace, 0

    def replace(*names):
        nonlocal replaced
        real_replace(*names)
        replaced += 1
        if kind == "kill late" and replaced == 1 + number % 2:  # an output took its place, its partial file stays
            os.kill(os.getpid(), signal.SIGKILL)

    outputs.os.replace = replace


def score(tasks, samples_path, out):
    """What `pper score` does with files."""
    check_output(out, [samples_path])
    write_atomic(out, dump_jsonl([{**s.to_json(), "logprob": -1.0} for s in read_samples(samples_path, tasks)]))


def obey(order):
    asked, folder = order["asked"], Path(order["folder"])
    stand_in(asked)
    tasks, out = tasks_of(asked), folder / order["command"]
    method, model = (
        Method(asked["programs"], asked["tokens"]),
        SimpleNamespace(name="stand-in", digest="d", module=None, params=None, mesh=None, profile=write.BASE),
    )
    given = folder / f"given-{asked['given']}"
    fault_at(order["at"], order["fault"])
    if order["command"] == "sample":
        evaluate.sample_file(model, tasks, out, method, batch_size=order["batch"], seed=asked["seed"])
    elif order["command"] == "test":
        testing.test_file(tasks, given, out, Pool(asked))
    elif order["command"] == "score":
        score(tasks, given, out)
    else:
        options = {"batch_size": order["batch"], "pool": Pool(asked), "seed": asked["seed"]}
        evaluate.evaluate(model, tasks, [1], "sample", method, out=out, **options)


def answer(order):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(writer, LOG)
            with interruption():
                obey(order)
            code = 0
        except Interrupted as error:
            code = error.code
        except UserError as error:
            note("refused", str(error).replace("\n", " "))
            code = 2
        except (RunFailure, OSError):
            code = 1
        except BaseException as error:
            note("broken", repr(error))
            code = 99
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader) as log:
        lines = log.read().splitlines()
    return {"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "log": lines}


if __name__ == "__main__":
    os.dup2(2, LOG)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
