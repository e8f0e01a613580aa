"""Changes of alarms, links and tickets, written as worker and desk write them."""

from typing import Any

import psycopg

from northwatch.events import messages
from store import alarms, links, outbox, tickets
from store.times import from_us

SECOND = 1_000_000
T = 1_780_000_000 * SECOND
TERMINALS = 8


def fleet(connection: psycopg.Connection[Any]) -> None:
    """Add terminals 1 to 8; terminal 1 is in a vehicle."""
    connection.execute("INSERT INTO terminals (identity) SELECT 'A' || n FROM generate_series(1, 8) n")
    connection.execute("INSERT INTO vehicles (plate, plate_color) VALUES ('辽A12345', 2)")
    connection.execute(
        "INSERT INTO installations (terminal_id, vehicle_id, installed_at) VALUES (1, 1, %s)",
        [from_us(T - SECOND)],
    )
    connection.execute("INSERT INTO users (name, role, password_hash) VALUES ('li', 'operator', '')")


def raised(terminal: int, at_us: int, condition: str = "overspeed") -> alarms.Raised:
    return alarms.Raised(
        terminal_id=terminal,
        condition=condition,
        object="",
        edition="2013",
        severity=2,
        ends="by_terminal",
        late=False,
        on_desk=True,
        began_us=at_us,
        ended_us=None,
        seen_us=at_us,
        received_us=at_us,
        lat=41.8,
        lon=123.4,
        speed_kmh=99.5,
    )


def ended(terminal: int, at_us: int, condition: str = "overspeed") -> alarms.Ended:
    return alarms.Ended(terminal, condition, "", None, at_us, at_us)


def opened(terminal: int, at_us: int) -> tickets.Opened:
    return tickets.Opened(terminal, "silent", "Nothing for 300 s.", {"mode": "moving"}, at_us)


def closed(terminal: int, at_us: int) -> tickets.Closed:
    return tickets.Closed(terminal, "silent", "5 good reports", {}, at_us)


def tell_a_story(connection: psycopg.Connection[Any], number: int) -> None:
    """Write one transaction as a worker would; over many numbers everything opens and closes."""
    at = T + number * SECOND
    terminal = number % TERMINALS + 1
    turn = number // TERMINALS
    with connection.transaction():
        links.insert(connection, [links.LinkEvent(terminal, at, "opened", number + 10, "192.0.2.1:4000")])
        if turn % 3 == 1:
            event = links.LinkEvent(terminal, at + 1, "peer_closed", number + 10)
            links.insert(connection, [event, links.LinkEvent(terminal, at + 2, "taken_over", number + 2)])
        changes: list[alarms.Change] = [raised(terminal, at), raised(terminal, at, "fatigue")]
        if turn % 2 == 1:
            changes += [ended(terminal, at + 1), raised(terminal, at + 2)]
        if turn % 4 == 3:
            changes += [ended(terminal, at + 3), ended(terminal, at + 3, "fatigue")]
        alarms.apply(connection, changes)
        tickets.apply(connection, [opened(terminal, at) if turn % 2 == 0 else closed(terminal, at)])


async def expected_states(connection: Any) -> dict[str, dict[str, Any]]:
    """Give the retained messages that belong to what the database holds, by another way than the publisher's:
    open alarms, open tickets, and each terminal's newest session.
    """
    import json

    found: dict[str, dict[str, Any]] = {}
    for kind in outbox.KINDS:
        for row in await outbox.open_states(connection, kind, 0, 10_000):
            message = messages.state("northwatch", row)
            found[message.topic] = json.loads(message.payload)
    topics = set()
    cursor = await connection.execute(
        "SELECT identity || '/alarms/' || a.id AS t FROM alarms a JOIN terminals t ON t.id = a.terminal_id"
        " WHERE ended_at IS NULL UNION ALL "
        "SELECT identity || '/tickets/' || k.id FROM tickets k JOIN terminals t ON t.id = k.terminal_id"
        " WHERE closed_at IS NULL UNION ALL SELECT identity || '/link' FROM terminals"
    )
    topics = {f"northwatch/terminals/{row['t']}" for row in await cursor.fetchall()}
    assert topics == set(found)
    cursor = await connection.execute(
        "SELECT identity, bool_or(event = 'opened') AND count(*) = 1 AS online FROM link_events e"
        " JOIN terminals t ON t.id = e.terminal_id"
        " WHERE session = (SELECT max(session) FROM link_events x WHERE x.terminal_id = t.id) GROUP BY 1"
    )
    for row in await cursor.fetchall():
        state = found[f"northwatch/terminals/{row['identity']}/link"]["state"]
        assert state == ("online" if row["online"] else "offline")
    return found


async def every_event(connection: Any) -> set[str]:
    """Give the ids of all events that the database knows of."""
    cursor = await connection.execute(
        "SELECT 'alarm-' || id AS id FROM alarm_changes UNION ALL SELECT 'ticket-' || id FROM ticket_changes"
        " UNION ALL SELECT 'link-' || id FROM link_events"
    )
    return {row["id"] for row in await cursor.fetchall()}
