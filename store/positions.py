"""Writing positions: columns go in as PostgreSQL's binary COPY, without a Python object per row.

They are stored as they were sent, in the table `position_records`, and read in units as the view `positions`
(migration 0013 says why).

Equal reports are one row with a count. Equal is the whole body: every column in which it is stored, from
which its bytes can be made again; the short hash in the key only finds candidates. Another body under the
key of a row (terminal, placement time, hash) is no copy of it and cannot be stored beside it: such rows are
given back to the caller, for quarantine. First in the log is who has the key, however the log is cut.

From the common to the rare:

1. Equal reports in one batch are merged before anything is sent.
2. COPY runs under a savepoint. If it meets a row that is there already, the savepoint is undone and all rows
   go through a temporary table and INSERT … ON CONFLICT, which takes three times as long.
3. Rows that the worker has seen a moment ago (a retransmission) take that way at once, alone.
4. A report placed by its receipt (its clock is wrong) has no placement time to be recognised by; an equal row
   is looked for among the others of that kind before it is inserted.
5. Different reports of one terminal with the same short hash, and what met another body under its key, are
   decided one after the other: what is there is read, and each finds what those before it left.

However much is there of one terminal and second, or of one wrong clock, the work follows the rows that are
written. What is there is only ever looked up row by row (a scalar subquery, LATERAL with LIMIT or OFFSET, ON
CONFLICT): the server cannot choose to join, for which it would read all of the second for each batch.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import psycopg

from store.binary import NO_TIME, Column, Encoded, Order, Tail, copy_in, encode, send, stable_order, times

Connection = psycopg.Connection[Any]
I64: TypeAlias = npt.NDArray[np.int64]
I32: TypeAlias = npt.NDArray[np.int32]
F64: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Columns: TypeAlias = tuple[list[Column], Tail]
_Span: TypeAlias = dict[str, datetime]
"""From `begin` to `end`, both within: what the server need not look at it leaves out by this."""

SEARCH_BACK = timedelta(days=30)
"""How long after its first copy a report with a wrong clock is still recognised. Terminals retransmit within
minutes, or within days after a gap; further back lies one more day to search for every day."""

HASH_BITS = (1 << 28) - 1
"""So much of a hash is stored. It only has to tell reports apart that one terminal made in the same second.
TimescaleDB keeps the differences of differences of numbers, and those of 28 bits fit two to a word. Whoever
wants two that agree finds them within seconds, so nothing but the search for equal reports relies on it."""
_TERMINAL_BITS: Final = 32
"""Above so many bits for the terminal a hash stands, where both are one number."""

HASH_COLLISION: Final = "hash_collision"
"""Why a report is in quarantine that differs from the one under its key."""

_PER_DEGREE, _PER_KM, _PER_KMH = 1e6, 10.0, 10.0
_MILEAGE_HEAD = bytes.fromhex("0104")
_MILEAGE_ITEM = 6
"""Bytes of item 0x01: id, length and four of content."""

_COLUMNS = """
placed_at, received_at, reported_at, last_received_at, terminal_id, body_hash, alarm_bits, status_bits,
latitude, longitude, mileage, mileage_inside, copies, altitude, speed, heading, msg_id, serial, quality,
authenticated, late, reported_raw, items
"""
_STAGE = """
CREATE TEMPORARY TABLE IF NOT EXISTS staged_positions (LIKE position_records, number integer NOT NULL)
ON COMMIT DELETE ROWS
"""
_TOLD_AT: LiteralString = "CASE WHEN {0}.reported_raw IS NULL THEN {0}.placed_at ELSE {0}.reported_at END"
_BODY: LiteralString = f"""
ROW ({{0}}.alarm_bits, {{0}}.status_bits, {{0}}.latitude, {{0}}.longitude, {{0}}.altitude, {{0}}.speed,
     {{0}}.heading, {_TOLD_AT}, CASE WHEN {_TOLD_AT} IS NULL THEN {{0}}.reported_raw END, {{0}}.mileage,
     {{0}}.items)
"""
"""The whole body of a report: six bytes of a clock that are a time are no others than those of that time."""
_THERE, _STAGED, _EXCLUDED = (_BODY.replace("{0}", name) for name in ("there", "staged", "excluded"))
_ADD_COPIES: LiteralString = """
   SET copies = coalesce(there.copies, 1) + coalesce(excluded.copies, 1),
       last_received_at = greatest(there.received_at, there.last_received_at, excluded.received_at,
                                   excluded.last_received_at)
