"""The live picture by request and by WebSocket, the health, and what the page must know first."""

import asyncio
import contextlib
from typing import Any, get_type_hints

import psycopg
from fastapi import APIRouter, Depends, Response, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, create_model

from monitor import live
from monitor.health import Health
from monitor.live import Viewer
from monitor.models import Alarm, ConditionName, MapSettings, PlateColorName, Settings, Ticket
from monitor.problems import Problem
from monitor.routes import problems
from monitor.signing import (
    COOKIE,
    At,
    By,
    address_of,
    center_of,
    is_same_origin,
    until_signed_out,
    user_of,
    watching,
)
from protocol.words import ALARMS
from store.live import TerminalState
from store.roster import PLATE_COLORS
from store.select import Row

router = APIRouter(tags=["live"])

RECHECK_S = 30.0
"""A viewer who was signed out or disabled elsewhere is sent away within this time."""


# For OpenAPI only: pydantic does not know msgspec's structs.
State = create_model(
    TerminalState.__name__, **{n: (kind, ...) for n, kind in get_type_hints(TerminalState).items()}
)  # type: ignore[call-overload]


class LiveSnapshot(BaseModel):
    """Every terminal, the alarms on the desk, the open tickets, the health."""

    type: str
    sequence: int
    at: str
    states: list[State]  # type: ignore[valid-type]
    alarms: list[Alarm]
    tickets: list[Ticket]
    health: Health


@router.get("/live", response_model=LiveSnapshot, responses=problems())
async def snapshot(center: At, by: By) -> Response:
    """The picture as it is now."""
    if not center.live.is_complete:
        raise Problem(503, "starting", "The live picture is not there yet.", headers={"Retry-After": "1"})
    return Response(center.live.snapshot(), media_type="application/json")


@router.get("/health", response_model=Health, responses=problems(), dependencies=[Depends(watching)])
async def health(center: At) -> Any:
    """Is everything all right, and if not, what does it mean? Also while the database is away."""
    return center.health.now


@router.get("/settings", response_model=Settings, responses=problems())
async def settings(center: At, by: By) -> Settings:
    """What the page must know before it draws anything."""
    options = center.options
    return Settings(
        name="Northwatch",
        version=options.version,
        policy=options.policy,
        second_factor=options.second_factor,
        map=MapSettings(
            tiles_url=options.map.tiles_url,
            tiles_attribution=options.map.tiles_attribution,
            center=options.map.center,
            zoom=options.map.zoom,
        ),
        conditions=condition_names(),
        plate_colors=[PlateColorName(code=code, zh=zh, en=en) for code, (zh, en) in PLATE_COLORS.items()],
    )


def condition_names() -> list[ConditionName]:
    """Give what the conditions of all editions are called; the newest edition's name wins."""
    names: dict[str, ConditionName] = {}
    for table in ALARMS.values():
        for bit in table.values():
            english = bit.name.replace("_", " ").replace("gnss", "GNSS").replace("vss", "VSS")
            names[bit.name] = ConditionName(
                name=bit.name, zh=bit.chinese, en=english[0].upper() + english[1:]
            )
    return list(names.values())


@router.websocket("/live")
async def follow(socket: WebSocket) -> None:
    """The picture, and then what changes in it."""
    center = center_of(socket)
    await socket.accept()
    options = center.options
    if not is_same_origin(socket.scope, options.trusted_origins, is_https=options.secure_cookie):
        await socket.close(live.CLOSE_WRONG_ORIGIN)
        return
    cookie = socket.cookies.get(COOKIE, "")
    if not center.live.places.take(cookie):
        await socket.close(live.CLOSE_TRY_LATER, "too many viewers")
        return
    try:
        user = await user_of(center, cookie, address_of(socket))
        if user is None or user["must"]:
            await socket.close(live.CLOSE_NOT_SIGNED_IN)
        else:
            await _show(socket, user)
    except psycopg.Error:
        await socket.close(live.CLOSE_TRY_LATER, "the database does not answer")
    except Problem as problem:
        await socket.close(live.CLOSE_TRY_LATER, problem.code)
    finally:
        center.live.places.give_back(cookie)


async def _show(socket: WebSocket, user: Row) -> None:
    """Send what there is to see until the viewer goes or must go."""
    center = center_of(socket)
    viewer = center.live.join()
    tasks = [
        asyncio.create_task(work)
        for work in (
            _send(socket, viewer),
            _receive(socket),
            _recheck(socket, viewer, user),
            viewer.gone.wait(),
        )
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        center.live.leave(viewer)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # One who does not read does not read this either.
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(1):
                await socket.close(viewer.close_code)


async def _send(socket: WebSocket, viewer: Viewer) -> None:
    while True:
        await socket.send_text(await viewer.next())


async def _receive(socket: WebSocket) -> None:
    """Viewers have nothing to say; this notices that one went."""
    with contextlib.suppress(WebSocketDisconnect, KeyError):
        while True:
            await socket.receive_text()


async def _recheck(socket: WebSocket, viewer: Viewer, user: Row) -> None:
    await until_signed_out(socket, user, RECHECK_S)
    viewer.drop(live.CLOSE_NOT_SIGNED_IN)
