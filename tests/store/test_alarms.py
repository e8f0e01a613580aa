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


def test_what_came_back_goes_on_unless_it_was_handled(database: psycopg.Connection[Any]) -> None:
    at = T + 90 * SECOND
    back = replace(LIVE, began_us=at, seen_us=at, received_us=at, since_us=T)
    (row,) = apply(database, LIVE, END, back)
    assert (row["began_at"], row["ended_at"], row["reports"]) == (from_us(T), None, 2)
    database.execute("UPDATE alarms SET handled_at = now(), result = 'real'")
    later = replace(back, began_us=at + 9 * SECOND)
    rows = apply(database, replace(END, ended_us=at + SECOND), later, replace(END, ended_us=at + 10 * SECOND))
    assert [(each["reports"], each["ended_at"] is None) for each in rows] == [(2, False), (1, False)]
    newest = apply(database, replace(back, began_us=at + 20 * SECOND))[-1]
    assert (newest["began_at"], newest["reports"], newest["ended_at"]) == (from_us(later.began_us), 2, None)


def test_one_that_begins_where_a_handled_late_one_began_goes_on(database: psycopg.Connection[Any]) -> None:
    apply(database, replace(LIVE, began_us=T - 200 * SECOND), replace(END, ended_us=T - 150 * SECOND), LATE)
    database.execute("UPDATE alarms SET handled_at = now(), result = 'real'")
    back = replace(LIVE, began_us=LATE.began_us, since_us=T - 200 * SECOND)
    rows = apply(database, back)
    assert [(each["reports"], each["late"], each["ended_at"] is None) for each in rows] == [
        (1, False, False),
        (2, False, True),
    ]


def test_what_was_folded_is_counted_and_told_in_order(database: psycopg.Connection[Any]) -> None:
    gone, again = (T + 10 * SECOND, T + 30 * SECOND), (T + 20 * SECOND, T + 40 * SECOND)
    (row,) = apply(database, replace(LIVE, again_us=again, gone_us=gone), END)
    assert row["reports"] == 3
    assert history(database) == ["raised", "ended", "raised_again", "ended", "raised_again", "ended"]


def test_a_stored_day_of_one_condition_is_one_round(database: psycopg.Connection[Any]) -> None:
    day = [replace(LATE, began_us=LATE.began_us - n * SECOND, ended_us=LATE.ended_us) for n in range(50)]
    assert len(list(alarms._rounds(day))) == 1
    assert len(apply(database, *day)) == 50


CHANGES = {
    "raised": replace(LIVE, began_us=T + SECOND),
    "came back": replace(LIVE, began_us=T + 2 * SECOND, since_us=T - 10_000 * SECOND),
    "ended": replace(END, ended_us=T + 3 * SECOND),
    "seen": Seen(1, "overspeed", "", None, None, T + 4 * SECOND, 1),
    "late": replace(LATE, began_us=T - 500 * SECOND + 1, ended_us=T - 500 * SECOND + 1),
    "late ended": Ended(1, "overspeed", "", T - 500 * SECOND + 1, T - 499 * SECOND, T),
}


@pytest.mark.parametrize("is_analyzed", [False, True])
def test_what_is_over_is_not_read(database: psycopg.Connection[Any], is_analyzed: bool) -> None:
    """Rows of one key that a change reads, by the server's own count: those it seeks, and their versions."""
    database.execute(
        "INSERT INTO alarms (terminal_id, condition, edition, severity, ends, began_at, received_at,"
        "                    last_seen_at, ended_at)"
        " SELECT 1, 'overspeed', '2013', 2, 'by_terminal', at, at, at, at"
        "   FROM (SELECT %s - make_interval(secs => n) AS at FROM generate_series(1, 30000) n) x",
        [from_us(T)],
    )
    if is_analyzed:
        database.execute("ANALYZE alarms")
    read, before = {}, 0
    with database.transaction():
        for what, change in CHANGES.items():
            alarms.apply(database, [change])
            row = database.execute(
                "SELECT seq_tup_read + idx_tup_fetch AS n FROM pg_stat_xact_user_tables"
                " WHERE relname = 'alarms'"
            ).fetchone()
            assert row
            read[what], before = row["n"] - before, row["n"]
    assert max(read.values()) <= 12, read