"""
_MERGE_STAGED = f"""
INSERT INTO position_records AS there ({_COLUMNS})
SELECT {_COLUMNS} FROM staged_positions
ON CONFLICT (terminal_id, placed_at, body_hash) DO UPDATE {_ADD_COPIES}
 WHERE {_THERE} IS NOT DISTINCT FROM {_EXCLUDED}
"""
_SAME_KEY: LiteralString = """
there.terminal_id = staged.terminal_id AND there.placed_at = staged.placed_at
AND there.body_hash = staged.body_hash AND there.placed_at BETWEEN %(begin)s AND %(end)s
"""
_NOT_MERGED = f"""
SELECT staged.number FROM staged_positions AS staged
 WHERE (SELECT {_THERE} IS NOT DISTINCT FROM {_STAGED} FROM position_records AS there WHERE {_SAME_KEY})
       IS NOT TRUE
"""
_SAME_BODY_ELSEWHERE: LiteralString = f"""
there.terminal_id = staged.terminal_id AND there.body_hash = staged.body_hash
AND {_THERE} IS NOT DISTINCT FROM {_STAGED} AND {{where}}
"""
_BY_RECEIPT: LiteralString = """
there.reported_raw IS NOT NULL AND there.placed_at >= %(begin)s AND there.placed_at <= staged.received_at
"""
"""Not BETWEEN two constants: the server would think that few rows lie there, and read all of the terminal's
by the index of the key instead of the few with the hash."""
_BY_CLOCK: LiteralString = """
there.placed_at = staged.reported_at AND there.placed_at BETWEEN %(begin)s AND %(end)s
"""
_LEAD_TO_EQUAL: LiteralString = f"""
UPDATE staged_positions AS staged
   SET placed_at = equal.placed_at, reported_at = equal.reported_at, reported_raw = equal.reported_raw
  FROM (SELECT staged.number, there.*
          FROM staged_positions AS staged
         CROSS JOIN LATERAL (SELECT there.placed_at, there.reported_at, there.reported_raw
                               FROM position_records AS there WHERE {_SAME_BODY_ELSEWHERE} LIMIT 1) AS there
       ) AS equal
 WHERE staged.number = equal.number
"""
"""A staged row takes the placement time of the equal one, and is merged with it."""
_LEAD_TO_RECEIPT = _LEAD_TO_EQUAL.replace("{where}", _BY_RECEIPT)
_LEAD_TO_CLOCK = _LEAD_TO_EQUAL.replace("{where}", _BY_CLOCK)
_STAGED_REPORTS = f"""
SELECT staged.number, staged.terminal_id, staged.placed_at, staged.body_hash, {_STAGED}::text,
       staged.received_at, staged.reported_at
  FROM staged_positions AS staged ORDER BY staged.number
"""
_KNOWN: LiteralString = f"""
SELECT known.*
  FROM staged_positions AS staged
 CROSS JOIN LATERAL (SELECT there.terminal_id, there.placed_at, there.body_hash, {_THERE}::text,
                            there.reported_raw IS NOT NULL
                       FROM position_records AS there WHERE {{same}} OFFSET 0) AS known
"""
_KNOWN_BY_KEY = _KNOWN.replace("{same}", _SAME_KEY)
_KNOWN_BY_RECEIPT, _KNOWN_BY_CLOCK = (
    _KNOWN.replace("{same}", _SAME_BODY_ELSEWHERE).replace("{where}", where)
    for where in (_BY_RECEIPT, _BY_CLOCK)
)
_INSERT_STAGED = f"""
INSERT INTO position_records ({_COLUMNS})
SELECT {_COLUMNS} FROM staged_positions AS staged WHERE staged.number = ANY(%(numbers)s)
"""
_LEAD_COPIES = """
UPDATE staged_positions AS staged
   SET placed_at = x.placed_at, copies = x.copies, last_received_at = x.last_received_at
  FROM unnest(%(numbers)s::integer[], %(placed_at)s::timestamptz[], %(copies)s::integer[],
              %(last_received_at)s::timestamptz[]) AS x (number, placed_at, copies, last_received_at)
 WHERE staged.number = x.number
"""
_COUNT_COPIES = f"""
{_INSERT_STAGED.replace("position_records", "position_records AS there")}
ON CONFLICT (terminal_id, placed_at, body_hash) DO UPDATE {_ADD_COPIES}
"""
_OF_EACH = ", ".join(f"each.{name.strip()}" for name in _COLUMNS.split(","))
_TRY_EACH = f"""
CREATE FUNCTION pg_temp.unwritable(waits text) RETURNS SETOF integer LANGUAGE plpgsql AS $$
DECLARE
    each staged_positions;
