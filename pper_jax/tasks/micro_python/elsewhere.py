"""Programs of another origin for micro_python's tasks, as a samples file: references, many with bugs in them.

They stand for what another model wrote, where none is at hand:
``python -m pper_jax.tasks.micro_python.elsewhere train:256:0 500 elsewhere-0.jsonl``
"""

from __future__ import annotations

import random
import sys
from itertools import cycle, islice

from pper_jax.errors import UserError
from pper_jax.files import check_output, dump_jsonl, write_atomic
from pper_jax.tasks.micro_python.generate import find_spec
from pper_jax.tasks.micro_python.mistakes import write_program
from pper_jax.tasks.samples import Sample
from pper_jax.tasks.sources import open_tasks

BUG_RATE = 0.5  # an operation is wrong in 15, 40 or 65 % of the programs, by its difficulty


def write_elsewhere(which: str, count: int, *, bug_rate: float = BUG_RATE) -> list[Sample]:
    """``count`` whole programs for the tasks ``SPLIT:COUNT:SEED``, round and round; pure.

    Raises:
        UserError: there are no such tasks.
    """
    rng, ranks, samples = random.Random(f"elsewhere {which}"), dict[str, int](), list[Sample]()
    for task in islice(cycle(open_tasks(f"micro_python:{which}")), count):
        program = task.prompt + write_program(find_spec(task), rng, bug_rate)
        rank = ranks[task.task_id] = ranks.get(task.task_id, -1) + 1
        samples.append(Sample(task.task_id, solution=program, rank=rank, model="elsewhere"))
    return samples


def main(argv: list[str]) -> str | None:
    """Write the file; returns what is wrong with ``argv``, which are ``SPLIT:COUNT:SEED``, how many, and where to."""
    if len(argv) != 3 or not argv[1].isdecimal() or not 0 < len(argv[1]) < 8:
        return "give SPLIT:COUNT:SEED, how many programs, and the file to write, as train:256:0 500 elsewhere.jsonl"
    try:
        check_output(argv[2])
        samples = write_elsewhere(argv[0], int(argv[1]))
        write_atomic(argv[2], dump_jsonl([sample.to_json() for sample in samples]))
    except UserError as error:
        return str(error)
    print(f"wrote {len(samples)} programs to {argv[2]}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
