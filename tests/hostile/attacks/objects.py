"""Many registered identities on one link speed in another area with every report."""

from tests.hostile import wire
from tests.hostile.attack import Target

IDENTITIES = 30
REPORTS = 100
MAX_ALARMS_OF_EACH = 40
"""On the desk afterwards: one for each of the places that are followed in a minute, and it lasts no longer
than two."""


def attack(target: Target) -> str:
    """Register them all, then let each name a new place in turn, as fast as the link takes it."""
    identities = [f"137300{n:05}" for n in range(IDENTITIES * (10 if target.is_long else 1))]
    reports = REPORTS * (5 if target.is_long else 1)
    sent = 0
    with target.connect() as link:
        for identity in identities:
            link.sign_in(identity, f"辽J{identity[-5:]}")
        for number in range(reports):
            place = b"\x11\x05\x01" + number.to_bytes(4, "big")
            body = wire.location(alarm_bits=0b10, lat=30 + number / 1e5) + place
            data = b"".join(wire.frame(identity, 0x0200, body, number) for identity in identities)
            link.send(data)
            link.answers(len(identities))
            sent += len(data)
    target.watch.come_to_rest()
    (alarms,) = target.service.row(
        "SELECT count(*) FROM alarms a JOIN terminals t ON t.id = a.terminal_id WHERE identity = ANY(%s)",
        identities,
    )
    assert 0 < alarms <= MAX_ALARMS_OF_EACH * len(identities), f"{alarms:,} alarms"
    return f"{len(identities)} identities, {sent:,} bytes, {alarms:,} alarms"
