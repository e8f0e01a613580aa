"""Strangers on many links with the smallest messages that are read one by one."""

import contextlib
import socket
import time

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.link import Link

LINKS = 100
SMALLEST = ((0x0004, b""), (0x0001, bytes(5)), (0x0102, b"x"), (0x0801, bytes(4)))
FRAMES = 600
"""Of one link at once: more than its share of a turn."""
SECONDS = 2.0


def attack(target: Target) -> str:
    """Send on every link as much as it takes, over and over; answers are thrown away."""
    links: list[Link] = []
    pieces: list[bytes] = []
    rests: list[bytes] = []
    try:
        for number in range(LINKS):
            msg_id, body = SMALLEST[number % len(SMALLEST)]
            frames = [wire.frame(f"1371000{number:04}", msg_id, body, n) for n in range(FRAMES)]
            pieces.append(b"".join(frames))
            rests.append(pieces[-1])
            links.append(target.connect(source=f"127.0.1.{number % 50 + 1}"))
            links[-1].socket.setblocking(False)
        sent, until = 0, time.monotonic() + SECONDS * (15 if target.is_long else 1)
        while time.monotonic() < until:
            for number, link in enumerate(links):
                taken = _exchange(link.socket, rests[number])
                sent += taken
                rests[number] = rests[number][taken:] or pieces[number]
    finally:
        for link in links:
            link.close()
    return f"{sent:,} bytes on {LINKS} links"


def _exchange(own: socket.socket, data: bytes) -> int:
    """Take what there is, and return how much of `data` could be sent."""
    with contextlib.suppress(OSError):
        own.recv(1 << 18)
    try:
        return own.send(data)
    except OSError:
        return 0
