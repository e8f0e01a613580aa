"""What a replay (`store.shadow`) says differently from the live tables, and taking it over.

Compared are facts that were first received in the replayed time. A difference is seen from the live table:

    missing     only the replay has it
    changed     both have it, and the named columns differ
    extra       only the live table has it

What came before the replay began to read, or after it ended, could have changed some columns that count or
go on (copies, last receipt, the end of an alarm). Where that is possible these are not compared.

Adopting takes over what is missing and what changed; nothing is deleted but entries of quarantine whose
frames are read now. What people did is never touched. Each step is a transaction that writes the outcome
beside the difference, so adopting twice, or again after a crash, is adopting once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, LiteralString

import numpy as np
import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from store import journeys, shadow
from store.blobs import Blobs
from store.placement import FUTURE, Placement
from store.positions import HASH_COLLISION, SEARCH_BACK
from store.shadow import Shadow
from store.times import to_us

Connection = psycopg.Connection[Any]

ADOPTED: Final = "adopted"
LIVE_ONLY: Final = "stays: only the live table has it"
NO_CONTENT: Final = "left: its content is not kept any more; replay again"
EMERGENCY: Final = 1
"""The severity of alarms that come to the desk however late they are."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A table whose facts are compared."""

    name: str
    table: str
    time: LiteralString
    """When a fact was first received."""
    key: tuple[str, ...]
    columns: tuple[str, ...] = ()
    """Compared always."""
    guarded: Mapping[str, LiteralString] = field(default_factory=dict)
    """… and where nothing outside the time that was read had a say: by column, when that is."""
    by_place: bool = False
    """The key is a place in a log, so it is known whether the replay has read it."""


_PLACE: Final = ("log_id", "position", "ordinal")
_OF_RECEIPT: Final = ("received_at", "msg_id", "serial", "quality", "authenticated", "late")
"""Of the first copy of a position, so known only where that was read."""
_OF_COPIES: Final = ("copies", "last_received_at")
_CONTENT: Final = (
    *("reported_at", "reported_raw", "latitude", "longitude", "speed", "heading", "altitude"),
    *("alarm_bits", "status_bits", "mileage", "mileage_inside", "items"),
)
"""What a position says, as `position_records` has it."""
_SAID: Final = (
    *("reported_at", "reported_raw", "lat", "lon", "speed_kmh", "heading_deg", "altitude_m"),
    *("alarm_bits", "status_bits", "mileage_km", "items"),
)
"""… and as `positions` shows it."""
POSITION: Final = Kind(
    "position",
    "positions",
    "received_at",
    ("terminal_id", "placed_at", "body_hash"),
    (),
    # A row from before may be of another body: that of the time is in quarantine then, in its live table.
    dict.fromkeys((*_SAID, *_OF_RECEIPT), "l.received_at >= %(begins_at)s")
    | dict.fromkeys(_OF_COPIES, "l.received_at >= %(begins_at)s AND l.last_received_at < %(until)s"),
)
MESSAGE: Final = Kind(
    "message",
    "messages",
    "received_at",
    _PLACE,
    ("terminal_id", "received_at", "msg_id", "serial", "edition", "body"),
    by_place=True,
)
MEDIUM: Final = Kind(
    "medium", "media", "received_at", ("terminal_id", "media_id", "part", "parts", "reported_at", "sha256")
)
LINK: Final = Kind("link", "link_events", "at", ("session", "event"), ("terminal_id", "at", "peer"))
ALARM: Final = Kind(
    "alarm",
    "alarms",
    "received_at",
    ("terminal_id", "condition", "object", "began_at"),
    ("edition", "severity", "ends", "received_at", "lat", "lon", "speed_kmh"),
    dict.fromkeys(
        ("late", "on_desk", "last_seen_at", "ended_at", "reports"),
        # What is not over goes on, and so does late data; but for when nothing came since.
        "(%(is_complete)s OR s.ended_at IS NOT NULL AND NOT s.late AND NOT l.late)",
    ),
)
QUARANTINE: Final = Kind(
    "quarantine",
    "quarantine",
    "received_at",
    _PLACE,
    ("terminal_id", "received_at", "peer", "msg_id", "reason", "detail", "raw"),
    by_place=True,
)
KINDS: Final = (POSITION, MESSAGE, MEDIUM, LINK, ALARM, QUARANTINE)
"""In the order of adopting: a frame leaves quarantine when what it says is there."""
TERMINAL: Final = "terminal"

