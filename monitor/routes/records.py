"""What could not be read: the quarantine."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter

from monitor.models import Deleted, Items, Page, Quarantined, QuarantinedRaw, ReasonCount
from monitor.routes import (
    CHANGES,
    DEFAULT_LIMIT,
    BigIdPath,
    Cursor,
    From,
    IdFilter,
    Limit,
    To,
    WordFilter,
    problems,
)
from monitor.signing import At, By, ByAdmin
from store import desk, quarantine
from store.select import Row

router = APIRouter(prefix="/quarantine", tags=["quarantine"])


@router.get("", response_model=Page[Quarantined], responses=problems(400))
async def listed(
    center: At,
    by: By,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    reason: WordFilter = None,
    terminal_id: IdFilter = None,
    since: From = None,
    until: To = None,
) -> Any:
    """Unreadable input, newest first, with the beginning of its bytes."""
    async with center.database() as connection:
        return await desk.quarantine_page(
            connection,
            limit=limit,
            cursor=cursor,
            reason=reason,
            terminal_id=terminal_id,
            since=since,
            until=until,
        )


@router.delete("", response_model=Deleted, responses=CHANGES)
async def delete(
    center: At,
    by: ByAdmin,
    reason: WordFilter = None,
    terminal_id: IdFilter = None,
    since: From = None,
    until: To = None,
) -> Deleted:
    """Delete what is chosen, or everything, the oldest first and a part at a time. What is under a legal hold
    stays, and what could not be written; it is written down who deleted what.
    """
    async with center.database() as connection:
        deleted = await quarantine.delete(
            connection, by=by["name"], reason=reason, terminal_id=terminal_id, since=since, until=until
        )
    return Deleted(deleted=deleted, is_all=deleted < quarantine.DELETED_AT_ONCE)


@router.get("/summary", response_model=Items[ReasonCount], responses=problems())
async def summary(center: At, by: By, since: From = None, until: To = None) -> Any:
    """How often and why; the last 24 hours unless told otherwise."""
    until = until or datetime.now(UTC)
    since = since or datetime.now(UTC) - timedelta(days=1)
    async with center.database() as connection:
        return {"items": await desk.quarantine_summary(connection, since=since, until=until)}


@router.get("/{quarantine_id}", response_model=QuarantinedRaw, responses=problems(404))
async def quarantined(quarantine_id: BigIdPath, center: At, by: By) -> Row:
    """One of them with all its bytes."""
    async with center.database() as connection:
        return await desk.quarantined(connection, quarantine_id)