BEGIN
    FOR each IN SELECT * FROM staged_positions ORDER BY number LOOP
        BEGIN
            INSERT INTO position_records ({_COLUMNS}) SELECT {_OF_EACH}
                ON CONFLICT (terminal_id, placed_at, body_hash) DO NOTHING;
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE ~ waits THEN
                RAISE;
            END IF;
            RETURN NEXT each.number;
        END;
    END LOOP;
END
$$
"""


@dataclass(frozen=True, slots=True)
class PositionRows:
    """Rows for `positions`, one array per column, in order of receipt. Times are µs since 1970."""

    terminal_id: I32
    placed_us: I64
    reported_us: I64
    """`NO_TIME` where the six bytes are no time."""
    reported_raw: npt.NDArray[np.uint8]
    """Shape (rows, 6)."""
    received_us: I64
    last_received_us: I64
    body_hash: I64
    copies: I32
    lat: F64
    """NaN without a fix, and so `lon`."""
    lon: F64
    speed_kmh: npt.NDArray[np.float32]
    heading_deg: I32
    altitude_m: I32
    alarm_bits: npt.NDArray[np.uint32]
    status_bits: npt.NDArray[np.uint32]
    mileage_km: F64
    """NaN where the report has none."""
    msg_id: I32
    serial: I32
    quality: I32
    authenticated: Flags
    late: Flags
    repeated: Flags
    """It was probably sent before. A guess either way changes no fact."""
    searched: Flags
    """An equal row may lie under another placement time: the terminal's clock is, or lately was, wrong."""
    items_start: I64
    """Where the additional items begin in `data`."""
    items_length: I64
    data: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.terminal_id)


def joined(first: PositionRows, second: PositionRows) -> PositionRows:
    """Give the rows of both, the first ones first. The data of the first begins with that of the second."""
    if not len(second):
        return first
    columns = [each.name for each in fields(first) if each.name != "data"]
    return PositionRows(
        **{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in columns},
        data=first.data,
    )


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows of which equal ones are one."""

    rows: PositionRows
    """With the count and the last receive time of all copies in the first one."""
    chosen: Order
    """The rows that are first."""
    first: Order | None
    """Of which row each is a copy; None: there are no copies."""
    contested: Order
    """Rows of one terminal that have one short hash and different bodies; none of them is merged or
    chosen."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows, with everything done that needs no connection."""

    rows: PositionRows
    """As they were received."""
    merged: Merged
    columns: Columns
    """Of the merged ones."""
    searched: Order
    repeated: Order
    others: Order
    """Almost all."""
    encoded: Encoded | None
    """The others as they are sent."""


def write(connection: Connection, rows: PositionRows) -> Order:
    """Write the rows inside the caller's transaction, and give those that could not be: a different report
    has their key. Their days must exist (`store.placement`).
    """
    return write_prepared(connection, prepare(rows))


def prepare(rows: PositionRows) -> Prepared:
    """Choose the way of each row and bring most of them into the format in which they are sent."""
    merged = merge_equal(rows)
    original, rows, chosen = rows, merged.rows, merged.chosen
    columns, tail = _columns(rows)
    searched = chosen[rows.searched[chosen]]
    repeated = chosen[rows.repeated[chosen] & ~rows.searched[chosen]]
    others = chosen[~(rows.searched | rows.repeated)[chosen]]
    if not len(others):
        return Prepared(original, merged, (columns, tail), searched, repeated, others, None)
    # By terminal, as the index has them: neighbours go into one leaf page, which saves a quarter of the time.
    order = None if len(others) == len(rows) else others
    terminal_id = rows.terminal_id[others] if order is not None else rows.terminal_id
    if (terminal_id[1:] < terminal_id[:-1]).any():
        order = others[stable_order(terminal_id)]
    encoded = encode(_told(columns, order), tail, order)
    return Prepared(original, merged, (columns, tail), searched, repeated, others, encoded)


