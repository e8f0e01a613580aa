"""Input that could not be used, kept as received with the reason: nothing that was answered disappears.

And nothing that is sent fills the disk: of each terminal, reason and hour of receipt the first
`kept_per_hour` are kept, and nothing more once the whole has `most_bytes`. The rest is counted
(`quarantine_counts`); its bytes are in the archive, from which a replay reads them. What could not be
*written* is always kept, because the worker must know it when it reads the log again.

What is kept follows from the log alone, however it is cut, but for the bound of the whole: room is also made
by people and by time.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, LiteralString, TypeAlias
from uuid import UUID

import psycopg

from store import select
from store.audit import audit
from store.times import from_us

Connection = psycopg.Connection[Any]
Bucket: TypeAlias = tuple[datetime, int | None, str]
"""An hour of receipt, a terminal (None: of none that is known) and a reason."""

POISONED: Final = "poisoned"
"""The reason of frames whose facts cannot be written."""

ROW_BYTES: Final = 200
"""A row of quarantine costs so much beside its bytes: its columns, and its places in three indexes."""
HOUR_US: Final = 3_600_000_000
DELETED_AT_ONCE: Final = 50_000
"""Rows: a second's work, so that no worker waits long for the count of the whole."""

_INSERT = """
INSERT INTO quarantine (received_at, terminal_id, peer, msg_id, reason, detail, raw, log_id, position,
ordinal) SELECT * FROM unnest(%s::timestamptz[], %s::integer[], %s::text[], %s::integer[], %s::text[],
%s::text[],
                     %s::bytea[], %s::uuid[], %s::bigint[], %s::integer[])
ON CONFLICT (log_id, position, ordinal) DO NOTHING
"""
_BUCKETS: LiteralString = "unnest(%s::timestamptz[], %s::integer[], %s::text[])"
_COUNTED = f"""
SELECT c.hour, c.terminal_id, c.reason, c.things
  FROM {_BUCKETS} AS b (hour, terminal_id, reason)
  JOIN quarantine_counts c ON c.hour = b.hour AND c.reason = b.reason
   AND c.terminal_id IS NOT DISTINCT FROM b.terminal_id
"""
_COUNT = """
INSERT INTO quarantine_counts AS c (hour, terminal_id, reason, things, kept)
SELECT * FROM unnest(%s::timestamptz[], %s::integer[], %s::text[], %s::bigint[], %s::bigint[])
ON CONFLICT (hour, terminal_id, reason) DO UPDATE
   SET things = c.things + excluded.things, kept = c.kept + excluded.kept
"""
_LOCK_SIZE: LiteralString = "SELECT size_bytes FROM quarantine_size FOR UPDATE"
"""First of all, by whoever writes or deletes: the triggers take this lock after those of the counts, which
two may hold in each other's way."""
_DELETE: LiteralString = f"""
WITH deleted AS (
    DELETE FROM quarantine WHERE id IN (
        SELECT id FROM quarantine q WHERE q.reason <> '{POISONED}' AND {{where}}
           AND NOT EXISTS (SELECT FROM held_terminals h WHERE h.terminal_id = q.terminal_id
                              AND q.received_at >= h.begins_at AND q.received_at < h.ends_at)
         ORDER BY id LIMIT %(limit)s)
    RETURNING received_at, terminal_id, reason, octet_length(raw) AS size_bytes
), counted AS (
    UPDATE quarantine_counts c SET kept = greatest(0, c.kept - d.things)
      FROM (SELECT date_bin('1 hour', received_at, 'epoch') AS hour, terminal_id, reason, count(*) AS things
              FROM deleted GROUP BY 1, 2, 3) d
     WHERE c.hour = d.hour AND c.reason = d.reason AND c.terminal_id IS NOT DISTINCT FROM d.terminal_id
)
SELECT count(*) AS things, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM deleted
"""
_CHOICES: dict[str, LiteralString] = {
    "quarantine_id": "q.id = %(quarantine_id)s",
    "reason": "q.reason = %(reason)s",
    "terminal_id": "q.terminal_id = %(terminal_id)s",
    "since": "q.received_at >= %(since)s",
    "until": "q.received_at < %(until)s",
}
_SURVEY = """
SELECT coalesce(s.things, 0) AS things, coalesce(s.size_bytes, 0) AS size_bytes,
       coalesce(c.things, 0)::bigint AS received, coalesce(c.things - c.kept, 0)::bigint AS only_counted
  FROM (SELECT sum(things) AS things, sum(kept) AS kept FROM quarantine_counts WHERE hour >= %s) c
  LEFT JOIN quarantine_size s ON true
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept."""

    kept_per_hour: int = 100
    """Of each terminal and reason: enough to see what is wrong with it; a thousand are wrong the same way."""
    most_bytes: int = 1 << 30
    """Of all that is kept, as it was sent and with `ROW_BYTES` for each: a few hours of everybody's
    hour."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One frame, or bytes that are none."""

    received_us: int
    reason: str
    """A short stable name: those of `protocol.errors`, and the ones that the worker adds."""
    raw: bytes
    log_id: UUID
    position: int
    """Of the record in that log, which together with `ordinal` makes the row unique."""
    ordinal: int
    terminal_id: int | None = None
    msg_id: int | None = None
    peer: str = ""
    detail: str = ""

    @property
    def place(self) -> tuple[UUID, int, int]:
        """Where it stands in the log."""
        return self.log_id, self.position, self.ordinal

    @property
    def bucket(self) -> Bucket:
        """With what it is counted."""
        return bucket_of(self.received_us, self.terminal_id, self.reason)

    @property
    def size_bytes(self) -> int:
        """What keeping it costs, as `quarantine_size` counts it."""
        return len(self.raw) + len(self.detail.encode()) + ROW_BYTES