def work_of(plan: dict[str, Any]) -> int:
    """Say how many rows the steps of a plan gave or looked at in vain."""
    rows = plan["Actual Rows"] + sum(n for name, n in plan.items() if name.startswith("Rows Removed"))
    return round(rows * plan["Actual Loops"]) + sum(work_of(each) for each in plan.get("Plans", ()))


@pytest.mark.parametrize("is_analyzed", [False, True])
def test_what_began_elsewhere_in_the_same_second_is_not_read(
    database: psycopg.Connection[Any], is_analyzed: bool
) -> None:
    many = 400
    database.execute("INSERT INTO terminals (identity) SELECT 'T' || n FROM generate_series(1, %s) n", [many])
    database.execute(
        "INSERT INTO alarms (terminal_id, condition, edition, severity, ends, began_at, received_at,"
        "                    last_seen_at, ended_at)"
        " SELECT 1 + n %% %s, 'overspeed', '2013', 2, 'by_terminal', at, at, at, at"
        "   FROM (SELECT n, %s - make_interval(secs => n) AS at FROM generate_series(1, 15000) n) x",
        [many, from_us(T)],
    )
    if is_analyzed:
        database.execute("ANALYZE")
    for condition in ("fatigue", "emergency", "collision"):
        each = {"terminal_id": 1, "condition": condition}
        late = replace(LATE, **each, began_us=T + SECOND, ended_us=T + 9 * SECOND)
        live = replace(LIVE, **each, began_us=T + SECOND, since_us=T - 10_000 * SECOND)
        for statement, change in (
            (alarms._RAISED_LATE, late),
            (alarms._ENDED_LATE, Ended(1, condition, "", T + SECOND, T + 10 * SECOND, T)),
            (alarms._SEEN_LATE, Seen(1, condition, "", T + SECOND, T + 11 * SECOND, T, 1)),
            (alarms._RAISED_LIVE, live),
            (alarms._RAISED_LIVE, live),
            (alarms._SEEN_OPEN, Seen(1, condition, "", None, None, T, 1)),
            (alarms._ENDED_LIVE, Ended(1, condition, "", None, T + 12 * SECOND, T)),
            (alarms._RAISED_LIVE, live),
        ):
            told = alarms._told([replace(change, terminal_id=1 + n) for n in range(many)])
            row = database.execute(f"EXPLAIN (ANALYZE, FORMAT json) {statement}", [told]).fetchone()
            assert row
            work = work_of(row["QUERY PLAN"][0]["Plan"])
            assert work <= 40 * many, (condition, change, work)
    rows = database.execute(
        "SELECT reports, ended_at, late FROM alarms WHERE began_at = %s", [from_us(T + SECOND)]
    )
    assert {(each["reports"], each["ended_at"], each["late"]) for each in rows} == {(6, None, False)}


def test_the_open_alarm_is_found_by_its_own_index(database: psycopg.Connection[Any]) -> None:
    database.execute(
        "INSERT INTO alarms (terminal_id, condition, edition, severity, ends, began_at, received_at,"
        "                    last_seen_at, ended_at)"
        " SELECT 1, 'overspeed', '2013', 2, 'by_terminal', at, at, at, at"
        "   FROM (SELECT now() - make_interval(secs => n) AS at FROM generate_series(1, 30000) n) x"
    )
    for statement in (alarms._RAISED_LIVE, alarms._RAISED_LATE, alarms._ENDED_LIVE, alarms._SEEN_OPEN):
        plan = database.execute(f"EXPLAIN {statement}", ["[]"]).fetchall()
        assert any("one_open_alarm_per_key" in row["QUERY PLAN"] for row in plan), plan
        assert not any("Seq Scan on alarms" in row["QUERY PLAN"] for row in plan), plan