def write_prepared(connection: Connection, prepared: Prepared) -> Order:
    """Write the rows inside the caller's transaction, and give those that could not be: a different report
    has their key. Their days must exist (`store.placement`).
    """
    undecided = [prepared.merged.contested]
    if len(prepared.searched):
        undecided.append(_write_searched(connection, prepared))
    if len(prepared.repeated):
        undecided.append(_merge(connection, prepared, prepared.repeated))
    if prepared.encoded is not None:
        try:
            with connection.transaction():  # a savepoint
                send(connection, "position_records", prepared.encoded)
        except psycopg.errors.UniqueViolation:
            undecided.append(_merge(connection, prepared, prepared.others))
    rows = np.concatenate(undecided)
    return _decide(connection, prepared.rows, np.sort(rows)) if len(rows) else rows


def merge_equal(rows: PositionRows) -> Merged:
    """Find equal reports in one batch, and reports of one terminal that only look equal by their hash."""
    everything, nothing = np.arange(len(rows)), np.arange(0)
    keys = (rows.body_hash & HASH_BITS) << _TERMINAL_BITS | rows.terminal_id
    ordered = np.sort(keys)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return Merged(rows, everything, None, nothing)
    suspects = np.flatnonzero(twice[np.searchsorted(twice, keys) % len(twice)] == keys)
    order = suspects[np.argsort(keys[suspects], kind="stable")]  # the first copy stays first
    begins = np.flatnonzero(np.diff(keys[order], prepend=-1))
    counts = np.diff(begins, append=len(order))
    leader = np.repeat(order[begins], counts)
    is_other = ~_are_equal(rows, order, leader)
    contested = nothing
    if is_other.any():
        is_contested = np.isin(leader, leader[is_other])
        contested, order = np.sort(order[is_contested]), order[~is_contested]
        leader = leader[~is_contested]
        begins = np.flatnonzero(np.diff(leader, prepend=-1))
    first = everything.copy()
    first[order] = leader
    is_first = first == everything
    is_first[contested] = False
    if not len(order):
        return Merged(rows, np.flatnonzero(is_first), None, contested)
    leaders = leader[begins]
    merged = replace(
        rows,
        copies=rows.copies.copy(),
        last_received_us=rows.last_received_us.copy(),
        searched=rows.searched.copy(),
    )
    merged.copies[leaders] = np.add.reduceat(rows.copies[order], begins)
    merged.last_received_us[leaders] = np.maximum.reduceat(rows.last_received_us[order], begins)
    merged.searched[leaders] = np.logical_or.reduceat(rows.searched[order], begins)
    return Merged(merged, np.flatnonzero(is_first), first, contested)


def _are_equal(rows: PositionRows, some: Order, others: Order) -> Flags:
    """Say which of some rows have the whole body of another one, pair by pair."""
    same: Flags = (rows.reported_raw[some] == rows.reported_raw[others]).all(axis=1)
    for column in (
        *(rows.alarm_bits, rows.status_bits, rows.altitude_m, rows.speed_kmh, rows.heading_deg),
        *(rows.items_length, rows.lat, rows.lon),
    ):
        same &= column[some] == column[others]
    pair = np.flatnonzero(same)
    length = rows.items_length[some[pair]]
    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    byte, other = (
        rows.data[np.repeat(rows.items_start[which[pair]], length) + within] for which in (some, others)
    )
    same[np.repeat(pair, length)[byte != other]] = False
    return same


def _columns(rows: PositionRows) -> Columns:
    """Say how each column stands in the binary format."""
    is_single = rows.copies == 1
    is_placed_by_clock = rows.reported_us == rows.placed_us
    raw = np.ascontiguousarray(rows.reported_raw).view("V6").reshape(-1)
    is_untold = is_placed_by_clock | (rows.reported_us == NO_TIME)
    leads = _has_leading_mileage(rows)
    mileage = _sent("mileage", ">u4", rows.mileage_km, _PER_KM)
    columns = [
        times("placed_at", rows.placed_us),
        times("received_at", rows.received_us),
        replace(times("reported_at", rows.reported_us), is_null=is_untold),
        replace(times("last_received_at", rows.last_received_us), is_null=is_single),
        Column("terminal_id", ">i4", rows.terminal_id),
        Column("body_hash", ">i4", rows.body_hash & HASH_BITS),
        Column("alarm_bits", ">u4", rows.alarm_bits),
        Column("status_bits", ">u4", rows.status_bits),
        _sent("latitude", ">u4", rows.lat, _PER_DEGREE),
        _sent("longitude", ">u4", rows.lon, _PER_DEGREE),
        replace(mileage, is_null=~leads),
        replace(mileage, name="mileage_inside", is_null=leads | np.isnan(rows.mileage_km)),
        Column("copies", ">i4", rows.copies, is_single),
        Column("altitude", ">u2", rows.altitude_m),
        Column("speed", ">u2", np.rint(rows.speed_kmh * _PER_KMH)),
        Column("heading", ">u2", rows.heading_deg),
        Column("msg_id", ">u2", rows.msg_id),
        Column("serial", ">u2", rows.serial),
        Column("quality", ">i2", rows.quality),
        Column("authenticated", "u1", rows.authenticated),
        Column("late", "u1", rows.late),
        Column("reported_raw", "V6", raw, is_placed_by_clock),
    ]
    skipped = leads * _MILEAGE_ITEM
    return columns, Tail("items", rows.data, rows.items_start + skipped, rows.items_length - skipped)


