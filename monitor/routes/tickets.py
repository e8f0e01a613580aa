"""Repair tickets and incidents."""

from typing import Any, Literal

from fastapi import APIRouter

from monitor.models import Incident, NeededNote, OptionalNote, Page, Ticket, TicketDetail
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
from store import desk
from store.refusals import AlreadyExists, Unacceptable
from store.select import Row
from tickets import lifecycle
from tickets.lifecycle import Action, NoteMissing, TicketError

router = APIRouter(tags=["tickets"])

MOVES = CHANGES | problems(404, 409)

State = Literal["open", "accepted", "repaired", "closed", "cancelled"]


@router.get("/tickets", response_model=Page[Ticket], responses=problems(400))
async def tickets(
    center: At,
    by: By,
    view: Literal["open", "all"] = "open",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    state: State | None = None,
    fault: WordFilter = None,
    terminal_id: IdFilter = None,
    vehicle_id: IdFilter = None,
    since: From = None,
    until: To = None,
) -> Any:
    """Tickets, newest first; `open` those that are neither closed nor cancelled."""
    async with center.database() as connection:
        return await desk.tickets_page(
            connection,
            view=view,
            limit=limit,
            cursor=cursor,
            state=state,
            fault=fault,
            terminal_id=terminal_id,
            vehicle_id=vehicle_id,
            since=since,
            until=until,
        )


@router.get("/tickets/{ticket_id}", response_model=TicketDetail, responses=problems(404))
async def ticket(ticket_id: BigIdPath, center: At, by: By) -> Any:
    """One ticket with its evidence and everything that happened to it."""
    async with center.database() as connection:
        row = await desk.ticket(connection, ticket_id)
        evidence = await desk.ticket_evidence(connection, ticket_id)
        return {**row, "evidence": evidence, "changes": await desk.ticket_changes(connection, ticket_id)}


@router.post("/tickets/{ticket_id}/accept", response_model=Ticket, responses=MOVES)
async def accept(ticket_id: BigIdPath, center: At, by: By, given: OptionalNote | None = None) -> Row:
    """Take the work over."""
    return await _act(center, ticket_id, Action.ACCEPT, by, _text(given))


@router.post("/tickets/{ticket_id}/repair", response_model=Ticket, responses=MOVES)
async def repair(ticket_id: BigIdPath, center: At, by: By, given: OptionalNote | None = None) -> Row:
    """The work is done; the terminal's reports will prove it."""
    return await _act(center, ticket_id, Action.REPAIR, by, _text(given))


@router.post("/tickets/{ticket_id}/note", response_model=Ticket, responses=MOVES)
async def note(ticket_id: BigIdPath, given: NeededNote, center: At, by: By) -> Row:
    """Write something down."""
    return await _act(center, ticket_id, Action.NOTE, by, given.note)


@router.post("/tickets/{ticket_id}/close", response_model=Ticket, responses=MOVES)
async def close(ticket_id: BigIdPath, given: NeededNote, center: At, by: By) -> Row:
    """Close by hand, without the terminal's proof; the note says why."""
    return await _act(center, ticket_id, Action.CLOSE, by, given.note)


@router.post("/tickets/{ticket_id}/cancel", response_model=Ticket, responses=MOVES)
async def cancel(ticket_id: BigIdPath, given: NeededNote, center: At, by: By) -> Row:
    """There is nothing to repair; the note says why."""
    return await _act(center, ticket_id, Action.CANCEL, by, given.note)


@router.post("/tickets/{ticket_id}/reopen", response_model=Ticket, responses=MOVES)
async def reopen(ticket_id: BigIdPath, center: At, by: By, given: OptionalNote | None = None) -> Row:
    """The same fault is back."""
    return await _act(center, ticket_id, Action.REOPEN, by, _text(given))


@router.get("/incidents", response_model=Page[Incident], responses=problems(400))
async def incidents(center: At, by: By, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Any:
    """Silence of many terminals at once, newest first."""
    async with center.database() as connection:
        return await desk.incidents_page(connection, limit=limit, cursor=cursor)


def _text(given: OptionalNote | None) -> str:
    return (given.note if given else None) or ""


async def _act(center: Any, ticket_id: int, action: Action, by: Row, note: str) -> Row:
    """Ask the table of the life cycle, under the ticket's lock, and write down what it says.

    Raises:
        NotAllowedNow
    """
    async with center.database() as connection:
        row = await desk.lock_ticket(connection, ticket_id)
        try:
            moved = lifecycle.act(lifecycle.Ticket(row["state"]), action, note=note)
            return await desk.move_ticket(
                connection,
                ticket_id,
                by,
                state=moved.state,
                change=moved.change,
                assigns=moved.assigns,
                note=note,
            )
        except NoteMissing as missing:
            raise Unacceptable("note", str(missing)) from None
        except (TicketError, AlreadyExists) as refused:
            raise NotAllowedNow(str(refused), row) from None
