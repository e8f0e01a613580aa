"""How lists are asked for: filters that are given, and pages that stay right while rows arrive.

A page ends with the sort key of its last row, and the next page starts behind that key (keyset paging): no
row is skipped or shown twice because others were added meanwhile, and page 1,000 costs what page 1 costs.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, TypeAlias, cast

from psycopg import AsyncConnection

from store.refusals import BadCursor

Connection: TypeAlias = AsyncConnection[Any]
"""A connection whose rows are dicts (`psycopg.rows.dict_row`)."""

Row: TypeAlias = dict[str, Any]
"""One row by column names."""

MAX_CURSOR = 1000  # characters; ours are shorter than 300
_BIGGEST = 2**63 - 1  # PostgreSQL's bigint


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the cursor of the page after them where there is one."""

    items: list[Row]
    next: str | None


def where(conditions: Mapping[str, LiteralString], given: Mapping[str, Any]) -> LiteralString:
    """Join the conditions whose parameter is given (not None); each mentions it as `%(name)s`.

    Conditions are not written as `%(x)s IS NULL OR …`, because a plan for all cases is a good plan for none.
    """
    chosen = [condition for name, condition in conditions.items() if given.get(name) is not None]
    return " AND ".join(f"({condition})" for condition in chosen) or "true"


def encode_cursor(values: Sequence[int | str | datetime]) -> str:
    """Write a sort key as an opaque text that fits into a URL."""
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    packed = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(text: str, kinds: Sequence[type]) -> list[Any]:
    """Read what `encode_cursor` wrote.

    Raises:
        BadCursor: it was not, or it belongs to another list.
    """
    try:
        if len(text) > MAX_CURSOR:
            raise BadCursor
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not isinstance(values, list) or len(values) != len(kinds):
            raise BadCursor
        return [_value(value, kind) for value, kind in zip(values, kinds, strict=True)]
    except (ValueError, binascii.Error, RecursionError):
        raise BadCursor from None


def _value(value: object, kind: type) -> object:
    if type(value) is kind and kind is bool:
        return value
    if kind is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment
    elif kind is int and type(value) is int and 0 <= value <= _BIGGEST:
        return value
    elif kind is str and isinstance(value, str) and "\0" not in value:
        value.encode()  # a lone surrogate is a ValueError
        return value
    raise BadCursor


async def fetch_page(
    connection: Connection, query: LiteralString, parameters: Row, *, key: Sequence[str], limit: int
) -> Page:
    """Run `query`, which ends with ORDER BY, and cut its rows after `limit`.

    `key` names the columns of the sort key.
    """
    rows = await fetch_all(connection, query + " LIMIT %(limit)s", {**parameters, "limit": limit + 1})
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], encode_cursor([last[column] for column in key]))


async def fetch_all(connection: Connection, query: LiteralString, parameters: Any = None) -> list[Row]:
    """Give all rows."""
    cursor = await connection.execute(query, parameters)
    return cast(list[Row], await cursor.fetchall())


async def fetch_one(connection: Connection, query: LiteralString, parameters: Any = None) -> Row | None:
    """Give the first row."""
    cursor = await connection.execute(query, parameters)
    return cast("Row | None", await cursor.fetchone())


def pattern(search: str | None) -> str | None:
    """Give the LIKE pattern that finds `search` anywhere, None for no search."""
    if search is None or not search.strip():
        return None
    escaped = search.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
