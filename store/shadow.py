"""Shadow schemas 影子: tables like the live ones, in which a replay writes without anybody seeing it.

A shadow is the schema `replay_<number>`: copies of the tables that the worker fills, empty but for
`terminals`, so that numbers of terminals are the same here and there; and what the replay knows of itself.

    replay          one row: which time, how far, and the state of mind of the worker there
    spans           which parts of which logs were read
    undecided       frames whose message was not whole when the time was over: nothing is known of them
    differences     what compares differently (`store.differences`)

Who works in a shadow names nothing else in `search_path`: a table that is not copied is an error, and never
by accident the live one.

    ShadowMissing   there is no replay of this number
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from store.merge import Positions
from store.quality import Quality
from store.quarantine import POISONED

Connection = psycopg.Connection[Any]

_LOCK: Final = 0x6E77_0008
"""First part of the advisory lock of whoever works on a replay."""
_PREFIX: Final = "replay_"
_COPIED: Final = (
    *("terminals", "position_records", "quarantine", "messages", "media", "link_events"),
    *("alarms", "alarm_changes", "quarantine_counts", "quarantine_size", "claims"),
)
_MARKS: LiteralString = """
SELECT relname FROM pg_class
 WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND starts_with(relname, 'stale_')
"""
"""Where the worker writes down what it made stale of derived facts; a shadow has none."""
_NUMBERED: Final = (
    *("position_records", "quarantine", "messages", "media", "link_events", "alarms", "differences"),
    *("quarantine_counts", "claims"),
)
"""Tables that name terminals."""
_STRANGERS: Final = 1 << 30
"""Terminals that only the replay knows are numbered from here, until the live table has them."""

_OWN: LiteralString = """
CREATE TABLE {shadow}.replay (
    number integer PRIMARY KEY,
    stage text NOT NULL DEFAULT 'reading' CHECK (stage IN ('reading', 'read', 'compared', 'adopted')),
    begins_at timestamptz NOT NULL,     -- reading begins here, so that the state is known …
    since timestamptz NOT NULL,         -- … where comparing begins
    until timestamptz NOT NULL,
    identity text,                      -- of the one terminal that is replayed; null: of all
    version bigint NOT NULL,            -- of what people had decided where reading begins
    reached timestamptz NOT NULL,       -- receive time of the last record read
    records bigint NOT NULL DEFAULT 0,
    fleet bytea,                        -- what the worker knew there
    compared_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE {shadow}.spans (log_id uuid NOT NULL, begins bigint NOT NULL, ends bigint NOT NULL);
CREATE TABLE {shadow}.undecided (log_id uuid, position bigint, ordinal integer);
CREATE TABLE {shadow}.differences (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    change text NOT NULL CHECK (change IN ('missing', 'changed', 'extra')),  -- as seen from the live table
    terminal_id integer,
    at timestamptz NOT NULL,
    body_hash integer,                  -- of a position: with terminal_id and at its key, here and there
    here bigint,                        -- id in the shadow
    there bigint,                       -- id in the live table
    columns text[] NOT NULL DEFAULT '{{}}',
    outcome text                        -- of adopting: adopted, or why it was left
);
CREATE INDEX ON {shadow}.differences (kind, id) WHERE outcome IS NULL;
-- Read only: a view with an offset takes no writes.
CREATE VIEW {shadow}.installations AS SELECT * FROM installations OFFSET 0;
CREATE VIEW {shadow}.decisions AS SELECT * FROM decisions OFFSET 0;
INSERT INTO {shadow}.terminals OVERRIDING SYSTEM VALUE SELECT * FROM terminals;
"""
# A copy of whoever is known here by a number of its own and there by another one.
_SETTLE: LiteralString = """
SELECT mine.id, live.id FROM {shadow}.terminals mine JOIN terminals live USING (identity)
 WHERE mine.id >= %s
"""
_NEWEST: LiteralString = f"""
SELECT t.id, (extract(epoch FROM p.placed_at) * 1000000)::bigint
  FROM terminals t CROSS JOIN LATERAL (
       SELECT placed_at FROM positions
        WHERE terminal_id = t.id AND received_at < %(before)s AND NOT late AND reported_at = placed_at
          AND quality & {Quality.CLOCK_IMPLAUSIBLE:d} = 0
          AND placed_at BETWEEN %(before)s - interval '30 days' AND %(before)s + interval '1 day'
        ORDER BY placed_at DESC LIMIT 1) p
"""


class ShadowMissing(Exception):
    """There is no replay of this number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"there is no replay {number}; `northwatch replay --list` names those there are")


