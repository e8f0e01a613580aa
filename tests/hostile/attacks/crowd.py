"""Thousands of invented terminals, each with every alarm there is."""

from tests.hostile import wire
from tests.hostile.attack import Target

IDENTITIES = 2_000
CHUNK = 100


def attack(target: Target) -> str:
    """Send one report of each over one link, which is answered; none of them is on the desk."""
    told = flood(target, "1371")
    target.watch.come_to_rest()
    picture = target.service.api("/live")
    assert not [each for each in picture["alarms"] if each["terminal"]["identity"].startswith("1371")]
    assert not [each for each in picture["states"] if each["identity"].startswith("1371")]
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
