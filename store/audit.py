"""The audit: what people did, and who tried in vain to be one of them.

An entry is a code and its parameters, and the page makes the sentence: `action` says what was done, `subject`
is the name of what it was done to, which is of the kind that the action's first word says, and `detail` has
the rest by name.

Whoever is not signed in may cause entries as well. These are folded: entries of the same action, subject and
network within one minute are one, with a `count`; see `monitor.folding` for how many a minute may have.
"""

from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg.types.json import Jsonb

from store.select import Connection, Page, decode_cursor, fetch_page, where

NOBODY: Final = ""
"""Who did it where nobody was signed in, and the subject where there is no user of the given name: that may
have been a password in the wrong field."""


async def audit(connection: Connection, by: str, action: str, subject: str, **detail: Any) -> None:
    """Write down that `by` did `action` to `subject`."""
    await connection.execute(
        "INSERT INTO audit (user_name, action, subject, detail) VALUES (%s, %s, %s, %s)",
        (by, action, subject, Jsonb(detail)),
    )


async def audit_folded(connection: Connection, action: str, subject: str, minute: int, network: str) -> None:
    """Write down that somebody in `network` tried `action` at `subject`, or count it where this stands
    there for the `minute` (since 1970) already."""
    await connection.execute(
        "INSERT INTO audit (user_name, action, subject, detail, folded) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (folded) WHERE folded IS NOT NULL DO UPDATE SET detail = audit.detail"
        " || jsonb_build_object('count', coalesce((audit.detail->>'count')::integer, 1) + 1)",
        (
            NOBODY,
            action,
            subject,
            Jsonb({"network": network} if network else {}),
            f"{minute} {action} {network} {subject}",
        ),
    )


async def audit_page(
    connection: Connection, *, limit: int, cursor: str | None = None, **filters: Any
) -> Page:
    """List the audit, newest first. Filters: user (who did it, or to whom it was done), action, since,
    until."""
    conditions: dict[str, LiteralString] = {
        "user": "user_name = %(user)s OR subject = %(user)s",
        "action": "action = %(action)s",
        "since": "at >= %(since)s",
        "until": "at < %(until)s",
        "after_at": "(at, id) < (%(after_at)s, %(after_id)s)",
    }
    given = dict(filters)
    if cursor:
        given["after_at"], given["after_id"] = decode_cursor(cursor, (datetime, int))
    query: LiteralString = (
        f"SELECT id, at, user_name, action, subject, detail FROM audit WHERE {where(conditions, given)}"
        " ORDER BY at DESC, id DESC"
    )
    return await fetch_page(connection, query, given, key=("at", "id"), limit=limit)
