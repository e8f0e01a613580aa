"""Thousands of invented terminals, each with every alarm there is."""

from tests.hostile import wire
from tests.hostile.attack import Target

IDENTITIES = 2_000
CHUNK = 100


def attack(target: Target) -> str:
    """Send one report of each over one link."""
    identities = IDENTITIES * (10 if target.is_long else 1)
    sent = 0
    with target.connect() as link:
        for begin in range(0, identities, CHUNK):
            data = b"".join(
                wire.frame(f"{137100000000 + n:012}", 0x0200, wire.location(alarm_bits=0xFFFF_FFFF), serial=n)
                for n in range(begin, begin + CHUNK)
            )
            link.send(data)
            link.answers(CHUNK)
            sent += len(data)
    return f"{identities:,} identities, {sent:,} bytes"
