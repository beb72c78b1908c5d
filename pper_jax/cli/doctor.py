"""`pper doctor`: known-good and known-bad programs through the test pool, and what the machine offers."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

from pper_jax.execution import Job, Limits, TestPool
from pper_jax.execution.isolation import LAYERS, is_strong, missing_layers

# name, program, the verdicts that a sound pool may give
PROBES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("a right program", "def f(x):\n    return x + 1\n", ("pass",)),
    ("a wrong program", "def f(x):\n    return x - 1\n", ("fail",)),
    ("a syntax error", "def f(x)\n    return x + 1\n", ("error",)),
    ("an exception", "def f(x):\n    return x / 0\n", ("error",)),
    ("an endless loop", "def f(x):\n    while True:\n        pass\n", ("timeout",)),
    ("too much memory", "def f(x):\n    return len(bytearray(1 << 40))\n", ("memory", "error")),
    ("exit code 0", "import os\ndef f(x):\n    os._exit(0)\n", ("crash", "error")),
    ("a printed marker", "def f(x):\n    print('pass')\n    raise SystemExit(0)\n", ("crash", "error", "fail")),
    (
        "a kill of its parent",
        "import os\ndef f(x):\n    os.kill(os.getppid(), 9)\n",
        ("crash", "error", "fail", "timeout"),
    ),
    (
        "equality that lies",
        "class A:\n    def __eq__(s, o):\n        return True\ndef f(x):\n    return A()\n",
        ("fail", "error"),
    ),
)
TESTS = {"kind": "call", "fn_name": "f", "cases": [{"args": [1], "expected": 2}]}


def check_pool(workers: int = 2) -> list[tuple[str, str, bool]]:
    """Run the probes; returns ``(name, status, sound)`` for each."""
    jobs = [Job(program=program, tests=TESTS) for _, program, _ in PROBES]
    with TestPool(workers=workers, limits=Limits(timeout_s=2.0, memory_mb=512)) as pool:
        verdicts = pool.run(jobs)
    return [
        (name, verdict.status, verdict.status in accepted)
        for (name, _, accepted), verdict in zip(PROBES, verdicts, strict=True)
    ]


def walls_text(workers: int = 1) -> str:
    """Which layers of isolation stand around programs here, and for each missing one what it would keep out."""
    with TestPool(workers=workers) as pool:
        pool.run([Job(program=PROBES[0][1], tests=TESTS)])
        walls = pool.walls or ()
    missing = missing_layers(walls)
    standing = [name for name in LAYERS if name not in missing]
    word = "strong" if is_strong(walls) else "NOT strong: test only programs that you trust"
    lines = [f"isolation around programs is {word} (it stands on {', '.join(standing) or 'limits of resources alone'})"]
    lines += [f"  missing layer {name}: {LAYERS[name]}" for name in missing]
    return "\n".join([*lines, *([] if missing else ["  no layer is missing"])])


def describe_machine() -> list[str]:
    """Versions, devices and memory, a line each."""
    import jax

    devices = jax.devices()
    lines = [
        f"python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        f"jax {jax.__version__}, backend {jax.default_backend()}: {len(devices)} x {devices[0].device_kind}",
    ]
    stats: dict[str, Any] | None = devices[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats and "bytes_limit" in stats:
        lines.append(f"device memory {stats['bytes_limit'] / 2**30:.1f} GiB each")
    return lines


def doctor() -> bool:
    """Print the examination; returns whether everything is sound."""
    for line in describe_machine():
        print(line)
    print(walls_text())
    results = check_pool()
    for name, status, sound in results:
        print(f"  {'ok ' if sound else 'BAD'}  {name:24} -> {status}")
    bad = [name for name, _, sound in results if not sound]
    print("the test pool is sound" if not bad else f"the test pool is NOT sound: {', '.join(bad)}", file=sys.stdout)
    return not bad