_UNREAD: LiteralString = """
NOT EXISTS (SELECT FROM {shadow}.spans x
             WHERE x.log_id = l.log_id AND x.begins <= l.position AND l.position < x.ends)
OR EXISTS (SELECT FROM {shadow}.undecided x
            WHERE (x.log_id, x.position, x.ordinal) = (l.log_id, l.position, l.ordinal))
"""
# Where the clock is wrong a report is placed by its receipt; the first copy may be older than what we read.
_COPY_OF_OLDER: LiteralString = f"""
EXISTS (SELECT FROM positions x
         WHERE x.terminal_id = s.terminal_id AND x.body_hash = s.body_hash
           AND x.received_at < %(begins_at)s
           AND (x.lat, x.lon, x.altitude_m, x.speed_kmh, x.heading_deg, x.alarm_bits, x.status_bits,
                x.reported_raw, x.items) IS NOT DISTINCT FROM
               (s.lat, s.lon, s.altitude_m, s.speed_kmh, s.heading_deg, s.alarm_bits, s.status_bits,
                s.reported_raw, s.items)
           AND (x.reported_at IS DISTINCT FROM x.placed_at
                AND x.placed_at BETWEEN s.placed_at - interval '{SEARCH_BACK.days} days' AND s.placed_at
             OR x.placed_at = s.reported_at AND s.reported_at <> s.placed_at))
"""
# A condition that held when we began to read is an alarm that the live table has since before; one that waits
# for a person takes in what late data says of the time before it.
_PART_OF_OLDER: LiteralString = """
EXISTS (SELECT FROM alarms x
         WHERE (x.terminal_id, x.condition, x.object) = (s.terminal_id, s.condition, s.object)
           AND x.received_at < %(begins_at)s AND (x.began_at <= s.began_at OR s.ends = 'by_operator')
           AND coalesce(x.ended_at, 'infinity') >= s.began_at)
"""
# Of what was only counted, here or there, nobody can say which of it is missing.
_ONLY_COUNTED: LiteralString = """
EXISTS (SELECT FROM {counts} c
         WHERE c.kept < c.things AND c.reason = {row}.reason
           AND c.hour = date_bin('1 hour', {row}.received_at, 'epoch')
           AND c.terminal_id IS NOT DISTINCT FROM {row}.terminal_id)
"""
_IS_OLDER: dict[str, LiteralString] = {
    "position": _COPY_OF_OLDER,
    "alarm": _PART_OF_OLDER,
    "quarantine": _ONLY_COUNTED.replace("{counts}", "quarantine_counts").replace("{row}", "s"),
}
# Of a session that was open before we began to read, and said nothing since, the replay knows nothing.
_OF_OLDER_SESSION: LiteralString = """
NOT EXISTS (SELECT FROM link_events x
             WHERE x.session = l.session AND x.event = 'opened' AND x.at >= %(begins_at)s)
"""
_IS_COMPLETE: LiteralString = "SELECT coalesce(max(log_time) < %s, true) FROM cursors"


def begin(connection: Connection, number: int) -> None:
    """Forget what was compared before, and settle who is who; in the caller's transaction."""
    own = shadow.schema(number)
    shadow.run(connection, "DELETE FROM {shadow}.differences", own)
    shadow.run(connection, "ANALYZE {shadow}.position_records, {shadow}.alarms, {shadow}.spans", own)
    shadow.settle(connection, number)
    shadow.run(
        connection,
        "INSERT INTO {shadow}.differences (kind, change, terminal_id, at)"
        " SELECT 'terminal', 'missing', id, coalesce(first_seen_at, now()) FROM {shadow}.terminals mine"
        "  WHERE NOT EXISTS (SELECT FROM terminals live WHERE live.identity = mine.identity)",
        own,
    )


def end(connection: Connection, number: int) -> None:
    """Write down that everything was compared."""
    own = shadow.schema(number)
    shadow.run(connection, "ANALYZE {shadow}.differences", own)
    shadow.run(connection, "UPDATE {shadow}.replay SET stage = 'compared', compared_at = now()", own)


def compare(connection: Connection, replay: Shadow, kind: Kind) -> int:
    """Compare a kind other than positions, and say how many differences there are."""
    return _compare(connection, replay, kind, None)


