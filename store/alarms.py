"""Writing alarms: what the rules decided becomes rows, in the transaction that moves the cursor.

Many alarms change in one batch when a fleet is busy, so each kind of change is one statement.
Changes of one alarm must keep their order: they are written in rounds, and a round has at most one change of
each key, but for history, which stands beside the rest of its key.

No statement reads what a key has behind it, nor what began elsewhere in the same second: each finds at most
one row for each change, by an index.

The operators' side of the same table is `store.desk`; where both meet, the partial unique index on open
alarms and the row locks decide who comes first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, LiteralString, TypeAlias

import msgspec
import psycopg
from psycopg.rows import class_row

from store.quality import Quality
from store.times import from_us

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Raised:
    """A condition holds that did not hold before."""

    terminal_id: int
    condition: str
    object: str
    edition: str
    severity: int
    ends: str
    late: bool
    on_desk: bool
    began_us: int
    ended_us: int | None
    """Only late ones may be over already."""
    seen_us: int
    received_us: int
    lat: float | None
    lon: float | None
    speed_kmh: float | None
    since_us: int | None = None
    """It came back: the newest of the key that began then or later goes on, unless it was handled."""
    again_us: Sequence[int] = ()
    """Receipt of the reports that raised it once more."""
    gone_us: Sequence[int] = ()
    """And of those that ended it in between."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A condition holds no longer: the open alarm of the key, or, with `began_us`, a late one, is over."""

    terminal_id: int
    condition: str
    object: str
    began_us: int | None
    ended_us: int
    received_us: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Reports repeated an alarm that is known: the open one of the key, or, with `began_us` and
    `ended_us`, a late one, which goes on until then.
    """

    terminal_id: int
    condition: str
    object: str
    began_us: int | None
    ended_us: int | None
    seen_us: int
    reports: int


Change: TypeAlias = Raised | Ended | Seen

_KEY = "a.terminal_id = r.terminal_id AND a.condition = r.condition AND a.object = r.object"
_AT_START = """LATERAL (
    SELECT a.* FROM alarms a
     WHERE (a.terminal_id, a.began_at, a.condition, a.object)
           >= (r.terminal_id, r.began_at, r.condition, r.object)
     ORDER BY a.terminal_id, a.began_at, a.condition, a.object LIMIT 1
) a"""
"""The first alarm at or after the start of each change: the one that began there, if there is one. Compared
as a row, because then only the index of that order will do: with four equations the server may take one by
time alone, and read for each change all that began in that second."""
_OPEN = """LATERAL (
    SELECT a.* FROM alarms a
     WHERE (a.terminal_id, a.condition, a.object) >= (r.terminal_id, r.condition, r.object)
       AND a.ended_at IS NULL
     ORDER BY a.terminal_id, a.condition, a.object LIMIT 1
) a"""
_NEWEST_LIVE = """LATERAL (
    SELECT a.* FROM alarms a
     WHERE (a.terminal_id, a.condition, a.object) <= (r.terminal_id, r.condition, r.object) AND NOT a.late
     ORDER BY a.terminal_id DESC, a.condition DESC, a.object DESC, a.began_at DESC LIMIT 1
) a"""
_LIVE_BEFORE = """LATERAL (
    SELECT a.* FROM alarms a
     WHERE (a.terminal_id, a.condition, a.object, a.began_at)
           < (r.terminal_id, r.condition, r.object, r.began_at) AND NOT a.late
     ORDER BY a.terminal_id DESC, a.condition DESC, a.object DESC, a.began_at DESC LIMIT 1
) a"""
"""Likewise the open one of the key, its newest live one, and its last live one that began before; where the
key has none, one of another key."""
_STILL_OPEN = "num_nulls(alarms.ended_at) = 1"
"""Whoever handled it a moment ago may have ended it. Said so that the server takes no index for it."""
_NEW_COLUMNS = """
condition, object, edition, severity, ends, late, on_desk, began_at, received_at, last_seen_at, ended_at, lat,
lon, speed_kmh
"""

_GIVEN = """
    SELECT *, 1 + coalesce(json_array_length(again), 0) AS times FROM json_to_recordset(%s::json) AS r (
        n integer, terminal_id integer, condition text, object text, edition text, severity smallint,
        ends text, late boolean, on_desk boolean, began_at timestamptz, ended_at timestamptz,
        last_seen_at timestamptz, received_at timestamptz, lat float8, lon float8, speed_kmh float4,
        since_at timestamptz, again json, gone json, reports integer
    )