@dataclass(frozen=True, slots=True)
class Handled:
    """An alarm that a person handled."""

    handled_at: datetime
    terminal_id: int
    condition: str
    object: str
    began_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a replay knows of itself."""

    number: int
    stage: str
    begins_at: datetime
    since: datetime
    until: datetime
    identity: str | None
    version: int
    reached: datetime
    records: int
    compared_at: datetime | None
    created_at: datetime


_ABOUT = (
    "number, stage, begins_at, since, until, identity, version, reached, records, compared_at, created_at"
)


def schema(number: int) -> sql.Identifier:
    """Name the schema of a replay."""
    return sql.Identifier(f"{_PREFIX}{number}")


def create(
    connection: Connection,
    period: tuple[datetime, datetime, datetime],
    identity: str | None = None,
    version: int = 0,
) -> int:
    """Make a shadow and give its number. `period`: where reading begins, where comparing begins, the end;
    `version`: of what people had decided where reading begins.
    """
    begins_at, since, until = period
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", [_LOCK])
        number = max(numbers(connection), default=0) + 1
        shadow = schema(number)
        run(connection, "CREATE SCHEMA {shadow}", shadow)
        marks = [row[0] for row in connection.execute(_MARKS)]
        for table in (*_COPIED, *marks):
            copy = sql.SQL("CREATE TABLE {}.{table} (LIKE {table} INCLUDING ALL)")
            connection.execute(copy.format(shadow, table=sql.Identifier(table)))
        _copy_view(connection, shadow)
        run(connection, _OWN, shadow)
        strangers = sql.SQL("ALTER TABLE {}.terminals ALTER id SET GENERATED BY DEFAULT RESTART WITH {}")
        connection.execute(strangers.format(shadow, sql.Literal(_STRANGERS)))
        run(
            connection,
            "INSERT INTO {shadow}.replay (number, begins_at, since, until, identity, version, reached)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            shadow,
            [number, begins_at, since, until, identity, version, begins_at],
        )
    return number


def _copy_view(connection: Connection, shadow: sql.Identifier) -> None:
    """Let `positions` of the shadow read its own records."""
    row = connection.execute(
        "SELECT pg_get_viewdef('positions'::regclass), current_setting('search_path')"
    ).fetchone()
    assert row is not None
    definition, search_path = row
    connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(shadow))
    connection.execute(sql.SQL("CREATE VIEW positions AS {}").format(sql.SQL(definition)))
    connection.execute("SELECT set_config('search_path', %s, true)", [search_path])


def run(
    connection: Connection, statement: LiteralString, shadow: sql.Identifier, parameters: Any = None
) -> psycopg.Cursor[Any]:
    """Execute a statement that says `{shadow}` where it means a table of the replay."""
    return connection.execute(sql.SQL(statement).format(shadow=shadow), parameters)


def numbers(connection: Connection) -> list[int]:
    """Give the numbers of all replays that there are."""
    rows = connection.execute(
        "SELECT substr(nspname, %s)::integer FROM pg_namespace WHERE nspname ~ %s ORDER BY 1",
        [len(_PREFIX) + 1, f"^{_PREFIX}[0-9]{{1,9}}$"],
    )
    return [row[0] for row in rows]


def about(connection: Connection, number: int) -> Shadow:
    """Say what a replay is and how far.

    Raises:
        ShadowMissing
    """
    if number not in numbers(connection):
        raise ShadowMissing(number)
    with connection.cursor(row_factory=class_row(Shadow)) as cursor:
        found = cursor.execute(sql.SQL(f"SELECT {_ABOUT} FROM {{}}.replay").format(schema(number))).fetchone()
    assert found is not None
    return found


def claim(connection: Connection, number: int) -> bool:
    """Become the only one who works on a replay, as long as the connection lives."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, number]).fetchone()
    return bool(row and row[0])


def enter(connection: Connection, number: int) -> None:
    """Let this connection see the shadow's tables, and no others."""
    connection.execute(sql.SQL("SET search_path TO {}").format(schema(number)))


def drop(connection: Connection, number: int) -> None:
    """Forget a replay.

    Raises:
        ShadowMissing
    """
    about(connection, number)
    connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema(number)))


def known(connection: Connection) -> list[tuple[str, int, str | None, bool]]:
    """Give identity and number of every terminal, and the edition by which it spoke before the time that is
    replayed, where it was known then: a terminal keeps it as long as it lives, but for the rare one that
    registers anew with other software; and whether it had authenticated before; in the shadow."""
    return connection.execute(
        "SELECT terminals.identity, id, CASE WHEN first_seen_at < begins_at THEN edition END,"
        "       coalesce(first_authenticated_at < begins_at, false)"
        "  FROM terminals CROSS JOIN replay ORDER BY id"
    ).fetchall()


