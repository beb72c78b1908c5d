"""Several processes, on one machine or many, that work on one run (``jax.distributed``).

Every process starts the same command. The mesh goes over the devices of all; the train step, the loss and the replay
buffer are one computation on it. Programs are written and tested by shares: each process decodes its own tasks on its
own devices and tests them with its own pool, then all get the rows of all. Process 0 alone writes what the run folder
holds (but for checkpoints, of which each writes its part), so the folder must be one that all of them see.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax.errors import RunFailure, UserError
from pper_jax.execution.shard import shard
from pper_jax.files import dump_jsonl, read_jsonl, write_atomic
from pper_jax.loop.lifeline import ADVICE, Lifeline, accept, connect, listen, tell
from pper_jax.loop.processes import DistributedSection
from pper_jax.sharding import AXES, make_mesh
from pper_jax.tasks import Sample, Task
from pper_jax.terminal import Interrupted, check_interrupted, end_now, interrupted
from pper_jax.types import Params

GRACE_S = 60
SHUTDOWN_S = 5  # for the others to leave too; at the end of a run they stand at the same place
PATIENCE_S = 10.0  # for the lifeline to say which process broke a collective


@dataclass(frozen=True)
class Team:
    """The processes of a run, seen from process ``index`` of ``count``."""

    index: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    def gather(self, rows: Any) -> list[Any]:
        """What every process gave (plain data), in their order, on all of them."""
        if self.count == 1:
            return [rows]
        data = np.frombuffer(json.dumps(rows).encode(), np.uint8)
        sizes = np.asarray(multihost_utils.process_allgather(np.int64(data.size).astype(np.int32)))
        padded = np.zeros(int(sizes.max()), np.uint8)
        padded[: data.size] = data
        every = np.asarray(multihost_utils.process_allgather(padded))
        return [json.loads(row[:size].tobytes()) for row, size in zip(every, sizes, strict=True)]

    def first_says(self, value: Any) -> Any:
        """What process 0 gave (plain data), on all of them; the others wait for it."""
        return self.gather(value if self.leads else None)[0]

    def mesh(self, mesh: Mesh) -> Mesh | None:
        """The devices that this process decodes on: its own, with the mesh's tp where they are enough; None for one."""
        if self.count == 1:
            return mesh if mesh.size > 1 else None
        own, tp = jax.local_devices(), mesh.shape["tp"]
        return make_mesh(-1, 1, tp if len(own) % tp == 0 else 1, devices=own) if len(own) > 1 else None

    def check(self, mesh: Mesh) -> Callable[[], None]:
        """What ends work that all do together on ``mesh``, between two units of it: for one process its own signal."""
        return check_interrupted if self.count == 1 else Bell(mesh)

    def params(self, params: Params) -> Params:
        """Global parameters as this process can decode with them: whole, on a device of its own."""
        if self.count == 1:
            return params
        mesh = jax.tree.leaves(params)[0].sharding.mesh
        whole = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))(params)
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), whole)


class Agreed(Interrupted):
    """A process of the run was told to end, and all end at the same place."""


class Bell:
    """Called by all processes after each unit of work that they do together; raises :class:`Agreed` in all of them
    after the same unit, once one was told to end.

    The question goes to the devices of ``mesh`` behind the work in hand and is answered one call later, so that nothing
    waits for the newest unit.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._each = NamedSharding(mesh, PartitionSpec(AXES))
        self._highest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._asked: jax.Array | None = None

    def __call__(self) -> None:
        """Ask whether any process was told to end, and obey the answer to the call before."""
        own, before = interrupted() or 0, self._asked
        codes = jax.make_array_from_callback((self._each.mesh.size,), self._each, lambda _: np.full(1, own, np.int32))
        self._asked = self._highest(codes)
        if before is not None and (code := int(before)):
            raise Agreed(code)


@contextmanager
def joined(options: DistributedSection) -> Iterator[Team]:
    """Join the other processes of the run, which must be done before JAX is used; leave them at the end.

    Where all are told to end at the same place they leave as they do at the end, when each has kept its part.

    Raises:
        RunFailure: they cannot be reached.
    """
    if not options.auto and options.coordinator is None:
        yield Team()
        return
    team, lifeline = _join(options)
    told: Agreed | None = None
    try:
        try:
            yield team
        except Agreed as error:
            told = error
        multihost_utils.sync_global_devices("the end of the run")
    except BaseException as error:
        if _broken(error):
            time.sleep(PATIENCE_S)  # the lifeline knows who is gone, says so, and ends this process
        lifeline.fail(_why(team, error), error.code if isinstance(error, Interrupted) else 1)
        code = 2 if isinstance(error, UserError) else 1
        atexit.register(_leave, error.code if isinstance(error, Interrupted) else code)
        raise
    lifeline.finish()
    jax.distributed.shutdown()
    if told is not None:
        if interrupted() is None:
            tell(f"this process ends because another process of the run was told to end; {ADVICE}")
        raise told


def _join(options: DistributedSection) -> tuple[Team, Lifeline]:
    where = "the address that the environment names" if options.auto else f"the coordinator {options.coordinator}"
    lost = (
        f"the processes of the run did not find each other within {options.timeout_s} s at {where}; start the same "
        "command for every process, and see that process 0 can be reached there"
    )
    # JAX would end the process with a stack trace, so it is given more time than we take.
    watch = threading.Timer(options.timeout_s, _give_up, [lost])
    watch.daemon = True
    watch.start()
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is heard by pper_jax.terminal
    try:
        jax.distributed.initialize(
            options.coordinator,
            options.num_processes,
            options.process_id,
            initialization_timeout=options.timeout_s + GRACE_S,
            shutdown_timeout_seconds=SHUTDOWN_S,
        )
        team = Team(jax.process_index(), jax.process_count())
        host = str(options.coordinator).rpartition(":")[0].strip("[]") if options.coordinator else None
        return team, Lifeline(_peers(team, host, options.timeout_s))
    except (RuntimeError, ValueError, OSError) as error:
        raise RunFailure(f"{lost} ({' '.join(str(error).split())[:200]})") from None
    finally:
        watch.cancel()


def _give_up(sentence: str) -> None:
    tell(sentence)
    end_now(1)


def _leave(code: int) -> None:
    """End the process at its exit, before JAX would wait there for the others, which are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _peers(team: Team, host: str | None, timeout_s: float) -> dict[int, socket.socket]:
    own = host or socket.gethostbyname(socket.gethostname())
    server, port = listen(own) if team.leads else (None, 0)
    host, port = team.first_says([own, port])
    if server is not None:
        return accept(server, team.count - 1, timeout_s)
    return connect(host, port, team.index, timeout_s)


