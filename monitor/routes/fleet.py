"""Vehicles, terminals, and which is installed in which; the lobby; the import."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Query, Request, Response

from monitor.models import (
    Binding,
    Claim,
    CountedPage,
    Imported,
    Installation,
    Items,
    Leg,
    LinkEvent,
    NewTerminal,
    NewVehicle,
    OptionalNote,
    Page,
    Terminal,
    TerminalChange,
    Track,
    Vehicle,
    VehicleChange,
    VehicleDay,
    WithoutCode,
)
from monitor.problems import Problem
from monitor.routes import CHANGES, DEFAULT_LIMIT, Cursor, From, IdPath, Limit, Search, To, problems
from monitor.signing import At, By, ByAdmin
from monitor.simplify import simplified
from store import fleet, roster, tracks
from store.refusals import NotFound
from store.select import Connection, Row

router = APIRouter(tags=["fleet"])

BEIJING = timezone(timedelta(hours=8))
"""Days of vehicles are days of Beijing's."""
MAX_TRACK = timedelta(days=31)
DEFAULT_POINTS = 2000
"""As many as a screen has columns of pixels."""
MAX_POINTS = 20_000

View = Literal[
    "all",
    "known",
    "lobby",
    "alarming",
    "blocked",
    "bound",
    "unbound",
    "online",
    "silent",
    "without_code",
    "cloned",
]
Points = Annotated[int, Query(alias="limit", ge=2, le=MAX_POINTS, description="How many points at most.")]


@router.get("/vehicles", response_model=CountedPage[Vehicle], responses=problems(400))
async def vehicles(
    center: At,
    by: By,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    search: Search = None,
    bound: bool | None = None,
) -> Any:
    """Vehicles by plate; `search` in plate, owner and identity."""
    async with center.database() as connection:
        page, total = await fleet.vehicles_page(
            connection, limit=limit, cursor=cursor, search=search, bound=bound
        )
    return {"items": page.items, "next": page.next, "total": total}


@router.post("/vehicles", status_code=201, response_model=Vehicle, responses=CHANGES | problems(409))
async def add_vehicle(given: NewVehicle, center: At, by: ByAdmin) -> Row:
    """Add a vehicle."""
    async with center.database() as connection:
        return await fleet.add_vehicle(connection, given.model_dump(), by=by["name"])


@router.get("/vehicles/{vehicle_id}", response_model=Vehicle, responses=problems(404))
async def vehicle(vehicle_id: IdPath, center: At, by: By) -> Row:
    """One vehicle."""
    async with center.database() as connection:
        return await fleet.vehicle(connection, vehicle_id)


@router.patch("/vehicles/{vehicle_id}", response_model=Vehicle, responses=CHANGES | problems(404, 409))
async def edit_vehicle(vehicle_id: IdPath, given: VehicleChange, center: At, by: ByAdmin) -> Row:
    """Change a vehicle."""
    async with center.database() as connection:
        changes = given.model_dump(exclude_none=True)
        return await fleet.edit_vehicle(connection, vehicle_id, changes, by=by["name"])


@router.get(
    "/vehicles/{vehicle_id}/installations", response_model=Items[Installation], responses=problems(404)
)
async def installations(vehicle_id: IdPath, center: At, by: By) -> Any:
    """Which terminals the vehicle has had, newest first."""
    async with center.database() as connection:
        return {"items": await fleet.installations(connection, vehicle_id)}


@router.get("/vehicles/{vehicle_id}/track", response_model=Track, responses=problems(400, 404))
async def vehicle_track(
    vehicle_id: IdPath,
    center: At,
    by: By,
    since: From = None,
    until: To = None,
    points: Points = DEFAULT_POINTS,
) -> Response:
    """Where the vehicle was, through all its terminals; the last 24 hours unless told otherwise."""
    since, until = period(since, until)
    async with center.drawing.turn(by["id"]):
        async with center.database() as connection:
            track = await tracks.vehicle_track(connection, vehicle_id, since, until)
        return await asyncio.to_thread(drawn, track, points, since, until)


@router.get("/vehicles/{vehicle_id}/legs", response_model=Items[Leg], responses=problems(400, 404))
async def vehicle_legs(vehicle_id: IdPath, center: At, by: By, since: From = None, until: To = None) -> Any:
    """Trips 行程 and stops 停车 that began in the period; the last 24 hours unless told otherwise."""
    since, until = period(since, until)
    async with center.database() as connection:
        return {"items": await tracks.vehicle_legs(connection, vehicle_id, since, until)}


