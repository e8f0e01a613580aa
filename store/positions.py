"""Writing positions: columns go in as PostgreSQL's binary COPY, without a Python object per row.

Equal reports are one row with a count. From the common to the rare:

1. Equal reports in one batch are merged before anything is sent.
2. COPY runs under a savepoint. If it meets a row that is there already, the savepoint is undone and all rows
   go through a temporary table and INSERT … ON CONFLICT, which takes three times as long.
3. Rows that the worker has seen a moment ago (a retransmission) take that way at once, alone.
4. A report placed by its receipt (its clock is wrong) has no placement time to be recognised by; an equal row
   is looked for among the others of that kind before it is inserted.
"""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import psycopg

from store.binary import NO_TIME, Column, Tail, copy_in, floats, times

Connection = psycopg.Connection[Any]
I64: TypeAlias = npt.NDArray[np.int64]
I32: TypeAlias = npt.NDArray[np.int32]
F64: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

SEARCH_BACK = timedelta(days=30)
"""How long after its first copy a report with a wrong clock is still recognised. Terminals retransmit within
minutes, or within days after a gap; further back lies one more day to search for every day."""

_SPREAD = 0x9E37_79B9_7F4A_7C15 - (1 << 64)
"""Makes one number of a hash and a terminal; 2^64 divided by the golden ratio, as for any multiplicative
hash.
"""

_COLUMNS = """
placed_at, reported_at, received_at, last_received_at, body_hash, lat, lon, alarm_bits, status_bits,
mileage_km, terminal_id, copies, speed_kmh, heading_deg, altitude_m, msg_id, serial, quality, authenticated,
late, reported_raw, items
"""
_STAGE = "CREATE TEMPORARY TABLE IF NOT EXISTS staged_positions (LIKE positions) ON COMMIT DELETE ROWS"
_MERGE_STAGED = f"""
INSERT INTO positions AS there ({_COLUMNS})
SELECT {_COLUMNS} FROM staged_positions
ON CONFLICT (terminal_id, placed_at, body_hash) DO UPDATE
   SET copies = there.copies + excluded.copies,
       last_received_at = greatest(there.last_received_at, excluded.last_received_at)
"""
_COUNT_EQUAL = """
WITH equal AS (
    UPDATE positions AS there
       SET copies = there.copies + staged.copies,
           last_received_at = greatest(there.last_received_at, staged.last_received_at)
      FROM staged_positions AS staged
     WHERE there.terminal_id = staged.terminal_id AND there.body_hash = staged.body_hash
       AND {where} AND there.placed_at BETWEEN %(begin)s AND %(end)s
 RETURNING staged.terminal_id, staged.body_hash
)
DELETE FROM staged_positions AS staged USING equal
 WHERE staged.terminal_id = equal.terminal_id AND staged.body_hash = equal.body_hash
"""
_PLACED_BY_RECEIPT = _COUNT_EQUAL.format(where="there.reported_at IS DISTINCT FROM there.placed_at")
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

    def take(self, rows: npt.NDArray[Any]) -> "PositionRows":
        """Give the chosen rows (indices or a mask)."""
        chosen = {each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name != "data"}
        return PositionRows(data=self.data, **chosen)


def write(connection: Connection, rows: PositionRows) -> None:
    """Write the rows inside the caller's transaction. Their days must exist (`store.placement`)."""
    merged = merge_equal(rows)
    if merged.searched.any():
        _write_searched(connection, merged.take(merged.searched))
        merged = merged.take(~merged.searched)
    if merged.repeated.any():
        _stage(connection, _columns(merged.take(merged.repeated)))
        connection.execute(_MERGE_STAGED)
        merged = merged.take(~merged.repeated)
    if not len(merged):
        return
    columns = _columns(merged)
    # By terminal, as the index has them: neighbours go into one leaf page, which saves a quarter of the time.
    order = np.argsort(merged.terminal_id, kind="stable")
    try:
        with connection.transaction():  # a savepoint
            copy_in(connection, "positions", *columns, order)
    except psycopg.errors.UniqueViolation:
        _stage(connection, columns)
        connection.execute(_MERGE_STAGED)


def merge_equal(rows: PositionRows) -> PositionRows:
    """Make equal reports of one batch one row: the first one, with the count and the last receive time of
    all.

    The hash covers the report's time, so terminal and hash tell reports apart.
    """
    keys = np.sort(rows.body_hash ^ rows.terminal_id.astype(np.int64) * _SPREAD)
    if (keys[1:] != keys[:-1]).all():
        return rows  # the usual case, found without ordering the rows
    order = np.lexsort((rows.body_hash, rows.terminal_id))  # stable: the first copy stays first
    same = np.zeros(len(rows), np.bool_)
    same[1:] = (rows.body_hash[order[1:]] == rows.body_hash[order[:-1]]) & (
        rows.terminal_id[order[1:]] == rows.terminal_id[order[:-1]]
    )
    if not same.any():
        return rows
    group = np.cumsum(~same) - 1
    first = order[~same]
    copies = np.bincount(group, weights=rows.copies[order]).astype(np.int32)
    last = np.maximum.reduceat(rows.last_received_us[order], np.flatnonzero(~same))
    searched = np.logical_or.reduceat(rows.searched[order], np.flatnonzero(~same))
    back = np.argsort(first)
    chosen = rows.take(first[back])
    return replace(chosen, copies=copies[back], last_received_us=last[back], searched=searched[back])


def _columns(rows: PositionRows) -> tuple[list[Column], Tail]:
    """Say how each column stands in the binary format."""
    numbers = {
        "body_hash": ">i8",
        "alarm_bits": ">i8",
        "status_bits": ">i8",
        "terminal_id": ">i4",
        "copies": ">i4",
        "speed_kmh": ">f4",
        "heading_deg": ">i4",
        "altitude_m": ">i4",
        "msg_id": ">i4",
        "serial": ">i4",
        "quality": ">i4",
        "authenticated": "u1",
        "late": "u1",
    }
    raw = np.ascontiguousarray(rows.reported_raw).view("V6").reshape(-1)
    columns = [
        times("placed_at", rows.placed_us),
        times("reported_at", rows.reported_us, nullable=True),
        times("received_at", rows.received_us),
        times("last_received_at", rows.last_received_us),
        floats("lat", rows.lat),
        floats("lon", rows.lon),
        floats("mileage_km", rows.mileage_km),
        *(Column(name, kind, getattr(rows, name)) for name, kind in numbers.items()),
        Column("reported_raw", "V6", raw),
    ]
    return columns, Tail("items", rows.data, rows.items_start, rows.items_length)


def _stage(connection: Connection, columns: tuple[list[Column], Tail]) -> None:
    connection.execute(_STAGE)
    connection.execute("DELETE FROM staged_positions")  # what this transaction staged before
    copy_in(connection, "staged_positions", *columns)


def _write_searched(connection: Connection, rows: PositionRows) -> None:
    _stage(connection, _columns(rows))
    received = _time(rows.received_us.min()) - SEARCH_BACK, _time(rows.received_us.max())
    connection.execute(_PLACED_BY_RECEIPT, {"begin": received[0], "end": received[1]})
    reported = rows.reported_us[(rows.reported_us != NO_TIME) & (rows.reported_us != rows.placed_us)]
    if len(reported):
        connection.execute(_PLACED_BY_CLOCK, {"begin": _time(reported.min()), "end": _time(reported.max())})
    connection.execute(_MERGE_STAGED)


def _time(us: np.int64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(us))