"""
"""The changes, whatever their kind says of them. As JSON, because that takes a tenth of the processor time
that psycopg needs for as many arrays."""

_RAISED = """
WITH r AS ({given}), open AS (
    UPDATE alarms
       SET reports = alarms.reports + r.times, last_seen_at = greatest(alarms.last_seen_at, r.last_seen_at)
      FROM r JOIN {open} ON {key} AND r.ended_at IS NULL  -- history stands beside what is open
     WHERE alarms.id = a.id AND {still_open}
 RETURNING a.id, r.n
), same AS ({same}
), new AS (
    INSERT INTO alarms (terminal_id, vehicle_id, reports, {columns})
    SELECT r.terminal_id, i.vehicle_id, times, {columns}
      FROM r LEFT JOIN installations i ON i.terminal_id = r.terminal_id AND i.installed_at <= r.received_at
                                      AND coalesce(i.removed_at > r.received_at, true)
     WHERE n NOT IN (SELECT n FROM open UNION ALL SELECT n FROM same)
     ORDER BY n
 RETURNING id, terminal_id, condition, object, began_at
), told AS (
    SELECT a.id, n, 'raised' AS change FROM new a JOIN r ON {key} AND r.began_at = a.began_at
    UNION ALL
    SELECT id, n, 'raised_again' FROM (SELECT * FROM open {also_same}) known
)
INSERT INTO alarm_changes (alarm_id, at, change)
SELECT told.id, each.at, each.change
  FROM told JOIN r USING (n)
 CROSS JOIN LATERAL (
     SELECT r.received_at AS at, told.change, 0::bigint AS place
     UNION ALL
     SELECT at::timestamptz, 'ended', 2 * place - 1
       FROM json_array_elements_text(r.gone) WITH ORDINALITY AS x (at, place)
     UNION ALL
     SELECT at::timestamptz, 'raised_again', 2 * place
       FROM json_array_elements_text(r.again) WITH ORDINALITY AS x (at, place)
 ) each
 ORDER BY n, place
"""

# One that came back is the newest of its key, unless that was handled meanwhile; and one that begins where an
# old one began is the old one. Either goes on.
_RAISED_LIVE = _RAISED.format(
    given=_GIVEN,
    key=_KEY,
    open=_OPEN,
    still_open=_STILL_OPEN,
    columns=_NEW_COLUMNS,
    same=f"""
    UPDATE alarms a
       SET ended_at = NULL, on_desk = true, late = false, reports = a.reports + r.times,
           last_seen_at = greatest(a.last_seen_at, r.last_seen_at)
      FROM (
           SELECT DISTINCT ON (n) *
             FROM (SELECT r.*, a.id, 2 AS choice
                     FROM r JOIN {_AT_START} ON {_KEY} AND a.began_at = r.began_at
                   UNION ALL
                   SELECT r.*, a.id, 1
                     FROM r JOIN {_NEWEST_LIVE} ON {_KEY} AND a.began_at >= r.since_at
                    WHERE a.handled_at IS NULL
                  ) known
            ORDER BY n, choice
           ) r
     WHERE a.id = r.id AND n NOT IN (SELECT n FROM open)
       AND (r.choice = 2 OR a.handled_at IS NULL)  -- also a moment ago
 RETURNING a.id, r.n""",
    also_same="UNION ALL SELECT * FROM same",
)
# A late one that begins where an old one began is a copy, and so is history that begins while a live one held
# that the terminal ended: one of its reports was sent once more. That is the last one that began before.
_RAISED_LATE = _RAISED.format(
    given=_GIVEN,
    key=_KEY,
    open=_OPEN,
    still_open=_STILL_OPEN,
    columns=_NEW_COLUMNS,
    same=f"""
    SELECT a.id, r.n FROM r JOIN {_AT_START} ON {_KEY} AND a.began_at = r.began_at
    UNION
    SELECT a.id, r.n FROM r JOIN {_LIVE_BEFORE} ON {_KEY}
     WHERE a.ends = 'by_terminal' AND r.ended_at IS NOT NULL AND r.began_at <= a.ended_at""",
    also_same="",
)

_ENDED_LIVE = f"""
WITH r AS ({_GIVEN}), over AS (
    UPDATE alarms SET ended_at = greatest(alarms.began_at, r.ended_at)
      FROM r JOIN {_OPEN} ON {_KEY}
     WHERE alarms.id = a.id AND {_STILL_OPEN}
 RETURNING a.id, r.received_at
)
INSERT INTO alarm_changes (alarm_id, at, change) SELECT id, received_at, 'ended' FROM over
"""
_ENDED_LATE = f"""
WITH r AS ({_GIVEN})
UPDATE alarms SET ended_at = greatest(alarms.ended_at, r.ended_at)
  FROM r JOIN {_AT_START} ON {_KEY} AND a.began_at = r.began_at
 WHERE alarms.id = a.id AND a.late AND a.ended_at < r.ended_at
