"""Garbage, half frames, frames with wrong checksums and unknown ids, over many links."""

import random

from tests.hostile import wire
from tests.hostile.attack import Target

LINKS = 20
SEED = 8


def attack(target: Target) -> str:
    """Send garbage over every link until the service closes it."""
    chance, sent = random.Random(SEED), 0
    for number in range(LINKS * (10 if target.is_long else 1)):
        sound = wire.frame(f"1370000{number:04}", 0x0002, serial=number)
        pieces = (
            chance.randbytes(70_000),
            sound[:-2] + bytes([sound[-2] ^ 1]) + b"\x7e",
            b"\x7e" * 5_000,
            wire.frame(f"1370000{number:04}", 0x0FFF, chance.randbytes(300)),
        )
        with target.connect() as link:
            try:
                for piece in pieces:
                    link.send(piece)
                    sent += len(piece)
            except OSError:
                continue  # it is closed, as it should be
    return f"{sent:,} bytes"
