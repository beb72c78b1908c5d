"""Which processes work on a run: options of ``loop.distributed``."""

from __future__ import annotations

from dataclasses import dataclass

from pper_jax.errors import UserError, shown
from pper_jax.ranges import check_number

MOST_PROCESSES, DAY_S = 1 << 16, 86_400


@dataclass(frozen=True)
class DistributedSection:
    """Processes that work on one run; by default there is one.

    ``coordinator: HOST:PORT`` (of process 0), ``num_processes`` and ``process_id`` name them; ``auto: true`` asks the
    environment instead (Slurm, TPU pods, Open MPI). ``timeout_s``: how long they wait for each other at the start.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    auto: bool = False
    timeout_s: int = 300

    def __post_init__(self) -> None:
        named = {name: getattr(self, name) for name in ("coordinator", "num_processes", "process_id")}
        check_number("timeout_s", self.timeout_s, least=1, most=DAY_S, whole=True)
        missing = [name for name, value in named.items() if value is None]
        if self.auto and len(missing) < 3:
            raise UserError(f"auto finds {', '.join(named)} itself; give either auto or those three")
        if 0 < len(missing) < 3:
            raise UserError(f"{missing[0]} is missing; processes need {', '.join(named)}, all three, or auto")
        if missing:
            return
        host, _, port = str(self.coordinator).rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UserError(f"coordinator is {shown(self.coordinator)}; write it as HOST:PORT, such as 10.0.0.1:8476")
        check_number("num_processes", self.num_processes, least=1, most=MOST_PROCESSES, whole=True)
        check_number("process_id", self.process_id, least=0, below=self.num_processes, whole=True)
