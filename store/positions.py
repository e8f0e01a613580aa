"""Writing positions: columns go in as PostgreSQL's binary COPY, without a Python object per row.

They are stored as they were sent, in the table `position_records`, and read in units as the view `positions`
(migration 0013 says why).

Equal reports are one row with a count. From the common to the rare:

1. Equal reports in one batch are merged before anything is sent.
2. COPY runs under a savepoint. If it meets a row that is there already, the savepoint is undone and all rows
   go through a temporary table and INSERT … ON CONFLICT, which takes three times as long.
3. Rows that the worker has seen a moment ago (a retransmission) take that way at once, alone.
4. A report placed by its receipt (its clock is wrong) has no placement time to be recognised by; an equal row
   is looked for among the others of that kind before it is inserted.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

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

SEARCH_BACK = timedelta(days=30)
"""How long after its first copy a report with a wrong clock is still recognised. Terminals retransmit within
minutes, or within days after a gap; further back lies one more day to search for every day."""

_SPREAD = 0x9E37_79B9_7F4A_7C15 - (1 << 64)
"""Makes one number of a hash and a terminal; 2^64 divided by the golden ratio, as for any multiplicative
hash.
"""

HASH_BITS = (1 << 28) - 1
"""So much of a hash is stored. It only has to tell reports apart that one terminal made in the same second.
TimescaleDB keeps the differences of differences of numbers, and those of 28 bits fit two to a word."""

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
CREATE TEMPORARY TABLE IF NOT EXISTS staged_positions (LIKE position_records) ON COMMIT DELETE ROWS
"""
_ADD_COPIES = """
   SET copies = coalesce(there.copies, 1) + coalesce({staged}.copies, 1),
       last_received_at = greatest(there.received_at, there.last_received_at, {staged}.received_at,
                                   {staged}.last_received_at)
"""
_MERGE_STAGED = f"""
INSERT INTO position_records AS there ({_COLUMNS})
SELECT {_COLUMNS} FROM staged_positions
ON CONFLICT (terminal_id, placed_at, body_hash) DO UPDATE {_ADD_COPIES.format(staged="excluded")}
"""
# Without a placement time in common, the short hash alone would be too little.
_COUNT_EQUAL = f"""
WITH equal AS (
    UPDATE position_records AS there {_ADD_COPIES.format(staged="staged")}
      FROM staged_positions AS staged
     WHERE there.terminal_id = staged.terminal_id AND there.body_hash = staged.body_hash
       AND (there.latitude, there.longitude, there.altitude, there.speed, there.heading, there.alarm_bits,
            there.status_bits, there.mileage, there.items)
           IS NOT DISTINCT FROM
           (staged.latitude, staged.longitude, staged.altitude, staged.speed, staged.heading,
            staged.alarm_bits, staged.status_bits, staged.mileage, staged.items)
       AND {{where}} AND there.placed_at BETWEEN %(begin)s AND %(end)s
 RETURNING staged.terminal_id, staged.body_hash
)
DELETE FROM staged_positions AS staged USING equal
 WHERE staged.terminal_id = equal.terminal_id AND staged.body_hash = equal.body_hash
"""
_PLACED_BY_RECEIPT = _COUNT_EQUAL.format(where="there.reported_raw IS NOT NULL")
_PLACED_BY_CLOCK = _COUNT_EQUAL.format(where="there.placed_at = staged.reported_at")


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


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows, with everything done that needs no connection."""

    rows: PositionRows
    columns: Columns
    searched: Order
    repeated: Order
    others: Order
    """Almost all."""
    encoded: Encoded | None
    """The others as they are sent."""


def write(connection: Connection, rows: PositionRows) -> None:
    """Write the rows inside the caller's transaction. Their days must exist (`store.placement`)."""
    write_prepared(connection, prepare(rows))