def _has_leading_mileage(rows: PositionRows) -> Flags:
    """Say whose first item is the mileage. It is the same bytes as the column."""
    is_long_enough = rows.items_length >= _MILEAGE_ITEM
    begin = np.where(is_long_enough, rows.items_start, 0)
    is_mileage = (rows.data[begin] == _MILEAGE_HEAD[0]) & (rows.data[begin + 1] == _MILEAGE_HEAD[1])
    leads: Flags = is_long_enough & is_mileage & ~np.isnan(rows.mileage_km)
    return leads


def _told(columns: list[Column], chosen: Order | None) -> list[Column]:
    """Leave out what none of the chosen rows has: the server would look at each null of each row."""
    some = slice(None) if chosen is None else chosen
    return [each for each in columns if each.is_null is None or not each.is_null[some].all()]


def _sent(name: str, kind: str, values: F64, scale: float) -> Column:
    """Give a number as it was sent: in the standard's units and without a sign; NaN is null."""
    return Column(name, kind, np.rint(np.abs(values) * scale), np.isnan(values))


def _merge(connection: Connection, prepared: Prepared, chosen: Order) -> Order:
    """Write rows of which some may be there already, and give those that are not written: another body is
    there.
    """
    _stage(connection, prepared.columns, chosen)
    return _merge_staged(connection, prepared, chosen, _span(prepared.rows.placed_us[chosen]))


def _write_searched(connection: Connection, prepared: Prepared) -> Order:
    """Write rows of which equal ones may lie under another placement time, and give those that are not
    written.
    """
    rows, chosen = prepared.merged.rows, prepared.searched
    _stage(connection, prepared.columns, chosen)
    spans = [_span(rows.placed_us[chosen])]
    for lead, span in zip((_LEAD_TO_RECEIPT, _LEAD_TO_CLOCK), _elsewhere(rows, chosen), strict=True):
        if span is not None:
            _look_up(connection, lead, span)
            spans.append(span)
    return _merge_staged(connection, prepared, chosen, _around(spans))


def _merge_staged(connection: Connection, prepared: Prepared, chosen: Order, span: _Span) -> Order:
    """Insert or count the staged rows, and give those that met another body, with all their copies."""
    if connection.execute(_MERGE_STAGED).rowcount == len(chosen):
        return chosen[:0]
    left = [row[0] for row in _look_up(connection, _NOT_MERGED, span)]
    first = prepared.merged.first
    return np.array(left, np.intp) if first is None else np.flatnonzero(np.isin(first, left))


def _decide(connection: Connection, rows: PositionRows, chosen: Order) -> Order:
    """Write rows one after the other as far as anybody can tell, with few statements; give those whose key
    another body has.
    """
    _stage(connection, _columns(rows), chosen)
    known = list(_look_up(connection, _KNOWN_BY_KEY, _span(rows.placed_us[chosen])))
    for query, span in zip((_KNOWN_BY_RECEIPT, _KNOWN_BY_CLOCK), _elsewhere(rows, chosen), strict=True):
        if span is not None:
            known += _look_up(connection, query, span)
    reports = [_Report(row[0], _Key(*row[1:4]), *row[4:]) for row in connection.execute(_STAGED_REPORTS)]
    decided = _decided(reports, ((_Key(*row[:3]), row[3], row[4]) for row in known))
    connection.execute(_INSERT_STAGED, {"numbers": decided.new})
    copies = decided.copies
    if copies:
        values = {
            "numbers": [copy.number for copy in copies.values()],
            "placed_at": [key.placed_at for key in copies],
            "copies": [copy.more for copy in copies.values()],
            "last_received_at": [copy.last_received_at for copy in copies.values()],
        }
        connection.execute(_LEAD_COPIES, values)
        connection.execute(_COUNT_COPIES, values)
    return np.array(decided.collided, np.intp)