def days(connection: Connection, replay: Shadow) -> list[date]:
    """Give the UTC days of which positions are to be compared: those of the replayed time, and those in
    which the replay placed something."""
    own = shadow.schema(replay.number)
    placed = shadow.run(
        connection, "SELECT DISTINCT (placed_at AT TIME ZONE 'UTC')::date FROM {shadow}.positions", own
    )
    first, last = (at.astimezone(UTC).date() for at in (replay.since - FUTURE, replay.until + FUTURE))
    of_time = {first + timedelta(days=number) for number in range((last - first).days + 1)}
    return sorted(of_time | {row[0] for row in placed})


def compare_day(connection: Connection, replay: Shadow, day: date) -> int:
    """Compare the positions of a day, and say how many differences there are.

    On days outside the replayed time only those terminals are looked at for which the replay placed something
    there: the whole of all days would be too much to read.
    """
    return _compare(connection, replay, POSITION, day)


def _compare(connection: Connection, replay: Shadow, kind: Kind, day: date | None) -> int:
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None
    values = {
        "begins_at": replay.begins_at,
        "since": replay.since,
        "until": replay.until,
        "day": begins,
        "next_day": begins + timedelta(days=1) if begins else None,
        "is_complete": _first(connection, _IS_COMPLETE, [replay.until]),
        "identity": replay.identity,
    }
    is_near = begins is None or (replay.since - FUTURE - timedelta(days=1) <= begins <= replay.until + FUTURE)
    count = connection.execute(_unknown_here(replay, kind, day is not None), values).rowcount
    return count + connection.execute(_unknown_there(replay, kind, day is not None, is_near), values).rowcount


def _unknown_here(replay: Shadow, kind: Kind, of_day: bool) -> sql.Composed:
    """Find what the live table does not have, or has differently."""
    own = shadow.schema(replay.number)
    is_old = sql.SQL(_IS_OLDER.get(kind.name, "false"))
    number = sql.SQL("NULL") if kind is POSITION else sql.SQL("s.id")
    there = sql.SQL("NULL") if kind is POSITION else sql.SQL("l.id")
    known = sql.SQL("l.{}").format(sql.Identifier(kind.key[0]))
    return sql.SQL(
        """
        INSERT INTO {own}.differences (kind, change, terminal_id, at, body_hash, here, there, columns)
        SELECT {kind}, CASE WHEN {known} IS NULL THEN 'missing' ELSE 'changed' END, s.terminal_id, {at},
               {hash}, {here}, {there}, CASE WHEN {known} IS NULL THEN '{{}}' ELSE {columns} END
          FROM {own}.{table} s LEFT JOIN {table} l ON {same} {l_day}
         WHERE s.{time} >= %(since)s AND s.{time} < %(until)s {s_day}
           AND ({known} IS NULL OR {columns} <> '{{}}') AND NOT ({is_old})
        """
    ).format(
        own=own,
        kind=sql.Literal(kind.name),
        known=known,
        at=_at("s", kind),
        hash=sql.SQL("s.body_hash" if kind is POSITION else "NULL"),
        here=number,
        there=there,
        columns=_differing(kind),
        table=sql.Identifier(kind.table),
        same=_same(kind),
        time=sql.Identifier(kind.time),
        is_old=is_old,
        l_day=_of_day("l", of_day),
        s_day=_of_day("s", of_day),
    )


