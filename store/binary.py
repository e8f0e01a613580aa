"""PostgreSQL's binary COPY format, built by numpy from columns, without a Python object per row.

Rows of one shape (the same columns null, a tail of the same length) are one numpy table whose bytes are the
format itself. Few shapes are common, so rows are made shape by shape, and each is moved to its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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
_TEMPLATES = 512
"""So many shapes are remembered; making the type of one costs as much as some hundred rows."""


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


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows in the binary format."""

    names: list[str]
    """Of the columns."""
    data: memoryview


def encode(columns: Sequence[Column], tail: Tail | None = None, order: Order | None = None) -> Encoded:
    """Make rows ready to be sent: all, or those that `order` names, in that order."""
    names = [each.name for each in columns] + ([tail.name] if tail else [])
    return Encoded(names, rows(columns, tail, order))


def send(connection: Connection, table: str, encoded: Encoded) -> None:
    """Append rows to a table."""
    statement = f"COPY {table} ({', '.join(encoded.names)}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.write(encoded.data)


def copy_in(
    connection: Connection,
    table: str,
    columns: Sequence[Column],
    tail: Tail | None = None,
    order: Order | None = None,
) -> None:
    """Append the rows to a table: all, or those that `order` names, in that order."""
    send(connection, table, encode(columns, tail, order))


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
    shapes = _shapes(columns, tail)
    if order is not None:
        shapes = shapes[order]
    if len(shapes) and (shapes == shapes[0]).all():
        return _uniform(columns, tail, order, int(shapes[0]))
    order = np.arange(len(shapes)) if order is None else order
    by_shape = stable_order(shapes)
    sizes = np.empty(len(order), np.int64)
    tables: list[tuple[Order, Array]] = []
    for group in np.split(by_shape, np.flatnonzero(np.diff(shapes[by_shape])) + 1) if len(order) else ():
        template = _template(_kinds(columns), int(shapes[group[0]]), tail and tail.name)
        table = np.empty(len(group), _opaque(template))
        _fill(table, template, columns, tail, order[group])
        sizes[group] = table.itemsize
        tables.append((group, table))
    begins = np.cumsum(sizes) - sizes + len(_HEAD)
    data = _framed(int(sizes.sum()))
    for group, table in tables:
        _windows(data, table.itemsize)[begins[group]] = table
    return data.data


def _uniform(columns: Sequence[Column], tail: Tail | None, order: Order | None, shape: int) -> memoryview:
    """Give rows that have one shape, which are one table in its place."""
    template = _template(_kinds(columns), shape, tail and tail.name)
    count = len(columns[0].values) if order is None else len(order)
    data = _framed(count * template.itemsize)
    _fill(data[len(_HEAD) : -len(_TAIL)].view(_opaque(template)), template, columns, tail, order)
    return data.data


def _framed(size: int) -> npt.NDArray[np.uint8]:
    """Make room for rows, with what stands before and behind them."""
    data = np.empty(len(_HEAD) + size + len(_TAIL), np.uint8)
    data[: len(_HEAD)], data[-len(_TAIL) :] = bytearray(_HEAD), bytearray(_TAIL)
    return data


def _shapes(columns: Sequence[Column], tail: Tail | None) -> Array:
    """Give a number for the shape of each row: which columns are null, and above that how long the tail
    is.
    """
    shapes = np.zeros(len(columns[0].values), np.int64)
    if tail is not None:
        shapes += tail.length << len(columns)
    for bit, column in enumerate(columns):
        if column.is_null is not None and column.is_null.any():
            shapes += column.is_null.astype(np.int64) << bit
    return shapes


def _kinds(columns: Sequence[Column]) -> tuple[tuple[str, str], ...]:
    return tuple((each.name, each.kind) for each in columns)


@lru_cache(_TEMPLATES)
def _template(kinds: tuple[tuple[str, str], ...], shape: int, tail: str | None) -> Array:
    """Give one row of a shape: for each column its length and, unless null, its bytes."""
    present = [not shape >> bit & 1 for bit in range(len(kinds))]
    tail_length = shape >> len(kinds)
    parts: list[tuple[str, str]] = [("count", ">i2")]
    for (name, kind), is_there in zip(kinds, present, strict=True):
        parts += [(f"{name} length", ">i4")] + ([(name, kind)] if is_there else [])
    if tail is not None:
        parts += [(f"{tail} length", ">i4")] + ([(tail, f"V{tail_length}")] if tail_length else [])
    template = np.zeros((), parts)
    template["count"] = len(kinds) + (tail is not None)
    for (name, kind), is_there in zip(kinds, present, strict=True):
        template[f"{name} length"] = np.dtype(kind).itemsize if is_there else -1
    if tail is not None:
        template[f"{tail} length"] = tail_length or -1
    return template


def _opaque(template: Array) -> np.dtype[np.void]:
    """Rows as mere bytes are copied in one move, and not field by field."""
    return np.dtype((np.void, template.itemsize))


def _fill(
    table: Array, template: Array, columns: Sequence[Column], tail: Tail | None, chosen: Order | None
) -> None:
    """Fill a table with rows of one shape: all, or those that are chosen."""
    table[:] = template.view(table.dtype)
    filled, there = table.view(template.dtype), template.dtype.names or ()
    for begin in range(0, len(table), _BLOCK):
        block = filled[begin : begin + _BLOCK]
        span = slice(begin, begin + _BLOCK)
        some = span if chosen is None else chosen[span]
        for column in columns:
            if column.name in there:
                block[column.name] = column.values[some]
        if tail is not None and tail.name in there:
            size = template.dtype[tail.name].itemsize
            block[tail.name] = _windows(tail.data, size)[tail.start[some]]


def _windows(data: npt.NDArray[np.uint8], size: int) -> Array:
    """View the data as overlapping pieces, one at every byte."""
    return np.ndarray((len(data) - size + 1,), f"V{size}", data, 0, (1,))