def unwritable(connection: Connection, rows: PositionRows, waits: Iterable[str]) -> Order:
    """Give the rows that the table does not take even alone; nothing is written. The server tries each of
    them, some 30 µs a row however many are bad.

    Raises:
        psycopg.Error: of an SQLSTATE that begins with one of `waits`; or no row can be tried.
    """
    everything = np.arange(len(rows))
    with connection.transaction(force_rollback=True):
        _stage(connection, _columns(rows), everything)
        connection.execute(_TRY_EACH)
        found = connection.execute("SELECT pg_temp.unwritable(%s)", [f"^({'|'.join(waits)})"]).fetchall()
    return np.array([row[0] for row in found], np.intp)


class _Key(NamedTuple):
    """Under what a position is stored."""

    terminal_id: int
    placed_at: datetime
    body_hash: int


class _Report(NamedTuple):
    """A staged row."""

    number: int
    key: _Key
    body: str
    received_at: datetime
    reported_at: datetime | None
    """Where it is not the placement time."""


class _Copies(NamedTuple):
    """How many more there are of a row."""

    number: int
    """Of the first one."""
    more: int
    last_received_at: datetime


class _Decided(NamedTuple):
    """What becomes of staged rows."""

    new: list[int]
    copies: dict[_Key, _Copies]
    """Of the row with each key."""
    collided: list[int]


def _decided(reports: Iterable[_Report], known: Iterable[tuple[_Key, str, bool]]) -> _Decided:
    """Decide about reports in their order. Of each row that is there `known` says the key, the body, and
    whether it was placed by its receipt.
    """
    bodies: dict[_Key, str] = {}
    equal: defaultdict[tuple[int, str], dict[_Key, bool]] = defaultdict(dict)
    for key, body, by_receipt in known:
        bodies[key] = body
        equal[key.terminal_id, body][key] = by_receipt
    decided = _Decided([], {}, [])
    for report in reports:
        alike = equal[report.key.terminal_id, report.body]
        of = next((key for key, by_receipt in alike.items() if _is_copy(report, key, by_receipt)), None)
        if of is not None:
            number, more, last = decided.copies.get(of, _Copies(report.number, 0, report.received_at))
            decided.copies[of] = _Copies(number, more + 1, max(last, report.received_at))
        elif report.key in bodies:
            decided.collided.append(report.number)
        else:
            decided.new.append(report.number)
            bodies[report.key] = report.body
            alike[report.key] = report.reported_at is not None or report.key.placed_at == report.received_at
    return decided


def _is_copy(report: _Report, key: _Key, by_receipt: bool) -> bool:
    """Say whether a report is a copy of the row with this key and the same body."""
    if by_receipt and report.received_at - SEARCH_BACK <= key.placed_at <= report.received_at:
        return True
    return key.placed_at in (report.key.placed_at, report.reported_at)


def _look_up(connection: Connection, statement: LiteralString, span: _Span) -> psycopg.Cursor[Any]:
    """Look for what is there about each staged row. It is planned anew each time: a plan made for a day that
    has just begun would read all of it.
    """
    return connection.execute(statement, span, prepare=False)


def _elsewhere(rows: PositionRows, chosen: Order) -> tuple[_Span, _Span | None]:
    """Say between which placement times equal rows may lie that were placed by their receipt, or by their
    clock (None: there can be none).
    """
    received_us, reported_us = rows.received_us[chosen], rows.reported_us[chosen]
    by_receipt = _span(received_us)
    by_receipt["begin"] -= SEARCH_BACK
    reported_us = reported_us[(reported_us != NO_TIME) & (reported_us != rows.placed_us[chosen])]
    return by_receipt, _span(reported_us) if len(reported_us) else None


def _stage(connection: Connection, columns: Columns, chosen: Order) -> None:
    connection.execute(_STAGE)
    connection.execute("DELETE FROM staged_positions")  # what this transaction staged before
    given, tail = columns
    number = Column("number", ">i4", np.arange(len(tail.start)))
    copy_in(connection, "staged_positions", [*given, number], tail, chosen)


def _span(times_us: I64) -> _Span:
    return {"begin": _time(times_us.min()), "end": _time(times_us.max())}


def _around(spans: Iterable[_Span]) -> _Span:
    return {"begin": min(each["begin"] for each in spans), "end": max(each["end"] for each in spans)}


def _time(us: np.int64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(us))
