"""Reports and heartbeats forged for a terminal that speaks, over TCP and by single datagrams."""

import socket
from datetime import UTC, datetime, timedelta

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.watch import HONEST
from tests.ports import reserve

(UDP_PORT,) = reserve(1)
SETTINGS = {"GATEWAY__UDP_PORT": str(UDP_PORT)}
REPORTS = 50
FORGED_LAT = 5.0
"""Nobody honest is there."""


def attack(target: Target) -> str:
    """Send reports of another place, some of five minutes from now, each with an emergency."""
    ahead = datetime.now(UTC) + timedelta(seconds=295)
    bodies = [
        wire.location(alarm_bits=1, lat=FORGED_LAT),
        wire.location(at=ahead, lat=FORGED_LAT),
        wire.location(alarm_bits=0xFFFF_FFFF, lat=FORGED_LAT),
    ]
    frames = [
        wire.frame(HONEST, 0x0200, bodies[serial % len(bodies)], serial)
        for serial in range(REPORTS * (20 if target.is_long else 1))
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, target.connect() as link:
        for frame in frames:
            datagrams.sendto(frame, ("127.0.0.1", UDP_PORT))
            link.send(frame)
            link.answer()
    target.watch.come_to_rest()
    facts = target.service.row(
        "SELECT (SELECT count(*) FROM positions p WHERE p.terminal_id = t.id AND p.lat < 10),"
        " (SELECT count(*) FROM alarms a WHERE a.terminal_id = t.id), s.lat::float8 FROM terminals t"
        " JOIN terminal_states s ON s.terminal_id = t.id WHERE t.identity = %s",
        HONEST,
    )
    positions, alarms, lat = facts
    assert (positions, alarms) == (0, 0) and lat > 2 * FORGED_LAT, facts
    (late,) = target.service.row(
        "SELECT count(*) FROM positions p JOIN terminals t ON t.id = p.terminal_id"
        " WHERE t.identity = %s AND p.late AND p.received_at > now() - interval '1 minute'",
        HONEST,
    )
    assert late == 0, f"{late} honest reports count as late"
    return f"{2 * len(frames)} reports"
