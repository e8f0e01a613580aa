"""Legal holds 封存: what a vehicle's terminals said in a period is kept until somebody releases it."""

from typing import Any

from fastapi import APIRouter

from monitor.models import Hold, NewHold, Page
from monitor.routes import CHANGES, DEFAULT_LIMIT, Cursor, IdFilter, IdPath, Limit, problems
from monitor.signing import At, By, ByAdmin
from store import holds
from store.select import Row

router = APIRouter(prefix="/holds", tags=["record"])


@router.get("", response_model=Page[Hold], responses=problems(400))
async def list_holds(
    center: At,
    by: By,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    vehicle_id: IdFilter = None,
    in_force: bool | None = None,
) -> Any:
    """Holds, newest first."""
    async with center.database() as connection:
        return await holds.holds_page(
            connection, limit=limit, cursor=cursor, vehicle_id=vehicle_id, in_force=in_force
        )


@router.post("", status_code=201, response_model=Hold, responses=CHANGES | problems(404))
async def place(given: NewHold, center: At, by: ByAdmin) -> Row:
    """Hold a period of a vehicle: tracks, messages, alarms and tickets of it survive their retention."""
    async with center.database() as connection:
        period = given.begins_at, given.ends_at
        return await holds.place(connection, given.vehicle_id, period, given.reason, by=by["name"])


@router.post("/{hold_id}/release", response_model=Hold, responses=CHANGES | problems(404))
async def release(hold_id: IdPath, center: At, by: ByAdmin) -> Row:
    """Let retention go its way again."""
    async with center.database() as connection:
        return await holds.release(connection, hold_id, by=by["name"])
