"""Long lists for other programs: positions, trips, alarms and others, row by row out of the database.

A server-side cursor gives one batch after the other from one snapshot, so an export of a hundred million rows
takes the memory of one batch and misses or doubles nothing while the worker goes on.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from store.desk import DESK
from store.journeys import STOP, TRIP
from store.select import where

BATCH: Final = 20_000
"""Rows fetched at once: some megabytes, and a row group of a Parquet file."""

RowTuple: TypeAlias = tuple[Any, ...]

_FLOAT4: Final = struct.Struct(">f")


@dataclass(frozen=True, slots=True)
class Subject:
    """What can be exported: a query without its WHERE, and what its WHERE may say."""

    name: str
    table: LiteralString
    """Table and alias whose rows these are; its time column divides them into periods."""
    at: LiteralString
    columns: LiteralString
    joins: LiteralString = ""
    order: LiteralString = "1"
    condition: LiteralString = "true"
    filters: Mapping[str, LiteralString] = field(default_factory=dict)
    """By what its rows can be chosen besides period, terminal and vehicle, as in the lists of the API."""


_OF_ROW: LiteralString = (
    " JOIN terminals t ON t.id = {0}.terminal_id LEFT JOIN vehicles v ON v.id = {0}.vehicle_id"
)


def _of_installed(row: LiteralString, at: LiteralString) -> LiteralString:
    """Join the vehicle that had the terminal at that time."""
    return (
        f" JOIN terminals t ON t.id = {row}.terminal_id"
        f" LEFT JOIN installations i ON i.terminal_id = {row}.terminal_id AND {at} >= i.installed_at"
        f" AND {at} < coalesce(i.removed_at, 'infinity') LEFT JOIN vehicles v ON v.id = i.vehicle_id"
    )


_WORDS: LiteralString = "v.plate, v.plate_color, t.identity"

SUBJECTS: Final = {
    subject.name: subject
    for subject in (
        Subject(
            "positions",
            "positions p",
            "p.placed_at",
            f"p.placed_at, p.reported_at, p.received_at, {_WORDS}, p.lat, p.lon, p.speed_kmh, p.heading_deg,"
            " p.altitude_m, p.mileage_km, p.alarm_bits, p.status_bits, p.late, p.quality, p.authenticated,"
            " p.copies",
            _of_installed("p", "p.placed_at"),
            "p.placed_at, p.terminal_id, p.body_hash",
        ),
        Subject(
            "alarms",
            "alarms a",
            "a.began_at",
            f"a.id, {_WORDS}, a.condition, a.object, a.severity, a.late, a.began_at, a.ended_at, a.reports,"
            " a.lat, a.lon, a.speed_kmh, taker.name AS taken_by, a.taken_at, handler.name AS handled_by,"
            " a.handled_at, a.result, a.note",
            _OF_ROW.replace("{0}", "a") + " LEFT JOIN users taker ON taker.id = a.taken_by"
            " LEFT JOIN users handler ON handler.id = a.handled_by",
            "a.began_at, a.id",
            filters={
                "condition": "a.condition = %(condition)s",
                "severity": "a.severity = %(severity)s",
                "desk": f"{DESK} = %(desk)s",
                "result": "a.result = %(result)s",
            },
        ),
        *(
            Subject(
                f"{kind}s",
                "legs g",
                "g.began_at",
                f"{_WORDS}, g.day, g.began_at, g.ended_at, g.began_lat, g.began_lon, g.ended_lat,"
                " g.ended_lon, g.fixes, g.driving_s, g.driving_night_s, g.track_km, g.gap_km, g.odometer_km,"
                " g.max_speed_kmh",
                _of_installed("g", "g.began_at"),
                "g.began_at, g.terminal_id",
                condition,
            )
            for kind, condition in (("trip", TRIP), ("stop", STOP))
        ),
        Subject(
            "days",
            "terminal_days d",
            "(d.day::timestamp - interval '8 hours') AT TIME ZONE 'UTC'",
            f"{_WORDS}, d.day, d.fixes, d.first_fix_at, d.last_fix_at, d.trips, d.stops, d.driving_s,"
            " d.driving_night_s, d.track_km, d.gap_km, d.odometer_km, d.max_speed_kmh, d.online_s",
            _of_installed("d", "(d.day::timestamp + interval '15:59:59') AT TIME ZONE 'UTC'"),
            "d.day, d.terminal_id",
        ),
        Subject(
            "tickets",
            "tickets k",
            "k.opened_at",
            f"k.id, {_WORDS}, k.fault, k.state, k.reason, k.opened_at, k.closed_at, k.closed_because,"
            " assigned.name AS assigned_to, k.note",
            _OF_ROW.replace("{0}", "k") + " LEFT JOIN users assigned ON assigned.id = k.assigned_to",
            "k.opened_at, k.id",
            filters={"state": "k.state = %(state)s", "fault": "k.fault = %(fault)s"},
        ),
    )
}
"""By name; a new one is one entry here."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of a period, of all or of one terminal or vehicle.

    Raises:
        ValueError: the subject has no such filter.
    """

    subject: Subject
    since: datetime
    until: datetime
    terminal_id: int | None = None
    vehicle_id: int | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    """Values of some of the subject's filters."""

    def __post_init__(self) -> None:
        for name in self.filters.keys() - self.subject.filters.keys():
            allowed = ", ".join(self.subject.filters) or "none"
            raise ValueError(f"{self.subject.name} cannot be chosen by {name}; filters: {allowed}")

    def query(self) -> tuple[LiteralString, dict[str, Any]]:
        """Give the statement and its parameters."""
        table, at = self.subject.table, self.subject.at
        given: dict[str, Any] = {
            "since": self.since,
            "until": self.until,
            "terminal_id": self.terminal_id,
            "vehicle_id": self.vehicle_id,
            **self.filters,
        }
        conditions: dict[str, LiteralString] = {
            "since": at + " >= %(since)s",
            "until": at + " < %(until)s",
            "terminal_id": "t.id = %(terminal_id)s",
            "vehicle_id": "v.id = %(vehicle_id)s",
            **self.subject.filters,
        }
        return (
            f"SELECT {self.subject.columns} FROM {table}{self.subject.joins}"
            f" WHERE {self.subject.condition} AND {where(conditions, given)} ORDER BY {self.subject.order}",
            given,
        )


