"""PostgreSQL's binary COPY format, built by numpy from columns, without a Python object per row.

Rows of one shape (the same columns null, a tail of the same length) are one numpy table whose bytes are the
format itself. Few shapes are common, so rows are sent shape by shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import psycopg

Connection = psycopg.Connection[Any]
Array: TypeAlias = npt.NDArray[Any]
Flags: TypeAlias = npt.NDArray[np.bool_]
Order: TypeAlias = npt.NDArray[np.intp]

NO_TIME = np.iinfo(np.int64).min
"""Stands for a missing time in columns of µs since 1970."""

_EPOCH_2000_US = 946_684_800_000_000
"""PostgreSQL counts its timestamps from 2000-01-01, we from 1970-01-01."""

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL = b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of fixed width: `kind` is the numpy type as it stands in the format, such as `>i8`."""

    name: str
    kind: str
    values: Array
    is_null: Flags | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """The last column, whose values are slices of one buffer; an empty one is null."""

    name: str
    data: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]


def times(name: str, us: npt.NDArray[np.int64], *, nullable: bool = False) -> Column:
    """Make a timestamptz column of µs since 1970; with `nullable`, `NO_TIME` is null."""
    return Column(name, ">i8", us - _EPOCH_2000_US, us == NO_TIME if nullable else None)


def floats(name: str, values: Array, kind: str = ">f8") -> Column:
    """Make a floating-point column in which NaN is null."""
    return Column(name, kind, values, np.isnan(values))


def copy_in(
    connection: Connection,
    table: str,
    columns: Sequence[Column],
    tail: Tail | None = None,
    order: Order | None = None,
) -> None:
    """Append the rows to a table, in the given order."""
    names = [each.name for each in columns] + ([tail.name] if tail else [])
    with connection.cursor() as cursor:
        statement = f"COPY {table} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
        with cursor.copy(statement.encode()) as copy:
            copy.write(rows(columns, tail, order))


def rows(columns: Sequence[Column], tail: Tail | None = None, order: Order | None = None) -> bytes:
    """Give the rows in the binary format: shape by shape, and rows of one shape in the given order."""
    count = len(columns[0].values)
    if not count:
        return _HEAD + _TAIL
    shapes = np.zeros(count, np.int64) if tail is None else tail.length << len(columns)
    for bit, column in enumerate(columns):
        if column.is_null is not None:
            shapes += column.is_null.astype(np.int64) << bit
    if (shapes == shapes[0]).all():
        return b"".join((_HEAD, _table(columns, tail, int(shapes[0]), order), _TAIL))
    by_shape = np.argsort(shapes if order is None else shapes[order], kind="stable")
    order = by_shape if order is None else order[by_shape]
    groups = np.split(order, np.flatnonzero(np.diff(shapes[order])) + 1)
    tables = [_table(columns, tail, int(shapes[group[0]]), group) for group in groups]
    return b"".join((_HEAD, *tables, _TAIL))


def _table(columns: Sequence[Column], tail: Tail | None, shape: int, chosen: Array | None) -> bytes:
    """Give rows of one shape: for each column its length and, unless null, its bytes."""
    present = [not shape >> bit & 1 for bit in range(len(columns))]
    tail_length = shape >> len(columns)
    parts: list[tuple[str, str]] = [("count", ">i2")]
    for column, is_there in zip(columns, present, strict=True):
        parts += [(f"{column.name} length", ">i4")] + ([(column.name, column.kind)] if is_there else [])
    if tail is not None:
        parts += [(f"{tail.name} length", ">i4")]
        parts += [(tail.name, f"V{tail_length}")] if tail_length else []
    template = np.zeros((), parts)
    template["count"] = len(columns) + (tail is not None)
    table = np.empty(len(columns[0].values) if chosen is None else len(chosen), template.dtype)
    for column, is_there in zip(columns, present, strict=True):
        template[f"{column.name} length"] = np.dtype(column.kind).itemsize if is_there else -1
    if tail is not None:
        template[f"{tail.name} length"] = tail_length or -1
    table[:] = template
    for column, is_there in zip(columns, present, strict=True):
        if is_there:
            table[column.name] = column.values if chosen is None else column.values[chosen]
    if tail is not None and tail_length:
        starts = tail.start if chosen is None else tail.start[chosen]
        slices = np.ndarray((len(tail.data) - tail_length + 1,), f"V{tail_length}", tail.data, 0, (1,))
        table[tail.name] = slices[starts]
    return table.tobytes()
