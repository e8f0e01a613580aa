"""The chores on real servers: what is old goes, what is held or young stays."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

from keeper.chores import compression, retention
from keeper.options import KeeperOptions
from store import columnstore, expiry, holds, positions
from store.grants import Process
from store.placement import Placement, days_of, is_native
from tests.databases import acting
from tests.store.test_positions import rows_of

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
OPTIONS = KeeperOptions("unused", Path("unused"))
TRACKS = OPTIONS.retention.tracks
OLD = NOW - TRACKS - timedelta(days=3)
PLATE = "辽A00001"

Connection = psycopg.Connection[Any]


@pytest.fixture
def fleet(connection: Connection) -> Iterator[Connection]:
    """Terminals 1 to 3; terminal 1 is in the vehicle that is held."""
    connection.execute("INSERT INTO terminals (identity) SELECT n::text FROM generate_series(1, 3) n")
    connection.execute("INSERT INTO vehicles (plate) VALUES (%s)", [PLATE])
    connection.execute(
        "INSERT INTO installations (terminal_id, vehicle_id, installed_at)"
        " SELECT t.id, v.id, '2020-01-01Z' FROM terminals t, vehicles v WHERE t.identity = '1'"
    )
    return connection


def report(connection: Connection, at: datetime, *terminals: int) -> None:
    """Store one position of each terminal at a time."""
    rows = _rows(at, *terminals)
    with connection.transaction():
        Placement().ensure(connection, days_of(rows.placed_us))
        positions.write(connection, rows)


def _rows(at: datetime, *terminals: int) -> positions.PositionRows:
    received_us = round(at.timestamp() * 1e6)
    rows = rows_of([(each, 0, 1) for each in terminals], [received_us] * len(terminals))
    placed = np.full(len(rows), received_us)
    return replace(rows, placed_us=placed, reported_us=placed, searched=np.zeros(len(rows), np.bool_))


def hold(connection: Connection, begins_at: datetime, ends_at: datetime) -> int:
    row = connection.execute(
        "INSERT INTO holds (vehicle_id, begins_at, ends_at, reason, placed_by)"
        " SELECT id, %s, %s, 'accident', 'test' FROM vehicles RETURNING id",
        [begins_at, ends_at],
    ).fetchone()
    assert row is not None
    return int(row[0])


def work(connection: Connection, now: datetime = NOW) -> list[str]:
    """Do the chore until nothing is left."""
    did = []
    while True:
        with acting(connection, Process.KEEPER):
            done = retention.step(connection, OPTIONS, now)
        did += [done.what] if done.what else []
        if not done.more:
            return did


def there(connection: Connection) -> list[tuple[int, datetime]]:
    return connection.execute("SELECT terminal_id, placed_at FROM positions ORDER BY 2, 1").fetchall()


def test_whole_days_go_when_they_are_old_enough(fleet: Connection) -> None:
    for ago in range(-2, 3):
        report(fleet, NOW - TRACKS + timedelta(days=ago), 1, 2)
    before = len(expiry.days(fleet))
    assert len(work(fleet)) == 2
    assert len(expiry.days(fleet)) == before - 2
    assert {at.date() for _, at in there(fleet)} == {
        (NOW - TRACKS + timedelta(days=ago)).date() for ago in range(3)
    }
    audit = fleet.execute("SELECT user_name, action, subject FROM audit ORDER BY id").fetchall()
    assert [each[:2] for each in audit] == [("keeper", "record.dropped")] * 2
    assert work(fleet) == []


def test_what_is_held_survives_and_goes_when_it_is_released(fleet: Connection) -> None:
    report(fleet, OLD, 1, 2, 3)
    report(fleet, OLD + timedelta(hours=1), 1, 2)
    number = hold(fleet, OLD, OLD + timedelta(minutes=30))
    assert work(fleet) == [f"dropped the positions of {OLD:%Y-%m-%d} but for what is held"]
    assert there(fleet) == [(1, OLD)]
    assert work(fleet) == [], "nothing is dropped twice"
    report(fleet, OLD + timedelta(minutes=1), 1, 2)
    assert len(work(fleet)) == 1
    assert there(fleet) == [(1, OLD), (1, OLD + timedelta(minutes=1))]
    fleet.execute("UPDATE holds SET released_by = 'test', released_at = now() WHERE id = %s", [number])
    assert len(work(fleet)) == 1 and there(fleet) == []


def test_days_that_were_far_back_go_together(fleet: Connection) -> None:
    """When the last of them is old enough; what is held of any of them stays."""
    begin, end = OLD.replace(day=1), (OLD.replace(day=1) + timedelta(days=31)).replace(day=1)
    Placement().ensure(fleet, [OLD.date()], NOW.date())
    for at in (OLD, begin, end - timedelta(days=1)):
        positions.write(fleet, _rows(at, 1, 2))
    hold(fleet, begin, begin + timedelta(days=1))
    (stretch,) = expiry.days(fleet)
    assert work(fleet, stretch.ends_at + TRACKS - timedelta(seconds=1)) == []
    said = (
        f"dropped the positions of {begin:%Y-%m-%d}/{end - timedelta(days=1):%Y-%m-%d} but for what is held"
    )
    assert work(fleet, stretch.ends_at + TRACKS) == [said]
    assert there(fleet) == [(1, begin)]
    assert [each.stretch for each in expiry.days(fleet)] == [stretch.stretch]


def test_a_late_report_finds_a_day_that_was_dropped(fleet: Connection) -> None:
    """The worker knows the day from before; the keeper has dropped it since."""
    placement = Placement()
    day = [OLD.date()]
    placement.ensure(fleet, day)
    report(fleet, OLD, 2)
    work(fleet)
    with fleet.transaction():
        placement.ensure(fleet, day)
        fleet.execute("INSERT INTO position_records SELECT * FROM position_records LIMIT 0")
    report(fleet, OLD, 2)
    assert there(fleet) == [(2, OLD)]


def test_small_tables_keep_what_is_young_open_or_held(fleet: Connection) -> None:
    handled = NOW - OPTIONS.retention.handling - timedelta(days=2)
    for terminal, at in ((1, OLD), (2, OLD), (2, NOW)):
        fleet.execute(
            "INSERT INTO messages (terminal_id, received_at, msg_id, serial, edition, body, log_id, position,"
            " ordinal) VALUES (%s, %s, 1, 1, '2013', '', gen_random_uuid(), 0, 0)",
            [terminal, at],
        )
    fleet.execute("INSERT INTO users (name, role, password_hash) VALUES ('a', 'admin', '')")
    for terminal, ended, handled_at in ((1, 1, 1), (2, 1, 1), (3, 1, None), (3, None, None)):
        fleet.execute(
            "INSERT INTO alarms (terminal_id, condition, edition, severity, ends, began_at, received_at,"
            " last_seen_at, ended_at, handled_at, handled_by, result) VALUES (%(t)s, 'overspeed', '2013', 2,"
            " 'by_terminal', %(at)s + random() * interval '1 hour', %(at)s, %(at)s, %(ended)s, %(handled)s,"
            " %(by)s, %(result)s)",
            {
                "t": terminal,
                "at": handled - timedelta(hours=2),
                "ended": handled if ended else None,
                "handled": handled if handled_at else None,
                "by": 1 if handled_at else None,
                "result": "real" if handled_at else None,
            },
        )
    fleet.execute(
        "INSERT INTO alarm_changes (alarm_id, at, change) SELECT id, began_at, 'raised' FROM alarms"
    )
    hold(fleet, OLD - timedelta(days=1), OLD + timedelta(days=1))
    hold(fleet, handled - timedelta(days=1), handled + timedelta(days=1))
    work(fleet)
    assert fleet.execute("SELECT terminal_id, received_at FROM messages ORDER BY 2").fetchall() == [
        (1, OLD),
        (2, NOW),
    ]
    kept = fleet.execute("SELECT terminal_id, ended_at IS NULL FROM alarms ORDER BY id").fetchall()
    assert kept == [(1, False), (3, False), (3, True)], "held; not handled; not over"
    assert fleet.execute("SELECT count(*) FROM alarm_changes").fetchone() == (3,)


def test_the_newest_session_of_each_terminal_stays(fleet: Connection) -> None:
    """What a terminal's link is follows from it, however long ago it was opened."""
    hour = timedelta(hours=1)
    for terminal, session, event, at in (
        (1, 10, "opened", OLD),
        (1, 11, "opened", OLD + hour),
        (1, 10, "peer_closed", OLD + 2 * hour),
        (2, 20, "opened", OLD),
        (2, 20, "idle", OLD + hour),
        (3, 30, "opened", OLD),
        (3, 30, "taken_over", OLD + hour),
        (3, 31, "opened", NOW),
    ):
        fleet.execute(
            "INSERT INTO link_events (terminal_id, session, event, at, peer) VALUES (%s, %s, %s, %s, '')",
            [terminal, session, event, at],
        )
    work(fleet)
    kept = fleet.execute("SELECT session, event FROM link_events ORDER BY id").fetchall()
    assert kept == [(11, "opened"), (20, "opened"), (20, "idle"), (31, "opened")]