@dataclass(frozen=True, slots=True)
class Export:
    """Rows on their way: the columns, about how many rows there will be, and the batches."""

    columns: tuple[tuple[str, int], ...]
    """Name and PostgreSQL's type number of each."""
    about: int
    """The planner's guess; counting would take as long as the export."""
    batches: Iterator[list[RowTuple]]
    cancel: Callable[[], None]
    """Have the database stop its work on it; any thread may."""


@contextmanager
def export(dsn: str, chosen: Chosen) -> Iterator[Export]:
    """Run an export on a connection of its own, in one snapshot that changes nothing.

    Raises:
        psycopg.OperationalError: the database is away, now or in the middle.
    """
    query, given = chosen.query()
    with psycopg.connect(dsn, application_name="northwatch-export", connect_timeout=5) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute("SET TIME ZONE 'UTC'")
        # Who fetches so slowly does not want it; an old snapshot keeps the database from tidying up.
        connection.execute("SET idle_in_transaction_session_timeout = '1min'")
        connection.execute("SET cursor_tuple_fraction = 1")  # all rows are wanted, not the first ones soon
        plan = connection.execute(f"EXPLAIN (FORMAT JSON) {query}", given).fetchone()
        with psycopg.ServerCursor(connection, "export") as cursor:
            cursor.adapters.register_loader("float4", _Real)
            cursor.execute(query, given, binary=True)
            described = tuple((column.name, column.type_code) for column in cursor.description or ())
            about = int(plan[0][0]["Plan"]["Plan Rows"]) if plan else 0
            yield Export(described, about, _batches(cursor), connection.cancel)


class _Real(Loader):
    """Reads a `real` as it was meant: 81.7, not the 81.69999694824219 that it is as a double."""

    format = Format.BINARY

    def load(self, data: Buffer) -> float:
        value: float = _FLOAT4.unpack(data)[0]
        short = float(f"{value:.7g}")
        return short if _FLOAT4.pack(short) == data else value


def _batches(cursor: "psycopg.ServerCursor[RowTuple]") -> Iterator[list[RowTuple]]:
    while batch := cursor.fetchmany(BATCH):
        yield batch


def find(dsn: str, *, plate: str | None, identity: str | None) -> tuple[int | None, int | None]:
    """Give the ids of the terminal and the vehicle that people name; None where they name none.

    Raises:
        LookupError: there is no such one, or several vehicles have the plate in different colours.
    """
    found: list[int | None] = []
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        for what, table, column, word in (
            ("terminal", "terminals", "identity", identity and identity.strip().upper().lstrip("0")),
            ("vehicle", "vehicles", "plate", plate and plate.strip().upper()),
        ):
            if not word:
                found.append(None)
                continue
            statement = sql.SQL("SELECT id FROM {} WHERE {} = %s").format(
                sql.Identifier(table), sql.Identifier(column)
            )
            ids = [row[0] for row in connection.execute(statement, (word,))]
            if len(ids) != 1:
                raise LookupError(f"{'several' if ids else 'no'} {what} {word}")
            found.append(ids[0])
    return found[0], found[1]
