"""The lobby: terminals that came by themselves and wait to be accepted, and when many are let in.

An **enrolment window** is a decision with an end. Gateways learn of it with their copy of the fleet.
Functions run inside the caller's transaction and write the audit; `by` is the name of the person.

Refusals: `store.refusals`.
"""

from datetime import timedelta
from typing import Final, LiteralString

from store.audit import audit
from store.decisions import ENROLMENT, Decision, decide
from store.refusals import Unacceptable
from store.select import Connection, Row, fetch_one

LOBBY: Final = "lobby"
"""The subject of the decision."""

LONGEST: Final = timedelta(days=7)
"""A window that is forgotten is an open door."""
MOST_ROOM: Final = 200_000
DEFAULT_ROOM: Final = 20_000

_LOBBY: LiteralString = """
SELECT (SELECT count(*) FROM terminals WHERE NOT known AND NOT blocked AND NOT forgotten) AS waiting,
       (SELECT jsonb_build_object('until', to_timestamp((value->>'until_us')::bigint / 1e6),
                                  'room', (value->>'room')::integer, 'opened_by', v.decided_by)
          FROM (SELECT value, version FROM decisions WHERE kind = 'enrolment'
                 ORDER BY version DESC LIMIT 1) AS last JOIN decision_versions v USING (version)
         WHERE (value->>'until_us')::bigint > extract(epoch FROM now()) * 1e6) AS enrolment
"""


async def lobby(connection: Connection) -> Row:
    """Say how many terminals wait, and until when many may come."""
    row = await fetch_one(connection, _LOBBY)
    assert row is not None
    return row


async def open_enrolment(connection: Connection, lasting: timedelta, room: int, *, by: str) -> Row:
    """Let so many more new terminals come for some time, from any address and over any link.

    Raises:
        Unacceptable
    """
    if not timedelta(0) < lasting <= LONGEST:
        raise Unacceptable("hours", f"more than 0 and at most {LONGEST // timedelta(hours=1)}")
    if not 0 < room <= MOST_ROOM:
        raise Unacceptable("room", f"1 to {MOST_ROOM}")
    now = await fetch_one(connection, "SELECT (extract(epoch FROM now()) * 1e6)::bigint AS us")
    assert now is not None
    until_us = now["us"] + lasting // timedelta(microseconds=1)
    said = {"until_us": until_us, "room": room}
    await decide(connection, by, [Decision(ENROLMENT, LOBBY, said)])
    await audit(connection, by, "lobby.opened", LOBBY, hours=lasting / timedelta(hours=1), room=room)
    return await lobby(connection)


async def close_enrolment(connection: Connection, *, by: str) -> Row:
    """Let new terminals come as the settings say."""
    if await decide(connection, by, [Decision(ENROLMENT, LOBBY, None)]) is not None:
        await audit(connection, by, "lobby.closed", LOBBY)
    return await lobby(connection)