@router.get("/vehicles/{vehicle_id}/days", response_model=Items[VehicleDay], responses=problems(400, 404))
async def vehicle_days(vehicle_id: IdPath, center: At, by: By, since: From = None, until: To = None) -> Any:
    """Distance, driving time, trips, stops and time online, day by day, for the days of the period."""
    since, until = period(since, until)
    try:
        first, last = (at.astimezone(BEIJING).date() for at in (since, until - timedelta(microseconds=1)))
    except OverflowError:
        raise _end_of_time() from None
    async with center.database() as connection:
        return {"items": await tracks.vehicle_days(connection, vehicle_id, first, last)}


@router.get("/terminals", response_model=CountedPage[Terminal], responses=problems(400))
async def terminals(
    center: At,
    by: By,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    search: Search = None,
    view: View = "all",
) -> Any:
    """Terminals by identity; `search` in identity, plate, model and ICCID."""
    async with center.database() as connection:
        page, total = await fleet.terminals_page(
            connection, limit=limit, cursor=cursor, search=search, view=view
        )
    return {"items": page.items, "next": page.next, "total": total}


@router.post("/terminals", status_code=201, response_model=Terminal, responses=CHANGES | problems(409))
async def add_terminal(given: NewTerminal, center: At, by: ByAdmin) -> Row:
    """Enter a terminal; it is known from now on."""
    async with center.database() as connection:
        return await fleet.add_terminal(
            connection, given.identity, edition=given.edition, note=given.note, by=by["name"]
        )


@router.get("/terminals/{terminal_id}", response_model=Terminal, responses=problems(404))
async def terminal(terminal_id: IdPath, center: At, by: By) -> Row:
    """One terminal."""
    async with center.database() as connection:
        return await fleet.terminal(connection, terminal_id)


@router.patch("/terminals/{terminal_id}", response_model=Terminal, responses=CHANGES | problems(404))
async def edit_terminal(terminal_id: IdPath, given: TerminalChange, center: At, by: ByAdmin) -> Row:
    """Change a terminal."""
    async with center.database() as connection:
        changes = given.model_dump(exclude_none=True)
        return await fleet.edit_terminal(connection, terminal_id, changes, by=by["name"])


@router.delete("/terminals/{terminal_id}", status_code=204, responses=CHANGES | problems(404))
async def forget_terminal(terminal_id: IdPath, center: At, by: ByAdmin) -> None:
    """Take a terminal out of every list, its vehicle and the desk. What it said stays; heard again, it is in
    the lobby."""
    async with center.database() as connection:
        await fleet.forget_terminal(connection, terminal_id, by=by["name"])


@router.post(
    "/terminals/{terminal_id}/claim", response_model=Terminal, responses=CHANGES | problems(404, 409)
)
async def claim(terminal_id: IdPath, given: Claim, center: At, by: ByAdmin) -> Row:
    """Take a terminal out of the lobby, into a vehicle where one is named."""
    async with center.database() as connection:
        row = await fleet.accept_terminal(connection, terminal_id, by=by["name"])
        vehicle_id = given.vehicle_id
        if vehicle_id is None and given.plate is not None:
            vehicle_id = await _vehicle_with(connection, given.plate, given.plate_color, by["name"])
        if vehicle_id is not None:
            row = await fleet.bind(connection, terminal_id, vehicle_id, by=by["name"])
        return row


@router.post("/terminals/{terminal_id}/block", response_model=Terminal, responses=CHANGES | problems(404))
async def block(terminal_id: IdPath, center: At, by: ByAdmin, given: OptionalNote | None = None) -> Row:
    """Let a terminal in no more; gateways close its link within seconds."""
    note = given.note if given else None
    async with center.database() as connection:
        return await fleet.block_terminal(connection, terminal_id, note=note, by=by["name"])


@router.post("/terminals/{terminal_id}/unblock", response_model=Terminal, responses=CHANGES | problems(404))
async def unblock(terminal_id: IdPath, center: At, by: ByAdmin) -> Row:
    """Let a terminal in again."""
    async with center.database() as connection:
        return await fleet.unblock_terminal(connection, terminal_id, by=by["name"])


@router.post("/terminals/{terminal_id}/new-code", response_model=Terminal, responses=CHANGES | problems(404))
async def renew_code(terminal_id: IdPath, center: At, by: ByAdmin) -> Row:
    """Make a terminal's authentication code worthless; gateways close its link within seconds, and it gets
    another when it registers again."""
    async with center.database() as connection:
        return await fleet.renew_code(connection, terminal_id, by=by["name"])


@router.put(
    "/terminals/{terminal_id}/without-code", response_model=Terminal, responses=CHANGES | problems(404)
)
async def let_speak_without_code(terminal_id: IdPath, given: WithoutCode, center: At, by: ByAdmin) -> Row:
    """Say whether what a terminal says counts without its authentication code. One that may is known."""
    async with center.database() as connection:
        return await fleet.let_speak_without_code(connection, terminal_id, given.allowed, by=by["name"])