"""
_SEEN_OPEN = f"""
WITH r AS ({_GIVEN})
UPDATE alarms
   SET reports = alarms.reports + r.reports, last_seen_at = greatest(alarms.last_seen_at, r.last_seen_at)
  FROM r JOIN {_OPEN} ON {_KEY}
 WHERE alarms.id = a.id AND {_STILL_OPEN}
"""
_SEEN_LATE = f"""
WITH r AS ({_GIVEN})
UPDATE alarms
   SET reports = alarms.reports + r.reports, ended_at = greatest(alarms.ended_at, r.ended_at),
       last_seen_at = greatest(alarms.last_seen_at, r.last_seen_at)
  FROM r JOIN {_AT_START} ON {_KEY} AND a.began_at = r.began_at
 WHERE alarms.id = a.id AND a.late AND a.ended_at IS NOT NULL
"""


_LATELY_ENDED: LiteralString = """
SELECT DISTINCT ON (a.terminal_id, a.condition, a.object)
       a.terminal_id, a.condition, a.object,
       (extract(epoch FROM a.began_at) * 1000000)::bigint AS began_us,
       (extract(epoch FROM a.ended_at) * 1000000)::bigint AS ended_us,
       (extract(epoch FROM c.at) * 1000000)::bigint AS fell_us
  FROM alarm_changes c JOIN alarms a ON a.id = c.alarm_id
 WHERE c.change = 'ended' AND c.at >= (SELECT max(log_time) FROM cursors) - %(within)s
   AND NOT a.late AND a.ends = 'by_terminal' AND a.ended_at IS NOT NULL
 ORDER BY a.terminal_id, a.condition, a.object, a.began_at DESC, c.id DESC
"""
# The newest live reports of a terminal lie behind the one by which its state is known, or beside it.
_UNREAD: LiteralString = f"""
SELECT s.terminal_id, said.bits
  FROM terminal_states s
 CROSS JOIN LATERAL (
       SELECT bit_or(alarm_bits) AS bits
         FROM (SELECT p.alarm_bits, p.received_at, p.quality & {Quality.ALARMS_UNREAD:d} <> 0 AS is_unread,
                      max(p.received_at) FILTER (WHERE p.quality & {Quality.ALARMS_UNREAD:d} = 0) OVER ()
                          AS read_at
                 FROM positions p
                WHERE p.terminal_id = s.terminal_id AND NOT p.late
                  AND p.placed_at >= least(s.reported_at, s.received_at) - interval '10 minutes') AS newest
        WHERE is_unread AND received_at >= coalesce(read_at, '-infinity')) AS said
 WHERE said.bits IS NOT NULL
