"""PostgreSQL's binary COPY format, built by numpy from columns, without a Python object per row.

Rows of one shape (the same columns null, a tail of the same length) are one numpy table whose bytes are the
format itself. Few shapes are common, so rows are made shape by shape, and each is moved to its place.
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
_BLOCK = 1024
"""So many rows are filled column by column at a time: they fit the processor's cache."""


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
    """Append the rows to a table: all, or those that `order` names, in that order."""
    names = [each.name for each in columns] + ([tail.name] if tail else [])
    with connection.cursor() as cursor:
        statement = f"COPY {table} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
        with cursor.copy(statement.encode()) as copy:
            copy.write(rows(columns, tail, order))


def stable_order(values: Array) -> Order:
    """Give `np.argsort(values, kind="stable")` of whole numbers, none negative and all below 2^40 or so.

    With the number of its row below it no value is there twice, and plain sorting, for which numpy has the
    processor's wide instructions, takes a tenth of the time.
    """
    bits = len(values).bit_length()
    order: Order = np.sort(values.astype(np.int64) << bits | np.arange(len(values))) & ((1 << bits) - 1)
    return order


def rows(columns: Sequence[Column], tail: Tail | None = None, order: Order | None = None) -> memoryview:
    """Give the rows in the binary format: all, or those that `order` names, in that order."""
    order = np.arange(len(columns[0].values)) if order is None else order
    shapes = _shapes(columns, tail)[order]
    by_shape = stable_order(shapes)
    sizes = np.empty(len(order), np.int64)
    tables: list[tuple[Order, Array]] = []
    for group in np.split(by_shape, np.flatnonzero(np.diff(shapes[by_shape])) + 1) if len(order) else ():
        table = _table(columns, tail, int(shapes[group[0]]), order[group])
        sizes[group] = table.itemsize
        tables.append((group, table))
    begins = np.cumsum(sizes) - sizes + len(_HEAD)
    data = np.empty(len(_HEAD) + sizes.sum() + len(_TAIL), np.uint8)
    data[: len(_HEAD)], data[-len(_TAIL) :] = bytearray(_HEAD), bytearray(_TAIL)
    for group, table in tables:
        _windows(data, table.itemsize)[begins[group]] = table
    return data.data


def _shapes(columns: Sequence[Column], tail: Tail | None) -> Array:
    """Give a number for the shape of each row: which columns are null, and above that how long the tail
    is.
    """
    shapes = np.zeros(len(columns[0].values), np.int64)
    if tail is not None:
        shapes += tail.length << len(columns)
    for bit, column in enumerate(columns):
        if column.is_null is not None:
            shapes += column.is_null.astype(np.int64) << bit
    return shapes


def _table(columns: Sequence[Column], tail: Tail | None, shape: int, chosen: Order) -> Array:
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
    for column, is_there in zip(columns, present, strict=True):
        template[f"{column.name} length"] = np.dtype(column.kind).itemsize if is_there else -1
    if tail is not None:
        template[f"{tail.name} length"] = tail_length or -1
    opaque = np.dtype((np.void, template.itemsize))  # copied in one move, and not field by field
    table = np.full(len(chosen), template.view(opaque))
    filled = table.view(template.dtype)
    for begin in range(0, len(chosen), _BLOCK):
        block, some = filled[begin : begin + _BLOCK], chosen[begin : begin + _BLOCK]
        for column, is_there in zip(columns, present, strict=True):
            if is_there:
                block[column.name] = column.values[some]
        if tail is not None and tail_length:
            block[tail.name] = _windows(tail.data, tail_length)[tail.start[some]]
    return table


def _windows(data: npt.NDArray[np.uint8], size: int) -> Array:
    """View the data as overlapping pieces, one at every byte."""
    return np.ndarray((len(data) - size + 1,), f"V{size}", data, 0, (1,))
