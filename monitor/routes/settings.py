"""Settings that facts depend on: they change without a restart, from a place in the log on."""

from typing import Any

from fastapi import APIRouter

from monitor.models import Page, Setting, SettingChange
from monitor.routes import CHANGES, WordPath, problems
from monitor.signing import At, By, ByAdmin
from store import settings
from store.select import Row

router = APIRouter(prefix="/settings/facts", tags=["settings"])


@router.get("", response_model=Page[Setting])
async def list_settings(center: At, by: By) -> Any:
    """What is in force, what the configuration says, and who has said otherwise."""
    async with center.database() as connection:
        return {"items": await settings.settings(connection), "next": None}


@router.put("/{name}", response_model=Setting, responses=CHANGES | problems(404))
async def change(name: WordPath, given: SettingChange, center: At, by: ByAdmin) -> Row:
    """Let it be so from now on; it wins over the configuration until it is reset."""
    async with center.database() as connection:
        return await settings.change(connection, name, given.value, by=by["name"])


@router.delete("/{name}", response_model=Setting, responses=CHANGES | problems(404))
async def reset(name: WordPath, center: At, by: ByAdmin) -> Row:
    """Let it be as the configuration says."""
    async with center.database() as connection:
        return await settings.change(connection, name, None, by=by["name"])