async def test_holds_are_placed_listed_and_released(dsn: str, fleet: Connection) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
        placed = await holds.place(connection, 1, (OLD, NOW), " accident 42 ", by="ada")
        assert placed["vehicle"]["plate"] == PLATE and placed["reason"] == "accident 42"
        released = await holds.release(connection, placed["id"], by="bob")
        assert released["released_by"] == "bob"
        assert await holds.release(connection, placed["id"], by="eve") == released
        page = await holds.holds_page(connection, limit=5, in_force=False)
        assert page.items == [released]
        assert not (await holds.holds_page(connection, limit=5, vehicle_id=1, in_force=True)).items
    actions = fleet.execute("SELECT user_name, action FROM audit ORDER BY id").fetchall()
    assert actions == [("ada", "hold.placed"), ("bob", "hold.released")]


def test_old_days_are_compressed_where_the_server_can(fleet: Connection) -> None:
    if not columnstore.is_available(fleet):
        assert compression.step(fleet, OPTIONS, NOW).what == ""
        return
    assert not is_native(fleet)
    night = NOW.replace(hour=18)
    young, old = NOW - timedelta(days=2), NOW - timedelta(days=9)
    report(fleet, young, 1, 2)
    for minute in range(3):
        report(fleet, old + timedelta(minutes=minute), 1, 2)
    assert compression.step(fleet, OPTIONS, NOW).what == "", "not by day"
    assert compression.step(fleet, OPTIONS, night).what.startswith(
        f"compressed the positions of {old:%Y-%m-%d}"
    )
    assert not compression.step(fleet, OPTIONS, NOW).more
    assert [each.is_compressed for each in expiry.days(fleet)] == [True, False]

    # Late reports, new ones and copies, go into the compressed day, and the chore merges them.
    report(fleet, old + timedelta(minutes=1), 1, 2)
    report(fleet, old + timedelta(minutes=7), 3)
    copies = "SELECT terminal_id, copies FROM positions WHERE placed_at = %s ORDER BY 1"
    assert fleet.execute(copies, [old + timedelta(minutes=1)]).fetchall() == [(1, 2), (2, 2)]
    assert compression.step(fleet, OPTIONS, NOW).what
    assert columnstore.waiting(fleet, NOW - OPTIONS.compress_after) == []
    assert len(there(fleet)) == 9

    hold(fleet, old, old + timedelta(seconds=90))
    assert work(fleet, old + TRACKS + timedelta(days=2))
    assert there(fleet)[:2] == [(1, old), (1, old + timedelta(minutes=1))] and len(there(fleet)) == 4