def bucket_of(received_us: int, terminal_id: int | None, reason: str) -> Bucket:
    """Say with what a thing is counted."""
    return from_us(received_us - received_us % HOUR_US), terminal_id, reason


def insert(
    connection: Connection,
    entries: Sequence[Quarantined],
    limits: Limits | None = None,
    *,
    only_counted: Mapping[Bucket, int] = MappingProxyType({}),
) -> None:
    """Count the entries and write those that are kept, in the caller's transaction. Of each bucket they come
    in order of the log; of several for one place the first counts. Of `only_counted` nothing is kept; no
    entry shares a bucket with it.
    """
    if not only_counted and not entries:
        return
    size = connection.execute(_LOCK_SIZE).fetchone()
    if only_counted:
        counts = [list(only_counted.values()), [0] * len(only_counted)]
        connection.execute(_COUNT, [*_columns(list(only_counted)), *counts])
    if not entries:
        return
    first: dict[tuple[UUID, int, int], Quarantined] = {}
    for each in entries:
        first.setdefault(each.place, each)
    received = Counter(each.bucket for each in first.values())
    buckets = list(received)
    counted = {(row[0], row[1], row[2]): row[3] for row in connection.execute(_COUNTED, _columns(buckets))}
    kept = _kept(first.values(), counted, size[0] if size else 0, limits or Limits())
    kept_of = Counter(each.bucket for each in kept)
    counts = [[each[bucket] for bucket in buckets] for each in (received, kept_of)]
    connection.execute(_COUNT, [*_columns(buckets), *counts])
    if not kept:
        return
    connection.execute(
        _INSERT,
        [
            [from_us(each.received_us) for each in kept],
            [each.terminal_id for each in kept],
            [each.peer for each in kept],
            [each.msg_id for each in kept],
            [each.reason for each in kept],
            [each.detail for each in kept],
            [each.raw for each in kept],
            [each.log_id for each in kept],
            [each.position for each in kept],
            [each.ordinal for each in kept],
        ],
    )


def poisoned(connection: Connection, log_id: UUID, begin: int, end: int) -> set[tuple[UUID, int, int]]:
    """Give the places (log, position and ordinal) in a part of a log that could not be written."""
    found = connection.execute(
        "SELECT log_id, position, ordinal FROM quarantine"
        " WHERE log_id = %s AND position >= %s AND position < %s AND reason = %s",
        [log_id, begin, end, POISONED],
    )
    return set(found.fetchall())


async def delete(
    connection: select.Connection,
    *,
    by: str,
    quarantine_id: int | None = None,
    reason: str | None = None,
    terminal_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = DELETED_AT_ONCE,
) -> int:
    """Delete what is chosen, the oldest first and at most `limit`, and give how many that were; in the
    caller's transaction, with an audit line of `by`. Where `limit` were deleted, ask again.

    `since` and `until` are of receipt. What is held stays, and so does what could not be written.
    """
    chosen = {
        "quarantine_id": quarantine_id,
        "reason": reason,
        "terminal_id": terminal_id,
        "since": since,
        "until": until,
    }
    query = _DELETE.replace("{where}", select.where(_CHOICES, chosen))
    await connection.execute(_LOCK_SIZE)
    row = await select.fetch_one(connection, query, chosen | {"limit": limit})
    assert row is not None
    if row["things"]:
        told = {name: str(value) for name, value in chosen.items() if value is not None}
        await audit(connection, by, "quarantine.deleted", "", **told, **row)
    return int(row["things"])


async def survey(connection: select.Connection, since: datetime) -> select.Row:
    """Say how large quarantine is: `things` and `size_bytes` of all that is kept; `received` in the hours
    from `since` on, and how many of these were `only_counted`.
    """
    row = await select.fetch_one(connection, _SURVEY, [since])
    assert row is not None
    return row


def _kept(
    entries: Iterable[Quarantined], counted: dict[Bucket, int], size_bytes: int, limits: Limits
) -> list[Quarantined]:
    """Choose what is kept, in order. `counted` says how many of each bucket there were before."""
    counts = Counter(counted)
    kept = []
    for each in entries:
        bucket = each.bucket
        counts[bucket] += 1
        has_room = (
            counts[bucket] <= limits.kept_per_hour and size_bytes + each.size_bytes <= limits.most_bytes
        )
        if has_room or each.reason == POISONED:
            size_bytes += each.size_bytes
            kept.append(each)
    return kept


def _columns(buckets: Sequence[Bucket]) -> list[list[Any]]:
    return [[each[column] for each in buckets] for column in range(3)]
