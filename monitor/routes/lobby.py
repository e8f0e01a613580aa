"""The lobby: how many terminals wait to be accepted, and until when many may come."""

from datetime import timedelta

from fastapi import APIRouter

from monitor.models import Enrolment, Lobby
from monitor.routes import CHANGES, problems
from monitor.signing import At, By, ByAdmin
from store import lobby
from store.select import Row

router = APIRouter(prefix="/lobby", tags=["fleet"])


@router.get("", response_model=Lobby, responses=problems())
async def show(center: At, by: By) -> Row:
    """How many terminals wait to be accepted, and until when many may come."""
    async with center.database() as connection:
        return await lobby.lobby(connection)


@router.put("/enrolment", response_model=Lobby, responses=CHANGES)
async def open_enrolment(given: Enrolment, center: At, by: ByAdmin) -> Row:
    """Let many new terminals come for some hours, from any address and over any link."""
    async with center.database() as connection:
        lasting = timedelta(hours=given.hours)
        return await lobby.open_enrolment(connection, lasting, given.room, by=by["name"])


@router.delete("/enrolment", response_model=Lobby, responses=CHANGES)
async def close_enrolment(center: At, by: ByAdmin) -> Row:
    """Let new terminals come as the settings say."""
    async with center.database() as connection:
        return await lobby.close_enrolment(connection, by=by["name"])