def _why(team: Team, error: BaseException) -> str:
    """The reason that the others give for ending."""
    if isinstance(error, Interrupted):
        return f"process {team.index} of the run was told to end; {ADVICE}"
    if isinstance(error, (UserError, RunFailure)):
        return f"process {team.index} of the run ended: {error}"
    return f"process {team.index} of the run failed ({type(error).__name__}: {error})"


def _broken(error: BaseException) -> bool:
    """Whether a collective failed, as it does when another process is gone."""
    text = str(error).lower()
    return isinstance(error, (jax.errors.JaxRuntimeError, ValueError)) and any(
        word in text for word in ("gloo", "connection", "peer", "coordination", "unavailable", "nccl")
    )


def share_of(team: Team, path: Path) -> Path:
    """Where a process keeps its share of the rows of ``path`` until all have theirs."""
    return path.with_name(f"{path.name}.share-{team.index + 1}-of-{team.count}")


def _whole(team: Team, path: Path, make: Callable[[Path], list[dict[str, Any]]], order: Callable[[Any], int]) -> Any:
    """The rows of ``path``: what stands there, or what ``make`` gives on every process, in order, written by the first.

    ``make`` is given where the process may keep its own share meanwhile.
    """
    if team.first_says(path.exists()):
        return team.first_says(read_jsonl(path) if team.leads else None)
    share = share_of(team, path)
    rows = sorted((row for rows in team.gather(make(share)) for row in rows), key=order)
    if team.leads:
        write_atomic(path, dump_jsonl(rows))
        for old in path.parent.glob(f"{path.name}.share-*"):  # of other numbers of processes too
            old.unlink(missing_ok=True)
    return rows


def programs_of(
    team: Team, tasks: Sequence[Task], path: Path, write: Callable[[Sequence[Task], Path], list[Sample]]
) -> list[Sample]:
    """Programs of all ``tasks``, in their order, in ``path``: each process has ``write`` do those of its own share."""
    if team.count == 1:
        return write(tasks, path)
    place = {task.task_id: i for i, task in enumerate(tasks)}

    def own(share: Path) -> list[dict[str, Any]]:
        mine = [task for _, task in shard(tasks, team.index, team.count)]
        return [sample.to_json() for sample in write(mine, share)] if mine else []

    rows = _whole(team, path, own, lambda row: place[row["task_id"]])
    return [Sample.from_json(row, f"{path}, a row") for row in rows]


def programs_of_the_first(team: Team, write: Callable[[], list[Sample]]) -> list[Sample]:
    """Programs of a source that knows no shares: process 0 has it ``write`` them, and all get them."""
    rows = team.first_says([sample.to_json() for sample in write()] if team.leads else None)
    return [Sample.from_json(row, "a row of process 0") for row in rows]


def verdicts_of(
    team: Team,
    samples: Sequence[Sample],
    path: Path,
    test: Callable[[Sequence[Sample], Path], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Verdicts on all ``samples``, in their order, in ``path``: each process has ``test`` do those of its own share."""
    if team.count == 1:
        return test(samples, path)

    def own(share: Path) -> list[dict[str, Any]]:
        mine = shard(samples, team.index, team.count, together=lambda sample: sample.task_id)
        rows = test([sample for _, sample in mine], share) if mine else []
        return [{**row, "sample": place} for (place, _), row in zip(mine, rows, strict=True)]

    rows: list[dict[str, Any]] = _whole(team, path, own, lambda row: row["sample"])
    return rows