def _unknown_there(replay: Shadow, kind: Kind, of_day: bool, is_near: bool) -> sql.Composed:
    """Find what the replay does not have."""
    own = shadow.schema(replay.number)
    conditions: list[sql.Composable] = [
        sql.SQL("NOT EXISTS (SELECT FROM {}.{} s WHERE {} {})").format(
            own, sql.Identifier(kind.table), _same(kind), _of_day("s", of_day)
        )
    ]
    if kind.by_place:
        conditions.append(sql.SQL(f"NOT ({_UNREAD})").format(shadow=own))
    if kind is LINK:
        conditions.append(sql.SQL(f"NOT ({_OF_OLDER_SESSION})"))
    if kind is QUARANTINE:
        only_counted = sql.SQL(f"NOT ({_ONLY_COUNTED})").format(
            counts=sql.SQL("{}.quarantine_counts").format(own), row=sql.SQL("l")
        )
        conditions += [only_counted, sql.SQL("l.reason <> {}").format(sql.Literal(HASH_COLLISION))]
    if replay.identity:
        conditions.append(sql.SQL("l.terminal_id = (SELECT id FROM terminals WHERE identity = %(identity)s)"))
    if not is_near:
        conditions.append(
            sql.SQL("l.terminal_id IN (SELECT s.terminal_id FROM {}.positions s WHERE true {})").format(
                own, _of_day("s", True)
            )
        )
    return sql.SQL(
        """
        INSERT INTO {own}.differences (kind, change, terminal_id, at, body_hash, there)
        SELECT {kind}, 'extra', l.terminal_id, {at}, {hash}, {there}
          FROM {table} l
         WHERE l.{time} >= %(since)s AND l.{time} < %(until)s {day} AND {conditions}
        """
    ).format(
        own=own,
        kind=sql.Literal(kind.name),
        at=_at("l", kind),
        hash=sql.SQL("l.body_hash" if kind is POSITION else "NULL"),
        there=sql.SQL("NULL" if kind is POSITION else "l.id"),
        table=sql.Identifier(kind.table),
        time=sql.Identifier(kind.time),
        day=_of_day("l", of_day),
        conditions=sql.SQL(" AND ").join(conditions),
    )


def _at(row: LiteralString, kind: Kind) -> sql.Composed:
    names = {"position": "placed_at", "alarm": "began_at"}
    return sql.SQL("{}.{}").format(sql.SQL(row), sql.Identifier(names.get(kind.name, kind.time)))


def _of_day(row: LiteralString, of_day: bool) -> sql.SQL:
    return sql.SQL(f"AND {row}.placed_at >= %(day)s AND {row}.placed_at < %(next_day)s" if of_day else "")


def _same(kind: Kind) -> sql.Composed:
    """Say that two rows are the same fact. Only of media a part of the key may be unknown."""
    pairs = [
        sql.SQL("s.{0} IS NOT DISTINCT FROM l.{0}" if name == "reported_at" else "s.{0} = l.{0}").format(
            sql.Identifier(name)
        )
        for name in kind.key
    ]
    return sql.SQL(" AND ").join(pairs)


def _differing(kind: Kind) -> sql.Composed:
    """Give the names of the columns in which two rows differ."""
    told = [
        sql.SQL("CASE WHEN s.{0} IS DISTINCT FROM l.{0} AND {1} THEN {2} END").format(
            sql.Identifier(name), sql.SQL(kind.guarded.get(name, "true")), sql.Literal(name)
        )
        for name in (*kind.columns, *kind.guarded)
    ]
    return sql.SQL("array_remove(ARRAY[{}]::text[], NULL)").format(sql.SQL(", ").join(told))


def summary(connection: Connection, number: int) -> list[dict[str, Any]]:
    """Count differences by kind and change, with the columns in which they are and what became of them."""
    query = """
    WITH named AS (
        SELECT kind, change, name, count(*) AS times
          FROM {shadow}.differences LEFT JOIN LATERAL unnest(columns) name ON true
         WHERE name IS NOT NULL GROUP BY kind, change, name)
    SELECT d.kind, d.change, count(*) AS count, count(*) FILTER (WHERE outcome = 'adopted') AS adopted,
           count(DISTINCT terminal_id) AS terminals, min(at) AS first_at, max(at) AS last_at,
           coalesce((SELECT jsonb_object_agg(name, times) FROM named n
                      WHERE (n.kind, n.change) = (d.kind, d.change)), '{{}}') AS columns
      FROM {shadow}.differences d GROUP BY d.kind, d.change ORDER BY d.kind, d.change
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(sql.SQL(query).format(shadow=shadow.schema(number))).fetchall()


def examples(connection: Connection, number: int, limit: int) -> list[dict[str, Any]]:
    """Give the first differences of each kind and change, with both values of what differs."""
    own = shadow.schema(number)
    found: list[dict[str, Any]] = []
    for kind in KINDS:
        if kind is POSITION:
            key = "x.terminal_id = d.terminal_id AND x.placed_at = d.at AND x.body_hash = d.body_hash"
            here = there = sql.SQL(key)
        else:
            here, there = sql.SQL("x.id = d.here"), sql.SQL("x.id = d.there")
        query = sql.SQL(
            """
            SELECT d.kind, d.change, d.columns, t.identity, d.at, d.outcome,
                   (SELECT to_jsonb(x) FROM {own}.{table} x WHERE {here}) AS replayed,
                   (SELECT to_jsonb(x) FROM {table} x WHERE {there}) AS live
              FROM (SELECT *, row_number() OVER (PARTITION BY change ORDER BY id) AS rank
                      FROM {own}.differences WHERE kind = %s) d
              LEFT JOIN {own}.terminals t ON t.id = d.terminal_id
             WHERE rank <= %s ORDER BY d.change, d.id
            """
        ).format(own=own, table=sql.Identifier(kind.table), here=here, there=there)
        with connection.cursor(row_factory=dict_row) as cursor:
            found += cursor.execute(query, [kind.name, limit]).fetchall()
    return found


def adopt_terminals(connection: Connection, replay: Shadow) -> int:
    """Enter the terminals that only the replay knows; in the caller's transaction."""
    own = shadow.schema(replay.number)
    added = shadow.run(
        connection,
        "INSERT INTO terminals (identity, edition, first_seen_at)"
        " SELECT identity, edition, first_seen_at FROM {shadow}.terminals WHERE identity = ANY(%s)"
        " ON CONFLICT (identity) DO NOTHING",
        own,
        [shadow.strangers(connection, replay.number)],
    ).rowcount
    shadow.settle(connection, replay.number)
    shadow.run(
        connection,
        "UPDATE {shadow}.differences SET outcome = 'adopted' WHERE kind = 'terminal' AND outcome IS NULL",
        own,
    )
    return added


