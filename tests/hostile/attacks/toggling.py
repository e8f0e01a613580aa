"""One terminal sets and clears every bit of its alarm word in turn."""

from tests.hostile import wire
from tests.hostile.attack import Target

TERMINAL, PLATE = "13700008001", "辽H80001"
REPORTS = 2_000
CHUNK = 100


def attack(target: Target) -> str:
    """Send it all as fast as the link takes it."""
    reports = REPORTS * (10 if target.is_long else 1)
    with target.connect() as link:
        link.sign_in(TERMINAL, PLATE)
        sent = 0
        for begin in range(0, reports, CHUNK):
            data = b"".join(
                wire.frame(
                    TERMINAL,
                    0x0200,
                    wire.location(alarm_bits=0 if n % 2 else 0xFFFF_FFFF, lat=30 + n / 1e5),
                    serial=n,
                )
                for n in range(begin, begin + CHUNK)
            )
            link.send(data)
            link.answers(CHUNK)
            sent += len(data)
    return f"{sent:,} bytes"
