"""TCP urgent data between the frames of a terminal, so that reads stop short."""

import socket

from tests.hostile import wire
from tests.hostile.attack import Target

TERMINALS = 20


def attack(target: Target) -> str:
    """Send an urgent flag between two heartbeats: both are answered."""
    for number in range(TERMINALS * (20 if target.is_long else 1)):
        terminal = f"1371000{number:04}"
        with target.connect() as link:
            link.send(wire.frame(terminal, 0x0002, serial=1))
            link.socket.send(b"\x7e", socket.MSG_OOB)
            link.send(wire.frame(terminal, 0x0002, serial=2))
            serials = [serial for _, serial, _, _ in link.answers(2)]
            assert serials == [1, 2], f"what stands behind urgent data is not read: {serials}"
    return f"{TERMINALS} links, one byte each"
