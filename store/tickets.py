"""Writing tickets and incidents that open and close by themselves, in the transaction that moves the cursor.

The people's side of the same tables is `store.desk`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from store.times import from_us

Connection = psycopg.Connection[Any]

LINK_HISTORY = 10
"""Link events on a ticket: enough to see a terminal that connects again and again."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A ticket is due. Where one of the same terminal and fault is open, the reason is noted on that one."""

    terminal_id: int
    fault: str
    reason: str
    evidence: dict[str, Any]
    """Without the link history, which is added here."""
    at_us: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The terminal has proved that it works."""

    terminal_id: int
    fault: str
    proof: str
    detail: dict[str, Any]
    at_us: int


@dataclass(frozen=True, slots=True)
class IncidentOpened:
    """Many terminals have the same fault at once."""

    kind: str
    terminals: int
    detail: dict[str, Any]
    at_us: int


@dataclass(frozen=True, slots=True)
class IncidentClosed:
    """What is left of an incident is no mass. `terminals` is how many there were at its height."""

    kind: str
    terminals: int
    detail: dict[str, Any]
    at_us: int


Change: TypeAlias = Opened | Closed | IncidentOpened | IncidentClosed

_OPEN = """
WITH history AS (
    SELECT coalesce(jsonb_agg(jsonb_build_object('at', at, 'event', event, 'peer', peer)
                              ORDER BY at DESC, id DESC), '[]') AS links
      FROM (SELECT * FROM link_events WHERE terminal_id = %(terminal_id)s AND at < %(at)s
             ORDER BY at DESC, id DESC LIMIT %(limit)s) e
), new AS (
    INSERT INTO tickets (terminal_id, vehicle_id, fault, reason, evidence, opened_at)
    SELECT %(terminal_id)s,
           (SELECT vehicle_id FROM installations
             WHERE terminal_id = %(terminal_id)s AND installed_at <= %(at)s
               AND coalesce(removed_at > %(at)s, true)),
           %(fault)s, %(reason)s, %(evidence)s::jsonb || jsonb_build_object('links', links), %(at)s
      FROM history
    ON CONFLICT (terminal_id, fault) WHERE closed_at IS NULL DO NOTHING
    RETURNING id
)
INSERT INTO ticket_changes (ticket_id, at, change, detail)
SELECT id, %(at)s, 'opened', '{}'::jsonb FROM new
UNION ALL
SELECT id, %(at)s, 'noted', jsonb_build_object('note', %(reason)s::text) FROM tickets
 WHERE terminal_id = %(terminal_id)s AND fault = %(fault)s AND closed_at IS NULL
   AND NOT EXISTS (SELECT FROM new)
"""

_CLOSE = """
WITH closed AS (
    UPDATE tickets SET state = 'closed', closed_at = greatest(%(at)s, opened_at), closed_because = %(proof)s
     WHERE terminal_id = %(terminal_id)s AND fault = %(fault)s AND closed_at IS NULL
 RETURNING id
)
INSERT INTO ticket_changes (ticket_id, at, change, detail) SELECT id, %(at)s, 'closed', %(detail)s FROM closed
"""

_OPEN_INCIDENT = """
INSERT INTO incidents (kind, opened_at, terminals, detail)
VALUES (%(kind)s, %(at)s, %(terminals)s, %(detail)s)
ON CONFLICT (kind) WHERE closed_at IS NULL DO NOTHING
"""

_CLOSE_INCIDENT = """
UPDATE incidents SET closed_at = %(at)s, terminals = %(terminals)s, detail = detail || %(detail)s
 WHERE kind = %(kind)s AND closed_at IS NULL
"""


def apply(connection: Connection, changes: Iterable[Change]) -> None:
    """Write changes, given in their order, inside the caller's transaction."""
    for each in changes:
        values = {name: getattr(each, name) for name in each.__slots__}
        values["at"] = from_us(values.pop("at_us"))
        match each:
            case Opened(evidence=evidence):
                values |= {"evidence": Jsonb(evidence), "limit": LINK_HISTORY}
                connection.execute(_OPEN, values)
            case Closed(proof=proof, detail=detail):
                connection.execute(_CLOSE, {**values, "detail": Jsonb({**detail, "note": proof})})
            case IncidentOpened(detail=detail):
                connection.execute(_OPEN_INCIDENT, {**values, "detail": Jsonb(detail)})
            case IncidentClosed(detail=detail):
                connection.execute(_CLOSE_INCIDENT, {**values, "detail": Jsonb(detail)})