def newest(connection: Connection, before: datetime) -> list[tuple[int, int]]:
    """Give the newest time, in µs since 1970, that each terminal had reported live when this time came; of
    those that reported in the month before."""
    return connection.execute(_NEWEST, {"before": before}).fetchall()


def handled(connection: Connection, after: datetime, until: datetime) -> list[Handled]:
    """Give the alarms that people handled in a time, in order."""
    with connection.cursor(row_factory=class_row(Handled)) as cursor:
        return cursor.execute(
            "SELECT handled_at, terminal_id, condition, object, began_at, ended_at FROM alarms"
            " WHERE handled_at > %s AND handled_at < %s ORDER BY handled_at, id",
            [after, until],
        ).fetchall()


def handle_alarm(connection: Connection, by_hand: Handled) -> None:
    """Do in the shadow what handling did: it ends what the terminal never ends, and anything else comes back
    as another alarm."""
    key = by_hand.terminal_id, by_hand.condition, by_hand.object
    connection.execute(
        "UPDATE alarms SET ended_at = greatest(began_at, %s) WHERE ended_at IS NULL AND ends = 'by_operator'"
        " AND (terminal_id, condition, object) = (%s, %s, %s)",
        [by_hand.ended_at, *key],
    )
    connection.execute(
        "UPDATE alarms SET handled_at = %s, result = 'other' WHERE ends = 'by_terminal'"
        " AND (terminal_id, condition, object, began_at) = (%s, %s, %s, %s)",
        [by_hand.handled_at, *key, by_hand.began_at],
    )


def poisoned(connection: Connection, since: datetime, until: datetime) -> set[tuple[UUID, int, int]]:
    """Give the places of what was received in a time and could not be written then."""
    found = connection.execute(
        "SELECT log_id, position, ordinal FROM quarantine"
        " WHERE reason = %s AND received_at >= %s AND received_at < %s",
        [POISONED, since, until],
    )
    return set(found.fetchall())


def cursors(connection: Connection) -> Positions:
    """Give how far every log is in the live tables."""
    return dict(connection.execute("SELECT log_id, position FROM cursors").fetchall())


def log_time(connection: Connection) -> datetime | None:
    """Give the receive time up to which the live tables are."""
    row = connection.execute("SELECT max(log_time) FROM cursors").fetchone()
    return row[0] if row else None


def kept(connection: Connection) -> tuple[bytes | None, Positions]:
    """Give the fleet's state and the positions behind what was read; in the shadow."""
    row = connection.execute("SELECT fleet FROM replay").fetchone()
    ends = connection.execute("SELECT log_id, max(ends) FROM spans GROUP BY log_id").fetchall()
    return row[0] if row else None, dict(ends)


def keep(
    connection: Connection, fleet: bytes, period: tuple[datetime | None, datetime], records: int
) -> None:
    """Write down how far the replay is, in the transaction that writes the facts; in the shadow. `period`:
    the receive times of the first record read now and of the last one ever.

    What was received before the first record of all is nowhere kept, and so is not compared.
    """
    first, reached = period
    connection.execute(
        "UPDATE replay SET fleet = %s, reached = %s, records = records + %s,"
        " since = CASE WHEN records = 0 THEN least(greatest(since, %s), until) ELSE since END",
        [fleet, reached, records, first],
    )


def add_spans(connection: Connection, spans: Iterable[tuple[UUID, int, int]]) -> None:
    """Write down which parts of logs were read; in the shadow."""
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO spans (log_id, begins, ends) VALUES (%s, %s, %s)", list(spans))


def finish(connection: Connection, undecided: Iterable[tuple[UUID, int, int]]) -> None:
    """Write down that everything was read, and the places of frames of which nothing is known yet."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO undecided (log_id, position, ordinal) VALUES (%s, %s, %s)", list(undecided)
        )
    connection.execute("UPDATE replay SET stage = 'read', fleet = NULL")


def settle(connection: Connection, number: int) -> None:
    """Give terminals that the live table knows by now the numbers that they have there."""
    shadow = schema(number)
    for mine, live in run(connection, _SETTLE, shadow, [_STRANGERS]).fetchall():
        for table in _NUMBERED:
            statement = sql.SQL("UPDATE {}.{} SET terminal_id = %s WHERE terminal_id = %s")
            connection.execute(statement.format(shadow, sql.Identifier(table)), [live, mine])
        run(connection, "UPDATE {shadow}.terminals SET id = %s WHERE id = %s", shadow, [live, mine])


def strangers(connection: Connection, number: int) -> list[str]:
    """Give the identities of terminals that the live table does not know."""
    rows = run(
        connection,
        "SELECT identity FROM {shadow}.terminals WHERE id >= %s ORDER BY identity",
        schema(number),
        [_STRANGERS],
    )
    return [row[0] for row in rows]
