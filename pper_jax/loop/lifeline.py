"""The processes of a run hold each other by sockets: when one ends before the run does, the others say so and end.

Process 0 listens and every other process is connected to it. A line of text through a connection is why a process ends,
behind the exit code that the others then have; a connection that breaks without one is a process that died. Process 0
passes on what it hears. Without this the others would wait for the dead one in their next collective, for minutes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable

from pper_jax.terminal import end_now

DONE = b"\n"  # an empty line: the run is over
ADVICE = "the same command, started for every process, goes on from the last checkpoint"


class Lifeline:
    """One process's end of it: ``peers`` are the connections, by the number of the process at their other end."""

    def __init__(self, peers: dict[int, socket.socket], end: Callable[[int], None] = end_now) -> None:
        self._peers, self._end = peers, end
        self._over = False
        self._lock = threading.Lock()
        for index, peer in peers.items():
            threading.Thread(target=self._listen, args=(index, peer), daemon=True).start()

    def finish(self) -> None:
        """The run is over: from here on a process may go without a word."""
        self._over = True
        self._tell(DONE)

    def fail(self, reason: str, code: int = 1) -> None:
        """Tell the others why this process ends before the run is over, and which exit code that means for them."""
        self._over = True
        self._tell(f"{code} {' '.join(reason.split())}".encode()[:2000] + b"\n")

    def _tell(self, line: bytes) -> None:
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.sendall(line)

    def _listen(self, index: int, peer: socket.socket) -> None:
        line = b""
        with contextlib.suppress(OSError):
            while not line.endswith(b"\n") and (data := peer.recv(4096)):
                line += data
        if line == DONE:
            return
        with self._lock:
            if self._over:
                return
            self._over = True
        said = line.decode(errors="replace").strip()
        code, _, reason = (
            said or f"1 process {index} of the run died or cannot be reached any more; {ADVICE}"
        ).partition(" ")
        self._tell(f"{code} {reason}\n".encode())  # to the others, where this is process 0
        tell(f"this process ends because {reason}")
        self._end(int(code) if code.isdecimal() else 1)


def tell(sentence: str) -> None:
    """A last line, from whatever thread."""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"pper: {sentence}\n".encode())


def listen(host: str) -> tuple[socket.socket, int]:
    """Process 0's socket, and its port; ``host`` decides between IPv4 and IPv6."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server(("", 0), family=family)
    return server, server.getsockname()[1]


def accept(server: socket.socket, others: int, timeout_s: float) -> dict[int, socket.socket]:
    """Wait for the ``others``; each says its number first. Raises OSError where one does not come."""
    peers: dict[int, socket.socket] = {}
    server.settimeout(timeout_s)
    while len(peers) < others:
        peer, _ = server.accept()
        peer.settimeout(timeout_s)
        number = peer.recv(4, socket.MSG_WAITALL)
        peer.settimeout(None)
        peers[int.from_bytes(number, "big")] = peer
    server.close()
    return peers


def connect(host: str, port: int, index: int, timeout_s: float) -> dict[int, socket.socket]:
    """The connection of process ``index`` to process 0. Raises OSError where it is not reached."""
    peer = socket.create_connection((host, port), timeout_s)
    peer.settimeout(None)
    peer.sendall(index.to_bytes(4, "big"))
    return {0: peer}