def adopt(connection: Connection, replay: Shadow, kind: Kind, limit: int, *, blobs: Blobs) -> int:
    """Take over at most `limit` differences of a kind in the caller's transaction; give how many were left
    to decide (0: none)."""
    own = shadow.schema(replay.number)
    chosen = shadow.run(
        connection,
        "SELECT id, change FROM {shadow}.differences WHERE kind = %s AND outcome IS NULL ORDER BY id LIMIT %s"
        " FOR UPDATE",
        own,
        [kind.name, limit],
    ).fetchall()
    by_change: dict[str, list[int]] = {}
    for number, change in chosen:
        by_change.setdefault(change, []).append(number)
    for change, ids in by_change.items():
        outcome = _Adopting(connection, replay, kind, blobs).take(change, ids)
        shadow.run(
            connection,
            "UPDATE {shadow}.differences SET outcome = coalesce(outcome, %s) WHERE id = ANY(%s)",
            own,
            [outcome, ids],
        )
    return len(chosen)


def finish(connection: Connection, replay: Shadow, by: str) -> None:
    """Write the audit when everything is taken over; in the caller's transaction."""
    counts = {f"{row['kind']}.{row['change']}": row["adopted"] for row in summary(connection, replay.number)}
    period = {"from": replay.since.isoformat(), "to": replay.until.isoformat(), "terminal": replay.identity}
    connection.execute(
        "INSERT INTO audit (user_name, action, subject, detail) VALUES (%s, 'replay.adopted', %s, %s)",
        [by, str(replay.number), Jsonb(period | {"adopted": counts})],
    )
    shadow.run(connection, "UPDATE {shadow}.replay SET stage = 'adopted'", shadow.schema(replay.number))


