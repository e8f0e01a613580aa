"""Tickets and incidents that open and close by themselves, beside what people do with them."""

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from store import links, tickets
from store.links import LinkEvent
from store.tickets import LINK_HISTORY, Change, Closed, IncidentClosed, IncidentOpened, Opened
from store.times import from_us

SECOND = 1_000_000
T = 1_780_000_000 * SECOND
OPEN = Opened(1, "silent", "Nothing was heard.", {"mode": "moving"}, T)
CLOSE = Closed(1, "silent", "It reports again.", {"code": "reports_again"}, T + SECOND)


@pytest.fixture
def database(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    connection.row_factory = dict_row
    connection.execute("INSERT INTO terminals (identity) VALUES ('1')")
    return connection


def apply(database: psycopg.Connection[Any], *changes: Change) -> list[dict[str, Any]]:
    with database.transaction():
        tickets.apply(database, changes)
    return database.execute("SELECT * FROM tickets ORDER BY id").fetchall()


def history(database: psycopg.Connection[Any]) -> list[str]:
    return [row["change"] for row in database.execute("SELECT change FROM ticket_changes ORDER BY id")]


def test_a_ticket_has_its_evidence_and_the_latest_links(database: psycopg.Connection[Any]) -> None:
    events = [LinkEvent(1, T - at * SECOND, "opened", at, "192.0.2.1:4") for at in range(1, LINK_HISTORY + 5)]
    links.insert(database, [*events, *events, LinkEvent(1, T + SECOND, "idle", 1)])
    (row,) = apply(database, OPEN)
    assert row["evidence"]["mode"] == "moving"
    assert len(row["evidence"]["links"]) == LINK_HISTORY
    assert row["evidence"]["links"][0]["event"] == "opened"
    assert (row["state"], row["opened_at"]) == ("open", from_us(T))
    assert history(database) == ["opened"]


def test_the_same_fault_again_is_the_same_ticket(database: psycopg.Connection[Any]) -> None:
    assert len(apply(database, OPEN, OPEN)) == 1
    assert history(database) == ["opened", "noted"]


def test_proof_closes_it_in_whatever_state_it_is(database: psycopg.Connection[Any]) -> None:
    apply(database, OPEN)
    database.execute("UPDATE tickets SET state = 'accepted'")
    (row,) = apply(database, CLOSE, CLOSE)
    assert (row["state"], row["closed_because"]) == ("closed", "It reports again.")
    assert history(database) == ["opened", "closed"]
    assert len(apply(database, OPEN)) == 2


def test_a_ticket_that_a_person_closed_stays_closed(database: psycopg.Connection[Any]) -> None:
    apply(database, OPEN)
    database.execute("UPDATE tickets SET state = 'cancelled', closed_at = now(), closed_because = 'scrapped'")
    (row,) = apply(database, CLOSE)
    assert row["closed_because"] == "scrapped"


def test_an_incident_opens_once_and_closes(database: psycopg.Connection[Any]) -> None:
    opened = IncidentOpened("mass_silence", 12, {"opened": {"code": "mass_silence"}}, T)
    apply(database, opened, opened)
    apply(database, IncidentClosed("mass_silence", 40, {"closed": {"code": "mass_over"}}, T + SECOND))
    (row,) = database.execute("SELECT * FROM incidents").fetchall()
    assert (row["terminals"], row["closed_at"]) == (40, from_us(T + SECOND))
    assert set(row["detail"]) == {"opened", "closed"}