def test_late_reports_and_retention_take_turns(dsn: str, fleet: Connection) -> None:
    """A worker stores for a day that is dropped again and again: every report is stored or gone with its day,
    none is refused, and nobody waits for ever."""
    stop, refused = threading.Event(), []

    def store() -> None:
        placement = Placement()
        with psycopg.connect(dsn, autocommit=True) as worker:
            for number in range(1, 40):
                rows = _rows(OLD + timedelta(seconds=number), 1, 2)
                try:
                    with worker.transaction():
                        placement.ensure(worker, days_of(rows.placed_us))
                        positions.write(worker, rows)
                except psycopg.Error as error:
                    refused.append(error)
        stop.set()

    hold(fleet, OLD, OLD + timedelta(days=1))
    thread = threading.Thread(target=store)
    thread.start()
    while not stop.is_set():
        retention.step(fleet, OPTIONS, NOW)
    thread.join()
    work(fleet)
    assert refused == []
    assert [terminal for terminal, _ in there(fleet)] == [1] * 39


def test_a_day_is_compressed_at_night_unless_too_much_waits() -> None:
    chunks = [
        columnstore.Chunk(
            "s", str(ago), NOW - timedelta(days=ago + 1), NOW - timedelta(days=ago), ago % 4 == 0
        )
        for ago in range(12, 7, -1)
    ]
    again, new = (
        [each for each in chunks if each.is_compressed],
        [each for each in chunks if not each.is_compressed],
    )
    day, night = NOW, NOW.replace(hour=17)
    assert compression.choose(chunks, day) == chunks, "three days wait"
    assert compression.choose(again + new[:2], day) == again
    assert compression.choose(again + new[:2], night) == again + new[:2]
    assert compression.choose([], night) == []
