"""The alarm desk: who looks at what, and what became of it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from alerts.desk import Action, Desk, DeskError, Moved, OnDesk, ResultInvalid, act
from alerts.desk import Person as Operator
from monitor.models import Alarm, AlarmDetail, Handling, Page, Result
from monitor.problems import NotAllowedNow
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
from monitor.signing import At, By
from protocol.words import Ends
from store import desk
from store.select import Row

router = APIRouter(prefix="/alarms", tags=["alarms"])

MOVES = CHANGES | problems(404, 409)


@router.get("", response_model=Page[Alarm], responses=problems(400))
async def alarms(
    center: At,
    by: By,
    view: Literal["desk", "open", "history"] = "desk",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    terminal_id: IdFilter = None,
    vehicle_id: IdFilter = None,
    condition: WordFilter = None,
    severity: Annotated[int | None, Query(ge=1, le=4)] = None,
    state: Annotated[Literal["free", "taken", "handled"] | None, Query(alias="desk")] = None,
    result: Result | None = None,
    since: From = None,
    until: To = None,
) -> Any:
    """Alarms: `desk` those nobody has handled, by severity and then newest first; `open` those that have
    not ended; `history` all; the latter two newest first.
    """
    async with center.database() as connection:
        return await desk.alarms_page(
            connection,
            view=view,
            limit=limit,
            cursor=cursor,
            terminal_id=terminal_id,
            vehicle_id=vehicle_id,
            condition=condition,
            severity=severity,
            desk=state,
            result=result,
            since=since,
            until=until,
        )


@router.get("/{alarm_id}", response_model=AlarmDetail, responses=problems(404))
async def alarm(alarm_id: BigIdPath, center: At, by: By) -> Any:
    """One alarm with everything that happened to it."""
    async with center.database() as connection:
        row = await desk.alarm(connection, alarm_id)
        return {**row, "changes": await desk.alarm_changes(connection, alarm_id)}


@router.post("/{alarm_id}/take", response_model=Alarm, responses=MOVES)
async def take(alarm_id: BigIdPath, center: At, by: By) -> Row:
    """Take an alarm. Of two who try at once, one gets it."""
    async with center.database() as connection:
        row = await desk.lock_alarm(connection, alarm_id)
        moved = _decide(row, Action.TAKE, by)
        return await desk.take_alarm(connection, alarm_id, by) if moved.changed else row


@router.post("/{alarm_id}/release", response_model=Alarm, responses=MOVES)
async def release(alarm_id: BigIdPath, center: At, by: By) -> Row:
    """Give an alarm back to the desk."""
    async with center.database() as connection:
        row = await desk.lock_alarm(connection, alarm_id)
        _decide(row, Action.RELEASE, by)
        return await desk.release_alarm(connection, alarm_id, by)


@router.post("/{alarm_id}/handle", response_model=Alarm, responses=MOVES)
async def handle(alarm_id: BigIdPath, given: Handling, center: At, by: By) -> Row:
    """Say what an alarm was and what was done; it leaves the desk."""
    async with center.database() as connection:
        row = await desk.lock_alarm(connection, alarm_id)
        moved = _decide(row, Action.HANDLE, by, result=given.result)
        return await desk.handle_alarm(
            connection, alarm_id, by, result=given.result, note=given.note, ends=moved.ends_alarm
        )


def _decide(alarm: Row, action: Action, by: Row, *, result: str | None = None) -> Moved:
    """Ask the table of the desk.

    Raises:
        NotAllowedNow
    """
    holder = alarm["handled_by"] or alarm["taken_by"]
    on_desk = OnDesk(
        Desk(alarm["desk"]),
        by=holder["name"] if holder else None,
        ends=Ends(alarm["ends"]),
        has_ended=alarm["ended_at"] is not None,
    )
    try:
        return act(on_desk, action, Operator(by["name"], is_admin=by["role"] == "admin"), result=result)
    except ResultInvalid:  # pragma: no cover - the model of the request has refused it
        raise
    except DeskError as refused:
        raise NotAllowedNow(str(refused), alarm) from None
