"""Ports for servers that tests start, each given to one test process of the machine.

They lie below the range from which the system takes ports for outgoing connections, so nobody's connection
takes one between its choice and its use, and a lock file keeps it for as long as the test process lives: a
server may be killed and started again on it.
"""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 32_000
"""Linux takes outgoing ports from 32768 on."""

_held: list[int] = []
"""Descriptors of the lock files; closed by the system when the process ends, however it does."""


def reserve(count: int, *, apart: int = 1) -> list[int]:
    """Return free ports that no other test gets while this process lives.

    Args:
        apart: the distance between them
    """
    span = apart * (count - 1) + 1
    # Each process begins somewhere else, so that few meet another's locks.
    offset = os.getpid() * 101 % (LAST - FIRST)
    for step in range(LAST - FIRST):
        first = FIRST + (offset + step) % (LAST - FIRST)
        if first + span > LAST:
            continue
        ports = list(range(first, first + span, apart))
        if _take(ports):
            return ports
    raise RuntimeError(f"no {count} free ports between {FIRST} and {LAST}")


def _take(ports: list[int]) -> bool:
    taken = []
    for port in ports:
        descriptor = _lock(port)
        if descriptor is None:
            for each in taken:
                os.close(each)
            return False
        taken.append(descriptor)
    _held.extend(taken)
    return True


def _lock(port: int) -> int | None:
    """Return the held lock of a port on which nobody listens."""
    directory = Path(tempfile.gettempdir()) / "northwatch-test-ports"
    directory.mkdir(exist_ok=True)
    descriptor = os.open(directory / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("0.0.0.0", port))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
