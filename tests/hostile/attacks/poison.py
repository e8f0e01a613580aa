"""Reports that the database refuses, among honest ones: what a defect of ours would look like."""

from datetime import UTC, datetime, timedelta

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.service import until

TERMINAL = "13700000666"
SPEED_KMH = 166.6
AT_ONCE = 300
REFUSE = f"ALTER TABLE position_records ADD CONSTRAINT refused CHECK (speed <> {round(SPEED_KMH * 10)})"
ACCEPT = "ALTER TABLE position_records DROP CONSTRAINT IF EXISTS refused"
COUNTS = """
SELECT (SELECT count(*) FROM positions WHERE terminal_id = t.id),
       (SELECT count(*) FROM quarantine WHERE terminal_id = t.id AND reason = 'poisoned')
  FROM terminals t WHERE identity = %s
"""


def attack(target: Target) -> str:
    """Send reports of which every third is refused, a few hundred at a time."""
    turns = 40 if target.is_long else 3
    frames: list[bytes] = []
    now, bad = datetime.now(UTC), 0
    for number in range(turns * AT_ONCE):
        is_bad = number % 3 == 0
        speed_kmh, bad = SPEED_KMH if is_bad else 60.0, bad + is_bad
        body = wire.location(at=now - timedelta(seconds=number), speed_kmh=speed_kmh)
        frames.append(wire.frame(TERMINAL, 0x0200, body, number))
    with target.service.connect() as database:
        database.execute(REFUSE)
        try:
            with target.connect() as link:
                link.sign_in(TERMINAL, "辽A00666")
                for begin in range(0, len(frames), AT_ONCE):
                    link.send(b"".join(frames[begin : begin + AT_ONCE]))
                    assert len(link.answers(AT_ONCE)) == AT_ONCE, "a report was not answered"
            until(
                lambda: database.execute(COUNTS, [TERMINAL]).fetchone() == (len(frames) - bad, bad),
                "each good report in positions, each refused one in quarantine",
            )
        finally:
            database.execute(ACCEPT)
    return f"{bad:,} refused among {len(frames):,}"
