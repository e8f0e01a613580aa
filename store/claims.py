"""Claims: what a terminal says of itself in 0x0100 before anybody can know that it is that terminal.

People see the newest one beside the terminal; once its session has authenticated it is the registration.
"""

from collections.abc import Sequence
from typing import Any, Final, LiteralString, NamedTuple

import psycopg

from store.terminals import Registration
from store.text import visible
from store.times import from_us

Connection = psycopg.Connection[Any]

KEPT: Final = 64
"""Claims of a terminal: more than the worker reads of one in a minute, and a terminal authenticates within
seconds. So nobody can crowd out the one that it goes by."""

_PUT: LiteralString = """
INSERT INTO claims (terminal_id, session, received_at, edition, province_id, city_id, manufacturer_id, model,
                    maker_terminal_id, plate, plate_color)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (terminal_id, session) DO UPDATE
   SET (received_at, edition, province_id, city_id, manufacturer_id, model, maker_terminal_id, plate,
        plate_color)
     = (excluded.received_at, excluded.edition, excluded.province_id, excluded.city_id,
        excluded.manufacturer_id, excluded.model, excluded.maker_terminal_id, excluded.plate,
        excluded.plate_color)
"""
_PRUNE: LiteralString = f"""
DELETE FROM claims c
 WHERE terminal_id = ANY(%s)
   AND session < (SELECT min(session) FROM (SELECT session FROM claims k WHERE k.terminal_id = c.terminal_id
                                             ORDER BY session DESC LIMIT {KEPT}) newest)
"""
_RENEW: LiteralString = "UPDATE claims SET session = %s WHERE terminal_id = %s AND session = %s"
_TAKE: LiteralString = """
DELETE FROM claims WHERE terminal_id = %s AND session = %s
RETURNING edition, province_id, city_id, manufacturer_id, model, maker_terminal_id, plate, plate_color
"""
# Sessions only grow: what an older one claimed is of no interest any more.
_FORGET: LiteralString = "DELETE FROM claims WHERE terminal_id = %s AND session < %s"

_WAITING: LiteralString = """
SELECT terminal_id, session, edition FROM claims c
 WHERE NOT EXISTS (SELECT FROM link_events e WHERE e.session = c.session
                      AND e.event NOT IN ('opened', 'gateway_lost', 'gateway_back'))
"""


class Claim(NamedTuple):
    """What a session claims."""

    session: int
    said: Registration


class Renewed(NamedTuple):
    """A session goes on under another number, and so does what it claims."""

    number: int
    terminal_id: int
    older: int


def renew(connection: Connection, renewed: Sequence[Renewed]) -> None:
    """Keep claims under the new numbers of their sessions, in the caller's transaction."""
    for each in renewed:
        connection.execute(_RENEW, each)


def put(connection: Connection, claims: Sequence[Claim]) -> None:
    """Keep claims in the caller's transaction; of a session the last one counts."""
    if not claims:
        return
    last = {(each.said.terminal_id, each.session): each.said for each in claims}
    with connection.cursor() as cursor:
        cursor.executemany(_PUT, [_row(session, said) for (_, session), said in last.items()])
    connection.execute(_PRUNE, [sorted({terminal_id for terminal_id, _ in last})])


def waiting(connection: Connection) -> list[tuple[int, int, str]]:
    """Give which terminals claim something in which sessions, as far as these have not ended, and by which
    edition.
    """
    return connection.execute(_WAITING).fetchall()


class Proof(NamedTuple):
    """A session has authenticated."""

    terminal_id: int
    session: int
    newest: int
    """The number under which it goes on, and its claim is kept."""
    at_us: int


def prove(connection: Connection, proof: Proof) -> Registration | None:
    """Take what a session claimed as said now, in the caller's transaction, and give it, if it is there."""
    claimed = connection.execute(_TAKE, (proof.terminal_id, proof.newest)).fetchone()
    connection.execute(_FORGET, (proof.terminal_id, proof.session))
    return None if claimed is None else Registration(proof.terminal_id, proof.at_us, *claimed)


def _row(session: int, said: Registration) -> tuple[Any, ...]:
    return (
        said.terminal_id,
        session,
        from_us(said.at_us),
        said.edition,
        said.province_id,
        said.city_id,
        *(visible(each.strip("\0 ")) for each in (said.manufacturer_id, said.model, said.maker_terminal_id)),
        visible(said.plate.strip("\0 ")),
        said.plate_color,
    )
