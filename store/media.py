"""Media 多媒体 (0x0801): pictures, sounds and videos, with where and why they were taken.

The content is a file (`store.blobs`), written before the row that names it. The same medium again (a
retransmission, a second upload) is the same row with a count.

In 2011 a medium may come as packets, each a message of its own. They are held as other pieces are
(`store.pieces`), and become one row when all are there.

Which alarm a medium belongs to is not stored: it is of the alarm's terminal and was taken while the condition
held, or so shortly before or after that it shows it. So it is right whatever comes late.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import psycopg

from store import select
from store.blobs import Blobs
from store.desk import TERMINAL_REF, VEHICLE_REF
from store.fleet import place
from store.refusals import NotFound
from store.select import Page, Row
from store.times import from_us

Connection = psycopg.Connection[Any]

WHOLE: Final = 0
"""The part that is all parts."""
BEFORE_ALARM: LiteralString = "10 seconds"
AFTER_ALARM: LiteralString = "60 seconds"
"""A medium that was taken so shortly before an alarm began or after it ended shows it: cameras are told to
take pictures when an alarm begins, and take a while."""
PROVED_AT_ONCE: LiteralString = "1000"
"""So many contents are asked for at a time: no snapshot of the database is held while they are read."""


@dataclass(frozen=True, slots=True)
class Medium:
    """One medium."""

    terminal_id: int
    received_us: int
    reported_us: int | None
    media_id: int
    kind: int
    format: int
    event: int
    channel: int
    part: int
    parts: int
    fix: tuple[float, float] | None
    """Latitude and longitude in WGS-84 degrees."""
    speed_kmh: float | None
    alarm_bits: int | None
    status_bits: int | None
    serial: int
    edition: str
    head: bytes
    """The body before the content."""
    content: bytes
    log_id: UUID
    position: int
    """Of the record that completed it."""
    ordinal: int


_COLUMNS = """
terminal_id, received_at, reported_at, media_id, kind, format, event, channel, part, parts, lat, lon,
speed_kmh, alarm_bits, status_bits, serial, edition, head, sha256, size, last_received_at, log_id, position,
ordinal
"""
_INSERT = f"""
INSERT INTO media AS there ({_COLUMNS}) VALUES ({", ".join(["%s"] * 24)})
ON CONFLICT (terminal_id, media_id, part, parts, reported_at, sha256) DO UPDATE
   SET copies = there.copies + 1, last_received_at = greatest(there.last_received_at, excluded.received_at)
"""


def write(connection: Connection, blobs: Blobs, media: Sequence[Medium]) -> None:
    """Write media in the caller's transaction; the contents of all are on the disk before.

    Raises:
        OSError: a content cannot be written.
    """
    digests = blobs.put_all([each.content for each in media])
    for each, digest in zip(media, digests, strict=True):
        connection.execute(_INSERT, _row(each, digest))


def _row(medium: Medium, digest: bytes) -> list[Any]:
    received_at = from_us(medium.received_us)
    return [
        medium.terminal_id,
        received_at,
        None if medium.reported_us is None else from_us(medium.reported_us),
        *(medium.media_id, medium.kind, medium.format, medium.event, medium.channel),
        *(medium.part, medium.parts),
        *(medium.fix or (None, None)),
        *(medium.speed_kmh, medium.alarm_bits, medium.status_bits, medium.serial, medium.edition),
        *(medium.head, digest, len(medium.content), received_at),
        *(medium.log_id, medium.position, medium.ordinal),
    ]


def named(connection: Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Give those of some hashes that rows name."""
    rows = connection.execute("SELECT sha256 FROM media WHERE sha256 = ANY(%s)", [list(digests)])
    return {bytes(row[0]) for row in rows}


@dataclass(slots=True)
class MediaProof:
    """What was proved of media: the file of every row is there and has the content by which it is named."""

    files: int = 0
    bytes: int = 0
    broken: "BrokenMedium | None" = None


class BrokenMedium(NamedTuple):
    """The first medium whose content is not what was received."""

    where: str
    """Its file, below the directory of media."""
    what: str
    medium: int
    """`media.id` of the first row that names the file."""
    terminal: str
    received_at: datetime


_CHOSEN: LiteralString = """
  FROM media m JOIN terminals t ON t.id = m.terminal_id
 WHERE (m.received_at AT TIME ZONE 'UTC' + interval '8 hours')::date BETWEEN %(first)s AND %(last)s
   AND (%(identity)s::text IS NULL OR t.identity = %(identity)s)
"""
_SUM: LiteralString = f"""
SELECT coalesce(sum(size), 0)::bigint FROM (SELECT DISTINCT m.sha256, m.size {_CHOSEN}) AS contents
"""
_NAMES: LiteralString = f"""
SELECT m.sha256, m.size, m.id, t.identity, m.received_at
  FROM (SELECT m.sha256, min(m.id) AS id {_CHOSEN} AND m.sha256 > %(after)s
         GROUP BY m.sha256 ORDER BY m.sha256 LIMIT {PROVED_AT_ONCE}) AS first
  JOIN media m USING (id) JOIN terminals t ON t.id = m.terminal_id
 ORDER BY m.sha256
"""


