"""What `northwatch doctor` says about the record."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from keeper.retention import Retention
from northwatch.record_report import tell, what_goes_next
from store.expiry import Day, Hold
from store.placement import Placement

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
RETENTION = Retention()
MIDNIGHT = NOW.replace(hour=0)


def day(ago: int) -> Day:
    begins_at = MIDNIGHT - timedelta(days=ago)
    return Day(begins_at, begins_at + timedelta(days=1), "public", "x", 1, 1, False)


@pytest.mark.parametrize(
    ("days", "holds", "said"),
    [
        ([10, 9], [], "positions of 2026-05-22 go on 2027-06-27"),
        ([410, 405, 9], [], "the keeper drops 2 days now, from 2025-04-17 on"),
        ([410, 9], [410], "positions of 2026-05-23 go on 2027-06-28"),
        ([9, 8], [9], "positions of 2026-05-23 go on 2027-06-28, but for what is held"),
        ([410], [410], "what is older is held"),
    ],
)
def test_doctor_knows_what_goes_next(days: list[int], holds: list[int], said: str) -> None:
    held = [Hold(day(ago).begins_at, day(ago).ends_at) for ago in holds]
    assert what_goes_next([day(ago) for ago in days], held, RETENTION, NOW) == said


def test_the_record_is_told_on_every_server(connection: psycopg.Connection) -> None:
    said = dict(tell(connection, RETENTION, timedelta(days=7), NOW))
    assert said["retention"] == "tracks 400 days, alarms and tickets 1461 days"
    assert said["compression"].startswith(("none: plain PostgreSQL", "available"))
    Placement().ensure(connection, [NOW.date()])
    connection.execute("INSERT INTO vehicles (plate) VALUES ('辽A00001')")
    connection.execute(
        "INSERT INTO holds (vehicle_id, begins_at, ends_at, reason, placed_by)"
        " SELECT id, '2026-01-01Z', '2026-01-02Z', 'accident', 'test' FROM vehicles"
    )
    assert dict(tell(connection, RETENTION, timedelta(days=7), NOW))["legal holds"].startswith("1 in force")
