"""Floods of the smallest messages of every kind that is read one by one, media and registrations too."""

from concurrent.futures import ThreadPoolExecutor

from tests.hostile import wire
from tests.hostile.attack import Target

IDS = (0x0001, 0x0100, 0x0104, 0x0201, 0x0301, 0x0500, 0x0700, 0x0702, 0x0801, 0x0900, 0x0FFE)
BODIES = (b"\x01", bytes(8), bytes(28))
BURST = 1_000
"""Messages in one piece, answered before the next is sent."""


def attack(target: Target) -> str:
    """Have an authenticated terminal for each id say it as fast as it is answered."""
    bursts = 20 if target.is_long else 1

    def flood(number: int) -> int:
        terminal, sent = f"1310000{number:04}", 0
        with target.connect() as link:
            link.sign_in(terminal, f"辽B{number:05}")
            for burst in range(bursts):
                body = BODIES[burst % len(BODIES)]
                frames = [
                    wire.frame(terminal, IDS[number], body + bytes([n & 0x7F]), n) for n in range(BURST)
                ]
                link.send(b"".join(frames))
                sent += len(frames)
                link.answers(len(frames), 5.0)
        return sent

    with ThreadPoolExecutor(len(IDS)) as pool:
        sent = sum(pool.map(flood, range(len(IDS))))
    return f"{sent:,} messages of {len(IDS)} terminals"