@router.post("/terminals/{terminal_id}/bind", response_model=Terminal, responses=CHANGES | problems(404, 409))
async def bind(terminal_id: IdPath, given: Binding, center: At, by: ByAdmin) -> Row:
    """Install a terminal in a vehicle, from now on."""
    async with center.database() as connection:
        return await fleet.bind(connection, terminal_id, given.vehicle_id, by=by["name"])


@router.post(
    "/terminals/{terminal_id}/unbind", response_model=Terminal, responses=CHANGES | problems(404, 409)
)
async def unbind(terminal_id: IdPath, center: At, by: ByAdmin) -> Row:
    """Take a terminal out of its vehicle."""
    async with center.database() as connection:
        return await fleet.unbind(connection, terminal_id, by=by["name"])


@router.get("/terminals/{terminal_id}/links", response_model=Page[LinkEvent], responses=problems(400, 404))
async def links(
    terminal_id: IdPath, center: At, by: By, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Any:
    """When the terminal was connected and why it was not, newest first."""
    async with center.database() as connection:
        return await fleet.links_page(connection, terminal_id, limit=limit, cursor=cursor)


@router.get("/terminals/{terminal_id}/track", response_model=Track, responses=problems(400, 404))
async def terminal_track(
    terminal_id: IdPath,
    center: At,
    by: By,
    since: From = None,
    until: To = None,
    points: Points = DEFAULT_POINTS,
) -> Response:
    """Where the terminal was, in whatever vehicle; the last 24 hours unless told otherwise."""
    since, until = period(since, until)
    async with center.drawing.turn(by["id"]):
        async with center.database() as connection:
            track = await tracks.terminal_track(connection, terminal_id, since, until)
        return await asyncio.to_thread(drawn, track, points, since, until)


_CSV = {
    "text/csv": {
        "schema": {"type": "string"},
        "example": "plate,plate_color,identity\n辽A12345,2,13912345678\n",
    }
}


@router.post(
    "/fleet/import",
    response_model=Imported,
    responses=CHANGES,
    openapi_extra={"requestBody": {"required": True, "content": _CSV}},
)
async def import_fleet(request: Request, center: At, by: ByAdmin, dry_run: bool = False) -> Any:
    """Enter vehicles and terminals from a CSV file, all of it or nothing. Files are entered one by one."""
    data = await request.body()
    async with center.importing:
        entries = await asyncio.to_thread(roster.read_roster, data)
        async with center.database() as connection:
            return await roster.enter_roster(connection, entries, by=by["name"], dry_run=dry_run)


async def _vehicle_with(connection: Connection, plate: str, plate_color: int, by: str) -> int:
    try:
        row = await fleet.vehicle_by_plate(connection, plate, plate_color)
    except NotFound:
        row = await fleet.add_vehicle(connection, {"plate": plate, "plate_color": plate_color}, by=by)
    return int(row["id"])


def period(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Fill in what is missing of a track's period.

    Raises:
        Problem: 400, it runs backwards or is too long.
    """
    try:
        if until is None:
            until = datetime.now(UTC) if since is None else since + timedelta(days=1)
        if since is None:
            since = until - timedelta(days=1)
    except OverflowError:
        raise _end_of_time() from None
    if since >= until:
        raise Problem(400, "bad_period", "The period must begin before it ends.")
    if until - since > MAX_TRACK:
        raise Problem(400, "bad_period", f"The period may have {MAX_TRACK.days} days.")
    return since, until


def _end_of_time() -> Problem:
    return Problem(400, "bad_period", "The period lies at the end of time.")


def drawn(track: tracks.Points, limit: int, since: datetime, until: datetime) -> Response:
    """Draw the track with few enough points; where an alarm word changes is always worth one."""
    columns = list(zip(*track.read, strict=True)) or [()] * len(tracks.POINT)
    lat, lon = (np.array(columns[tracks.POINT.index(name)], np.float64) for name in ("lat", "lon"))
    alarms = np.array(columns[tracks.POINT.index("alarm_bits")], np.int64)
    chosen, tolerance_m = simplified(lat, lon, np.diff(alarms, prepend=alarms[:1]) != 0, limit)
    answer = {
        "from": since,
        "to": until,
        "total": track.total,
        "tolerance_m": round(track.tolerance_m + tolerance_m, 1),
        "points": [dict(zip(tracks.POINT, track.read[index], strict=True)) for index in chosen],
    }
    # Thousands of points: encoded as they are, they need not become models first.
    return Response(msgspec.json.encode(answer), media_type="application/json")
