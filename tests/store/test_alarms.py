"""Changes of alarms as rows: one open alarm per key, copies that change nothing, late ones that stay in
history.
"""

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from store import alarms
from store.alarms import Change, Ended, Raised, Seen
from store.times import from_us

SECOND = 1_000_000
T = 1_780_000_000 * SECOND
LIVE = Raised(
    terminal_id=1,
    condition="overspeed",
    object="",
    edition="2013",
    severity=2,
    ends="by_terminal",
    late=False,
    on_desk=True,
    began_us=T,
    ended_us=None,
    seen_us=T,
    received_us=T,
    lat=41.8,
    lon=None,
    speed_kmh=99.5,
)
LATE = replace(LIVE, late=True, on_desk=False, began_us=T - 100 * SECOND, ended_us=T - 90 * SECOND)
END = Ended(1, "overspeed", "", None, T + 60 * SECOND, T + 61 * SECOND)


@pytest.fixture
def database(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    connection.row_factory = dict_row
    connection.execute("INSERT INTO terminals (identity) VALUES ('1'), ('2')")
    return connection


def apply(database: psycopg.Connection[Any], *changes: Change) -> list[dict[str, Any]]:
    with database.transaction():
        alarms.apply(database, changes)
    return database.execute("SELECT * FROM alarms ORDER BY terminal_id, began_at").fetchall()


def history(database: psycopg.Connection[Any]) -> list[str]:
    return [row["change"] for row in database.execute("SELECT change FROM alarm_changes ORDER BY id")]


def test_an_alarm_begins_and_ends(database: psycopg.Connection[Any]) -> None:
    (row,) = apply(database, LIVE, END)
    assert (row["began_at"], row["ended_at"]) == (from_us(T), from_us(T + 60 * SECOND))
    assert (row["lat"], row["lon"], row["speed_kmh"], row["reports"]) == (41.8, None, 99.5, 1)
    assert history(database) == ["raised", "ended"]


def test_raised_while_open_is_counted(database: psycopg.Connection[Any]) -> None:
    again = replace(LIVE, began_us=T + 5 * SECOND, seen_us=T + 5 * SECOND)
    (row,) = apply(database, LIVE, again, again)
    assert (row["reports"], row["last_seen_at"]) == (3, from_us(T + 5 * SECOND))
    assert history(database) == ["raised", "raised_again", "raised_again"]


def test_many_changes_of_many_alarms_keep_the_order_of_each(database: psycopg.Connection[Any]) -> None:
    other = replace(LIVE, terminal_id=2)
    later = replace(LIVE, began_us=T + 90 * SECOND, seen_us=T + 90 * SECOND)
    first, second, open_again = sorted(
        apply(database, LIVE, other, END, later, replace(END, terminal_id=2)), key=lambda row: row["began_at"]
    )
    assert first["ended_at"] and second["ended_at"] and open_again["ended_at"] is None


def test_one_that_begins_where_an_ended_one_began_goes_on(database: psycopg.Connection[Any]) -> None:
    (row,) = apply(database, LIVE, END, LIVE)
    assert (row["ended_at"], row["reports"]) == (None, 2)


def test_an_end_without_a_beginning_changes_nothing(database: psycopg.Connection[Any]) -> None:
    assert apply(database, END, replace(END, terminal_id=2)) == []


def test_an_alarm_never_ends_before_it_began(database: psycopg.Connection[Any]) -> None:
    (row,) = apply(database, LIVE, replace(END, ended_us=T - SECOND))
    assert row["ended_at"] == row["began_at"]


def test_a_late_one_is_history_and_its_copy_nothing(database: psycopg.Connection[Any]) -> None:
    rows = apply(database, LATE, LIVE, LATE)
    assert [(row["late"], row["on_desk"], row["ended_at"] is None) for row in rows] == [
        (True, False, False),
        (False, True, True),
    ]


def test_a_late_one_that_stays_open_is_the_one_that_is_open(database: psycopg.Connection[Any]) -> None:
    (row,) = apply(database, LIVE, replace(LATE, ended_us=None))
    assert (row["reports"], row["late"], row["ended_at"]) == (2, False, None)


def test_history_stands_beside_what_is_open(database: psycopg.Connection[Any]) -> None:
    assert [row["reports"] for row in apply(database, LIVE, LATE)] == [1, 1]


def test_a_late_one_goes_on(database: psycopg.Connection[Any]) -> None:
    key = (1, "overspeed", "")
    began = LATE.began_us
    (row,) = apply(
        database,
        LATE,
        Seen(*key, began, T - 80 * SECOND, T - 80 * SECOND, 2),
        Ended(*key, began, T - 70 * SECOND, T),
        Ended(*key, began, T - 75 * SECOND, T),
    )
    assert (row["reports"], row["ended_at"]) == (3, from_us(T - 70 * SECOND))


def test_what_is_seen_again_is_counted_while_it_is_open(database: psycopg.Connection[Any]) -> None:
    seen = Seen(1, "overspeed", "", None, None, T + 9 * SECOND, 7)
    (row,) = apply(database, seen, LIVE, seen, END, seen)
    assert (row["reports"], row["last_seen_at"]) == (8, from_us(T + 9 * SECOND))


def test_the_vehicle_is_the_one_of_that_time(database: psycopg.Connection[Any]) -> None:
    database.execute("INSERT INTO vehicles (plate) VALUES ('A'), ('B')")
    database.execute(
        "INSERT INTO installations (terminal_id, vehicle_id, installed_at, removed_at) VALUES"
        " (1, 1, %(at)s - interval '1 hour', %(at)s + interval '1 min'),"
        " (1, 2, %(at)s + interval '2 min', NULL)",
        {"at": from_us(T)},
    )
    later = replace(LIVE, began_us=T + 600 * SECOND, received_us=T + 600 * SECOND)
    assert [row["vehicle_id"] for row in apply(database, LIVE, END, later)] == [1, 2]
