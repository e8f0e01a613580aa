"""What the worker writes about terminals, and what it and the gateway read back."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from store import cursors, quarantine, terminals
from store.decisions import CODE_EPOCH, SPEAKS_WITHOUT_CODE, Decision, decide_now
from store.fleet_copy import FleetEntry, read_fleet
from store.quarantine import POISONED, Quarantined
from store.terminals import Registration
from store.times import from_us

T = 1_780_000_000_000_000
SAID = Registration(1, T, "2013", 21, 100, "ABCDE", "T1\0", "7654321", "辽a·12345", 2)


@pytest.fixture
def known(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    terminals.add(connection, {"13912345678": T, "ABCDEF": T})
    assert terminals.ids(connection, ["13912345678", "ABCDEF", "1"]) == {"13912345678": 1, "ABCDEF": 2}
    return connection


def test_a_terminal_keeps_when_it_was_first_seen(known: psycopg.Connection[Any]) -> None:
    known.execute("INSERT INTO terminals (identity, known) VALUES ('5', true)")  # entered by a person
    terminals.add(known, {"13912345678": T + 5, "5": T + 6})
    seen = dict(known.execute("SELECT identity, first_seen_at FROM terminals").fetchall())
    assert seen == {"13912345678": from_us(T), "ABCDEF": from_us(T), "5": from_us(T + 6)}


def test_a_plate_binds_only_free_partners(known: psycopg.Connection[Any]) -> None:
    assert terminals.register(known, [SAID], bind=True)
    assert not terminals.register(
        known, [replace(SAID, plate="辽B99999"), replace(SAID, terminal_id=2)], bind=True
    )
    assert read_fleet(known).entries == [
        FleetEntry("13912345678", False, False, "辽A12345", 2),
        FleetEntry("ABCDEF", False, False, None, None),
    ]


def test_in_one_batch_the_first_to_name_a_plate_has_it(known: psycopg.Connection[Any]) -> None:
    """As if each registration came by itself."""
    other = replace(SAID, plate="辽B99999")
    said = [SAID, replace(SAID, terminal_id=2), other, replace(other, terminal_id=2)]
    assert terminals.register(known, said, bind=True)
    assert not terminals.register(known, said, bind=True)
    assert [(each.identity, each.plate) for each in read_fleet(known).entries] == [
        ("13912345678", "辽A12345"),
        ("ABCDEF", "辽B99999"),
    ]
    assert known.execute("SELECT plate FROM vehicles ORDER BY id").fetchall() == [
        ("辽A12345",),
        ("辽B99999",),
    ]


@pytest.mark.parametrize("said", [replace(SAID, plate_color=0), replace(SAID, plate="  ")])
def test_without_a_plate_nothing_is_bound(known: psycopg.Connection[Any], said: Registration) -> None:
    assert not terminals.register(known, [said], bind=True)
    assert not terminals.register(known, [SAID], bind=False)
    assert read_fleet(known).entries[0].plate is None
    assert known.execute("SELECT model, registered_plate FROM terminals WHERE id = 1").fetchone() == (
        "T1",
        "辽a·12345",
    )


def test_the_copy_says_what_sessions_are_judged_by(known: psycopg.Connection[Any]) -> None:
    terminals.set_authenticated(known, {1: T})
    said = [Decision(CODE_EPOCH, "ABCDEF", 2), Decision(SPEAKS_WITHOUT_CODE, "ABCDEF", True)]
    decide_now(known, "test", said)
    assert read_fleet(known).entries == [
        FleetEntry("13912345678", False, False, None, None, registered=True),
        FleetEntry("ABCDEF", False, False, None, None, code_epoch=2, speaks_without_code=True),
    ]


def test_what_changed_of_the_fleet_is_read_and_nothing_else(dsn: str, known: psycopg.Connection[Any]) -> None:
    assert terminals.register(known, [SAID], bind=True)
    known.commit()
    whole = read_fleet(known)
    assert len(whole.entries) == 2 and [plate for _, plate, _ in whole.vehicles] == ["辽A12345"]
    horizon = whole.horizon

    def changed() -> tuple[list[str], list[str]]:
        nonlocal horizon
        known.commit()
        rows = read_fleet(known, horizon)
        known.commit()
        horizon = rows.horizon
        return [each.identity for each in rows.entries], [plate for _, plate, _ in rows.vehicles]

    changed()
    assert changed() == ([], [])
    known.execute("UPDATE terminals SET blocked = true WHERE identity = 'ABCDEF'")
    assert changed() == (["ABCDEF"], [])
    known.execute("UPDATE vehicles SET plate = '辽C00001'")
    assert changed() == (["13912345678"], ["辽C00001"])
    known.execute("UPDATE installations SET removed_at = now()")
    assert changed() == (["13912345678"], [])
    with psycopg.connect(dsn) as slow:
        slow.execute("UPDATE terminals SET known = true WHERE identity = '13912345678'")
        known.execute("UPDATE terminals SET known = true WHERE identity = 'ABCDEF'")
        assert changed() == (["ABCDEF"], [])
        slow.commit()
        assert "13912345678" in changed()[0], "it began before and was not to be seen then"
    changed()
    assert changed() == ([], [])


def test_a_cursor_moves_only_from_where_it_is(connection: psycopg.Connection[Any]) -> None:
    log_id = uuid4()
    other = uuid4()
    assert cursors.read(connection, [log_id]) == {}
    cursors.move(connection, {}, {log_id: 10, other: 5}, from_us(T))
    cursors.move(connection, {log_id: 10, other: 5}, {log_id: 20}, from_us(T))
    for wrong in ({}, {log_id: 10}):
        with pytest.raises(cursors.CursorMoved):
            cursors.move(connection, wrong, {log_id: 30}, from_us(T))
    assert cursors.read(connection, [log_id, other, uuid4()]) == {log_id: 20, other: 5}


def test_a_place_is_in_quarantine_once(connection: psycopg.Connection[Any]) -> None:
    log_id = uuid4()
    entries = [Quarantined(T, POISONED, b"\0", log_id, 5, 1), Quarantined(T, "garbage", b"", log_id, 5, 2)]
    for _ in range(2):
        quarantine.insert(connection, entries)
    assert quarantine.poisoned(connection, log_id, 0, 100) == {(log_id, 5, 1)}
    assert quarantine.poisoned(connection, log_id, 6, 100) == set()
    assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (2,)