@dataclass(frozen=True, slots=True)
class _Adopting:
    """Taking over differences of one kind."""

    connection: Connection
    replay: Shadow
    kind: Kind
    blobs: Blobs

    def take(self, change: str, ids: Sequence[int]) -> str:
        """Take over what has these numbers, and say what became of it."""
        match self.kind, change:
            case (Kind(name="position"), "missing" | "changed"):
                self._position(change, ids)
            case (Kind(name="alarm"), "missing"):
                self._new_alarms(ids)
            case (Kind(name="alarm"), "changed"):
                self._changed_alarms(ids)
            case (Kind(name="medium"), "missing"):
                self._media(ids)
            case (_, "missing"):
                self._insert(ids)
            case (_, "changed"):
                self._update(ids)
            case (Kind(name="quarantine"), "extra"):
                self._let_go(ids)
            case _:
                return LIVE_ONLY
        return ADOPTED

    def _run(self, statement: LiteralString, ids: Sequence[int], **parts: sql.Composable) -> Any:
        """Execute a statement in which {own} is the shadow and %(ids)s the differences."""
        own = shadow.schema(self.replay.number)
        values = {"ids": list(ids), "until": self.replay.until, "number": self.replay.number}
        return self.connection.execute(sql.SQL(statement).format(own=own, **parts), values)

    def _position(self, change: str, ids: Sequence[int]) -> None:
        keys = self._run(
            "SELECT terminal_id, at FROM {own}.differences WHERE id = ANY(%(ids)s)", ids
        ).fetchall()
        if change == "missing":
            days = {at.astimezone(UTC).date() for _, at in keys}
            Placement().ensure(self.connection, days, self.replay.since.astimezone(UTC).date())
            self._run(
                "INSERT INTO position_records ({names}) SELECT {values} FROM {own}.differences d"
                "  JOIN {own}.position_records s ON (s.terminal_id, s.placed_at, s.body_hash)"
                "       = (d.terminal_id, d.at, d.body_hash)"
                " WHERE d.id = ANY(%(ids)s) ON CONFLICT (terminal_id, placed_at, body_hash) DO NOTHING",
                ids,
                **_listed((*POSITION.key, *_CONTENT, *_OF_RECEIPT, *_OF_COPIES)),
            )
        else:
            self._run(
                "UPDATE position_records l SET ({content}) = ROW ({values}), {assigned}"
                "  FROM {own}.differences d JOIN {own}.position_records s"
                "       ON (s.terminal_id, s.placed_at, s.body_hash) = (d.terminal_id, d.at, d.body_hash)"
                " WHERE d.id = ANY(%(ids)s)"
                "   AND (l.terminal_id, l.placed_at, l.body_hash) = (d.terminal_id, d.at, d.body_hash)",
                ids,
                content=_listed(_CONTENT)["names"],
                values=_listed(_CONTENT)["values"],
                assigned=_assigned(_OF_RECEIPT, _OF_COPIES),
            )
        terminals = np.array([terminal for terminal, _ in keys], np.int32)
        journeys.mark_stale(self.connection, terminals, np.array([to_us(at) for _, at in keys], np.int64))

    def _insert(self, ids: Sequence[int]) -> None:
        names = dict.fromkeys((*self.kind.key, *self.kind.columns))
        self._run(
            "INSERT INTO {table} ({names}) SELECT {values} FROM {own}.differences d"
            "  JOIN {own}.{table} s ON s.id = d.here WHERE d.id = ANY(%(ids)s) ORDER BY d.id"
            " ON CONFLICT DO NOTHING",
            ids,
            table=sql.Identifier(self.kind.table),
            **_listed(tuple(names)),
        )

    def _update(self, ids: Sequence[int]) -> None:
        self._run(
            "UPDATE {table} l SET {assigned} FROM {own}.differences d JOIN {own}.{table} s ON s.id = d.here"
            " WHERE d.id = ANY(%(ids)s) AND l.id = d.there",
            ids,
            table=sql.Identifier(self.kind.table),
            assigned=_assigned(self.kind.columns),
        )

    def _let_go(self, ids: Sequence[int]) -> None:
        self._run(
            "DELETE FROM quarantine q USING {own}.differences d WHERE d.id = ANY(%(ids)s) AND q.id = d.there",
            ids,
        )

    def _new_alarms(self, ids: Sequence[int]) -> None:
        """Enter what is revealed as late data would: as history, but for emergencies that wait for people."""
        self._run(
            """
            WITH new AS (
                INSERT INTO alarms (terminal_id, vehicle_id, condition, object, edition, severity, ends, late,
                       on_desk, began_at, received_at, last_seen_at, ended_at, reports, lat, lon, speed_kmh)
                SELECT s.terminal_id, i.vehicle_id, s.condition, s.object, s.edition, s.severity, s.ends,
                       true, {waits}, s.began_at, s.received_at, s.last_seen_at,
                       CASE WHEN {waits} AND open.id IS NULL THEN s.ended_at
                            ELSE coalesce(s.ended_at, greatest(s.began_at, s.last_seen_at)) END,
                       s.reports, s.lat, s.lon, s.speed_kmh
                  FROM {own}.differences d JOIN {own}.alarms s ON s.id = d.here
                  LEFT JOIN installations i ON i.terminal_id = s.terminal_id
                        AND i.installed_at <= s.received_at
                        AND coalesce(i.removed_at > s.received_at, true)
                  LEFT JOIN alarms open ON open.ended_at IS NULL
                        AND (open.terminal_id, open.condition, open.object)
                          = (s.terminal_id, s.condition, s.object)
                 WHERE d.id = ANY(%(ids)s)
                 ORDER BY d.id
                ON CONFLICT DO NOTHING
                RETURNING id, received_at)
            INSERT INTO alarm_changes (alarm_id, at, change, detail)
            SELECT id, received_at, 'raised', jsonb_build_object('replay', %(number)s::integer) FROM new
            """,
            ids,
            waits=sql.SQL("(s.severity = {} AND s.ends = 'by_operator')").format(sql.Literal(EMERGENCY)),
        )

    def _changed_alarms(self, ids: Sequence[int]) -> None:
        """Correct what terminals said. What the desk sees or did stays, and nothing that is over opens."""
        self._run(
            """
            WITH before AS (
                SELECT l.id, l.ended_at IS NULL AS was_open
                  FROM {own}.differences d JOIN alarms l ON l.id = d.there
                 WHERE d.id = ANY(%(ids)s) FOR UPDATE OF l
            ), changed AS (
                UPDATE alarms l
                   SET {assigned},
                       ended_at = CASE WHEN 'ended_at' = ANY(d.columns) AND l.handled_at IS NULL
                                            THEN greatest(coalesce(s.ended_at, l.ended_at), l.began_at)
                                       ELSE l.ended_at END
                  FROM {own}.differences d JOIN {own}.alarms s ON s.id = d.here, before
                 WHERE d.id = ANY(%(ids)s) AND l.id = d.there AND before.id = l.id
             RETURNING l.id, l.received_at, before.was_open AND l.ended_at IS NOT NULL AS ends_now)
            INSERT INTO alarm_changes (alarm_id, at, change, detail)
            SELECT id, received_at, 'ended', jsonb_build_object('replay', %(number)s::integer)
              FROM changed WHERE ends_now
            """,
            ids,
            assigned=_assigned((*ALARM.columns, "late", "last_seen_at", "reports")),
        )

    def _media(self, ids: Sequence[int]) -> None:
        """Enter media whose content is kept."""
        rows = self._run(
            "SELECT d.id, s.sha256 FROM {own}.differences d JOIN {own}.media s ON s.id = d.here"
            " WHERE d.id = ANY(%(ids)s)",
            ids,
        ).fetchall()
        gone = [number for number, digest in rows if not self.blobs.path(bytes(digest)).exists()]
        columns = (
            *("terminal_id", "received_at", "reported_at", "media_id", "kind", "format", "event", "channel"),
            *("part", "parts", "lat", "lon", "speed_kmh", "alarm_bits", "status_bits", "serial", "edition"),
            *("head", "sha256", "size", "copies", "last_received_at", *_PLACE),
        )
        self._run(
            "INSERT INTO media ({names}) SELECT {values} FROM {own}.differences d"
            "  JOIN {own}.media s ON s.id = d.here WHERE d.id = ANY(%(ids)s) ORDER BY d.id"
            " ON CONFLICT DO NOTHING",
            [number for number, _ in rows if number not in gone],
            **_listed(columns),
        )
        self._run(
            "UPDATE {own}.differences SET outcome = {why} WHERE id = ANY(%(ids)s)",
            gone,
            why=sql.Literal(NO_CONTENT),
        )


def _listed(names: Sequence[str]) -> dict[str, sql.Composable]:
    """Give columns as they are named in the live table and in the replay's."""
    return {
        "names": sql.SQL(", ").join(map(sql.Identifier, names)),
        "values": sql.SQL(", ").join(sql.SQL("s.{}").format(sql.Identifier(name)) for name in names),
    }


def _assigned(names: Sequence[str], of_copies: Sequence[str] = ()) -> sql.Composed:
    """Assign the columns that differ. Those that count copies only while no copy came meanwhile."""
    told = []
    for name in (*names, *of_copies):
        guard = sql.SQL(
            "AND coalesce(l.last_received_at, l.received_at) < %(until)s" if name in of_copies else ""
        )
        told.append(
            sql.SQL("{0} = CASE WHEN {1} = ANY(d.columns) {2} THEN s.{0} ELSE l.{0} END").format(
                sql.Identifier(name), sql.Literal(name), guard
            )
        )
    return sql.SQL(", ").join(told)


def _first(connection: Connection, query: LiteralString, parameters: Any) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None