def prove(
    connection: Connection,
    blobs: Blobs,
    *,
    identity: str | None = None,
    between: tuple[date, date] = (date.min, date.max),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> MediaProof:
    """Prove that every stored content is there and is what was received, or name the first one that is not.

    Args:
        identity: of the terminal whose media alone are read
        between: first and last day of receipt, in Beijing
        progress: told how many bytes of how many are proved
    """
    proof = MediaProof()
    asked = {"first": between[0], "last": between[1], "identity": identity, "after": b""}
    ((total,),) = connection.execute(_SUM, asked).fetchall()
    while rows := connection.execute(_NAMES, asked).fetchall():
        for digest, size, *row in rows:
            what = blobs.fault(digest)
            # Retention may have let go of it since the rows were read.
            if what is not None and named(connection, [digest]):
                proof.broken = BrokenMedium(str(blobs.path(digest).relative_to(blobs.directory)), what, *row)
                return proof
            proof.files += what is None
            proof.bytes += size
            progress(proof.bytes, total)
        asked["after"] = rows[-1][0]
    return proof


_OF_ALARM: LiteralString = f"""
coalesce(m.reported_at, m.received_at) >= a.began_at - interval '{BEFORE_ALARM}'
AND coalesce(m.reported_at, m.received_at) <= coalesce(a.ended_at, a.last_seen_at) + interval '{AFTER_ALARM}'
"""
_VIEW: LiteralString = f"""
SELECT m.id, m.received_at, m.reported_at, m.media_id, m.kind, m.format, m.event, m.channel, {place("m")},
       m.speed_kmh, m.alarm_bits, m.status_bits, encode(m.sha256, 'hex') AS sha256, m.size, m.copies,
       {TERMINAL_REF}, {VEHICLE_REF},
       ARRAY(SELECT a.id FROM alarms a
              WHERE a.terminal_id = m.terminal_id AND {_OF_ALARM} ORDER BY a.began_at DESC LIMIT 20) AS alarms
  FROM media m JOIN terminals t ON t.id = m.terminal_id
  LEFT JOIN LATERAL (
       SELECT v.id, v.plate, v.plate_color FROM installations i JOIN vehicles v ON v.id = i.vehicle_id
        WHERE i.terminal_id = m.terminal_id AND i.installed_at <= coalesce(m.reported_at, m.received_at)
          AND coalesce(i.removed_at, 'infinity') > coalesce(m.reported_at, m.received_at)
        ORDER BY i.installed_at DESC LIMIT 1) v ON true
"""
_CONDITIONS: dict[str, LiteralString] = {
    "terminal_id": "m.terminal_id = %(terminal_id)s",
    "vehicle_id": "v.id = %(vehicle_id)s",
    "alarm_id": f"""
        m.terminal_id = (SELECT a.terminal_id FROM alarms a WHERE a.id = %(alarm_id)s)
        AND EXISTS (SELECT FROM alarms a WHERE a.id = %(alarm_id)s AND {_OF_ALARM})""",
    "kind": "m.kind = %(kind)s",
    "since": "m.received_at >= %(since)s",
    "until": "m.received_at < %(until)s",
    "after_id": "(m.received_at, m.id) < (%(after_at)s, %(after_id)s)",
}
_IS_WHOLE: LiteralString = "(m.parts = 1 OR m.part = 0)"


async def page(
    connection: select.Connection, *, limit: int, cursor: str | None = None, **filters: Any
) -> Page:
    """List media, newest first. Filters: terminal_id, vehicle_id, alarm_id, kind, since, until (of
    received_at).
    """
    given = dict(filters)
    if cursor:
        given["after_at"], given["after_id"] = select.decode_cursor(cursor, (datetime, int))
    query = f"{_VIEW} WHERE {_IS_WHOLE} AND {select.where(_CONDITIONS, given)}"
    query += " ORDER BY m.received_at DESC, m.id DESC"
    return await select.fetch_page(connection, query, given, key=("received_at", "id"), limit=limit)


async def medium(connection: select.Connection, medium_id: int) -> Row:
    """Give one medium.

    Raises:
        NotFound
    """
    row = await select.fetch_one(connection, f"{_VIEW} WHERE {_IS_WHOLE} AND m.id = %s", (medium_id,))
    if row is None:
        raise NotFound("medium", medium_id)
    return row
