"""Thousands of invented terminals, each with every alarm there is."""

from tests.hostile import wire
from tests.hostile.attack import Target

IDENTITIES = 2_000
CHUNK = 100
MOST_ALARMS = 100
"""So many of strangers' alarms the live picture may have; it shows the newest 50."""


def attack(target: Target) -> str:
    """Send one report of each over one link, which is answered; the desk stays readable."""
    told = flood(target, "1371")
    alarms = target.service.api("/live")["alarms"]
    assert sum(each["stranger"] for each in alarms) <= MOST_ALARMS
    return told


def flood(target: Target, prefix: str) -> str:
    """Send one report of each terminal whose number begins so."""
    identities = IDENTITIES * (5 if target.is_long else 1)  # the lobby has room for twice as many
    sent = answered = 0
    with target.connect() as link:
        for begin in range(0, identities, CHUNK):
            data = b"".join(
                wire.frame(f"{prefix}{n:08}", 0x0200, wire.location(alarm_bits=0xFFFF_FFFF), serial=n)
                for n in range(begin, begin + CHUNK)
            )
            link.send(data)
            answered += len(link.answers(CHUNK))
            sent += len(data)
    assert answered == identities
    return f"{identities:,} identities, {sent:,} bytes"
