"""A process that makes runs for a study, one after the other: it is told each by a line, and answers by a line.

``python -m pper_jax.study.worker CORES`` keeps what was imported and compiled from one run to the next. What a run
prints goes to its own log. When the study's own process ends, this one ends too, as if it had been told to.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

BUSY_S = 60.0  # to wait for a run that another process is about to leave


def make_run(told: dict[str, Any]) -> dict[str, Any]:
    """Make or resume one run; what it took, and why it failed where it did.

    Args:
        told: ``config``, plain data of a :class:`pper_jax.loop.config.RunConfig`; ``given``, files by their place.

    Returns:
        ``{"wall_s", "cpu_s", "reason"}``: seconds of wall clock and of CPU (this process and those that it waited for),
        and a sentence, or None where the run is finished.
    """
    from pper_jax.errors import RunFailure, UserError
    from pper_jax.files import wait_for_folder
    from pper_jax.loop import run
    from pper_jax.loop.config import RunConfig
    from pper_jax.settings import from_dict
    from pper_jax.terminal import Interrupted

    began, cpu, reason = time.monotonic(), _cpu_seconds(), None
    config = from_dict(RunConfig, told["config"])
    wait_for_folder(Path(config.out) / config.name, BUSY_S)  # its worker may have survived an earlier study's end
    try:
        run(config, given={place: Path(file) for place, file in told["given"].items()})
    except Interrupted:
        reason = "it was interrupted"
    except (UserError, RunFailure) as error:
        reason = str(error)
    except Exception as error:  # a fault of ours ends one run, and is in its log
        traceback.print_exc()
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no more is known'}"
    return {"wall_s": time.monotonic() - began, "cpu_s": _cpu_seconds() - cpu, "reason": reason}


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _listen(lines: queue.Queue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Answer lines until there are no more."""
    from pper_jax.terminal import interruption

    if hasattr(os, "sched_setaffinity"):  # macOS has none: there, workers share all cores
        os.sched_setaffinity(0, {int(core) for core in sys.argv[1].split(",")})
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    with interruption():
        while (line := lines.get()) is not None:
            told = json.loads(line)
            log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            answers.write(json.dumps(make_run(told)) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