def prepare(rows: PositionRows) -> Prepared:
    """Choose the way of each row and bring most of them into the format in which they are sent."""
    rows, chosen = merge_equal(rows)
    columns, tail = _columns(rows)
    searched = chosen[rows.searched[chosen]]
    repeated = chosen[rows.repeated[chosen] & ~rows.searched[chosen]]
    others = chosen[~(rows.searched | rows.repeated)[chosen]]
    if not len(others):
        return Prepared(rows, (columns, tail), searched, repeated, others, None)
    # By terminal, as the index has them: neighbours go into one leaf page, which saves a quarter of the time.
    order = None if len(others) == len(rows) else others
    terminal_id = rows.terminal_id[others] if order is not None else rows.terminal_id
    if (terminal_id[1:] < terminal_id[:-1]).any():
        order = others[stable_order(terminal_id)]
    encoded = encode(_told(columns, order), tail, order)
    return Prepared(rows, (columns, tail), searched, repeated, others, encoded)


def write_prepared(connection: Connection, prepared: Prepared) -> None:
    """Write the rows inside the caller's transaction. Their days must exist (`store.placement`)."""
    if len(prepared.searched):
        _write_searched(connection, prepared.rows, prepared.columns, prepared.searched)
    if len(prepared.repeated):
        _merge(connection, prepared.columns, prepared.repeated)
    if prepared.encoded is None:
        return
    try:
        with connection.transaction():  # a savepoint
            send(connection, "position_records", prepared.encoded)
    except psycopg.errors.UniqueViolation:
        _merge(connection, prepared.columns, prepared.others)


def merge_equal(rows: PositionRows) -> tuple[PositionRows, Order]:
    """Find equal reports in one batch. Gives the rows with the count and the last receive time of all copies
    in the first one, and which rows are first.

    The hash covers the report's time, so terminal and hash tell reports apart.
    """
    keys = rows.body_hash ^ rows.terminal_id.astype(np.int64) * _SPREAD
    ordered = np.sort(keys)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return rows, np.arange(len(rows))
    suspects = np.flatnonzero(twice[np.searchsorted(twice, keys) % len(twice)] == keys)
    terminal_id, body_hash = rows.terminal_id[suspects], rows.body_hash[suspects]
    order = np.lexsort((terminal_id, body_hash))  # stable: the first copy stays first
    differs = (np.diff(terminal_id[order]) != 0) | (np.diff(body_hash[order]) != 0)
    begins = np.flatnonzero(np.concatenate([[True], differs]))
    order = suspects[order]
    first = order[begins]
    merged = replace(
        rows,
        copies=rows.copies.copy(),
        last_received_us=rows.last_received_us.copy(),
        searched=rows.searched.copy(),
    )
    merged.copies[first] = np.add.reduceat(rows.copies[order], begins)
    merged.last_received_us[first] = np.maximum.reduceat(rows.last_received_us[order], begins)
    merged.searched[first] = np.logical_or.reduceat(rows.searched[order], begins)
    is_first = np.ones(len(rows), np.bool_)
    is_first[order] = False
    is_first[first] = True
    return merged, np.flatnonzero(is_first)


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


def _merge(connection: Connection, columns: Columns, chosen: Order) -> None:
    """Write rows of which some may be there already."""
    _stage(connection, columns, chosen)
    connection.execute(_MERGE_STAGED)


def _write_searched(connection: Connection, rows: PositionRows, columns: Columns, chosen: Order) -> None:
    """Write rows of which equal ones may lie under another placement time."""
    _stage(connection, columns, chosen)
    received_us, reported_us = rows.received_us[chosen], rows.reported_us[chosen]
    received = _time(received_us.min()) - SEARCH_BACK, _time(received_us.max())
    connection.execute(_PLACED_BY_RECEIPT, {"begin": received[0], "end": received[1]})
    reported_us = reported_us[(reported_us != NO_TIME) & (reported_us != rows.placed_us[chosen])]
    if len(reported_us):
        times_us = {"begin": _time(reported_us.min()), "end": _time(reported_us.max())}
        connection.execute(_PLACED_BY_CLOCK, times_us)
    connection.execute(_MERGE_STAGED)


def _stage(connection: Connection, columns: Columns, chosen: Order) -> None:
    connection.execute(_STAGE)
    connection.execute("DELETE FROM staged_positions")  # what this transaction staged before
    copy_in(connection, "staged_positions", *columns, chosen)


def _time(us: np.int64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(us))