"""
_OPEN_OF: LiteralString = """
SELECT terminal_id, array_agg(condition) FROM alarms
 WHERE ended_at IS NULL AND terminal_id = ANY(%s) GROUP BY terminal_id
"""


def apply(connection: Connection, changes: Sequence[Change]) -> None:
    """Write changes, given in their order, inside the caller's transaction."""
    for part in _rounds(changes):
        for kind, late, statement in (
            (Raised, False, _RAISED_LIVE),
            (Raised, True, _RAISED_LATE),
            (Ended, False, _ENDED_LIVE),
            (Ended, True, _ENDED_LATE),
            (Seen, False, _SEEN_OPEN),
            (Seen, True, _SEEN_LATE),
        ):
            chosen = [each for each in part if type(each) is kind and _is_late(each) is late]
            if chosen:
                connection.execute(statement, [_told(chosen)])


@dataclass(frozen=True, slots=True)
class Fallen:
    """A live alarm that its terminal ended, times in µs since 1970."""

    terminal_id: int
    condition: str
    object: str
    began_us: int
    ended_us: int
    fell_us: int
    """Receipt of the report that ended it."""


def lately_ended(connection: Connection, within_us: int) -> list[Fallen]:
    """Give the newest live alarm of each key that was ended so shortly before the newest cursor."""
    with connection.cursor(row_factory=class_row(Fallen)) as cursor:
        return cursor.execute(_LATELY_ENDED, {"within": timedelta(microseconds=within_us)}).fetchall()


@dataclass(frozen=True, slots=True)
class Unread:
    """What a terminal said after its alarms were last followed."""

    terminal_id: int
    bits: int
    """All that its alarm words said since."""
    open: frozenset[str]
    """The conditions of which an alarm is open."""


def unread(connection: Connection) -> list[Unread]:
    """Give the terminals whose newest live reports were not followed (`Quality.ALARMS_UNREAD`)."""
    found = dict(connection.execute(_UNREAD).fetchall())
    known = dict(connection.execute(_OPEN_OF, [list(found)]).fetchall())
    return [Unread(terminal, bits, frozenset(known.get(terminal, ()))) for terminal, bits in found.items()]


def _is_late(change: Change) -> bool:
    return change.late if isinstance(change, Raised) else change.began_us is not None


def _rounds(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Divide changes so that no alarm comes twice in a round and the order of each key is kept.

    What is history needs no order among itself, but for changes of one alarm: a stored day is few rounds.
    """
    rounds: list[list[Change]] = []
    after_all: dict[tuple[int, str, str], int] = {}
    after_open: dict[tuple[int, str, str], int] = {}
    after_same: dict[tuple[int, str, str, int | None], int] = {}
    for each in changes:
        key = each.terminal_id, each.condition, each.object
        if _is_history(each):
            same = *key, each.began_us
            number = max(after_open.get(key, 0), after_same.get(same, 0))
            after_same[same] = number + 1
        else:
            number = after_all.get(key, 0)
            after_open[key] = number + 1
        after_all[key] = max(after_all.get(key, 0), number + 1)
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(each)
    return iter(rounds)


def _is_history(change: Change) -> bool:
    return _is_late(change) and change.ended_us is not None


def _told(changes: Sequence[Change]) -> str:
    """Give changes as JSON, with the columns' names."""
    return msgspec.json.encode([_columns(n, each) for n, each in enumerate(changes)]).decode()


_TIMES = {
    "since_us": "since_at",
    "began_us": "began_at",
    "ended_us": "ended_at",
    "seen_us": "last_seen_at",
    "received_us": "received_at",
}
_LISTS = {"again_us": "again", "gone_us": "gone"}


def _columns(n: int, change: Change) -> dict[str, Any]:
    columns: dict[str, Any] = {"n": n}
    for name in change.__slots__:
        value = getattr(change, name)
        if name in _LISTS:
            name, value = _LISTS[name], [from_us(at_us) for at_us in value]
        elif name in _TIMES:
            name, value = _TIMES[name], None if value is None else from_us(value)
        columns[name] = value
    return columns
