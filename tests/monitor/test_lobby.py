"""A terminal that nobody entered, from its first word over the lobby to one click, through all real parts."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.server import Gateway
from northwatch.fleet_source import FleetSource
from tests.gateway.device import Device, report, running
from tests.gateway.device import until as holds
from tests.monitor.conftest import until
from worker.run import Worker, WorkerOptions

IDENTITY = "13912345678"
PLATE = ("辽A12345", 2)


@asynccontextmanager
async def served(house: Path, dsn: str, policy: str) -> AsyncIterator[Gateway]:
    """A gateway with a worker behind it."""
    options = WorkerOptions(states_s=0.0, snapshot_s=1.0)
    async with running(house, policy=policy, fleet_source=FleetSource(dsn), fleet_refresh_s=0.05) as gateway:
        stop = threading.Event()
        worker = Worker(options, dsn, house / "log", house / "state")
        working = asyncio.create_task(asyncio.to_thread(worker.run, stop))
        try:
            yield gateway
        finally:
            stop.set()
            await working


@pytest.fixture
async def gateway(tmp_path: Path, dsn: str) -> AsyncIterator[Gateway]:
    """One that lets only known terminals in."""
    async with served(tmp_path / "house", dsn, "known") as gateway:
        yield gateway


async def test_who_tries_the_first_terminal_sees_it_live_at_once(
    tmp_path: Path, dsn: str, root: httpx.AsyncClient
) -> None:
    """Under `open`: one that registers is on the map at once; one that never does can be tried
    in the lobby."""
    urgent = report() | {"alarm": 1}
    async with served(tmp_path / "house", dsn, "open") as gateway:
        device, mute = await Device.connect(gateway, IDENTITY), await Device.connect(gateway, "13900000009")
        await device.sign_in(*PLATE)
        assert await device.result(device.terminal.report(urgent)) == 0
        assert await mute.result(mute.terminal.report(urgent)) == 0

        async def on_the_desk() -> dict[str, Any] | None:
            picture: dict[str, Any] = (await root.get("/api/v1/live")).json()
            figures = picture["health"]["figures"]
            return picture if picture["alarms"] and figures["strangers_in_emergency"] is not None else None

        picture = await until(on_the_desk)
        (alarm,), (state,) = picture["alarms"], picture["states"]
        assert (alarm["condition"], alarm["vehicle"]["plate"]) == ("emergency", PLATE[0])
        assert (state["identity"], state["plate"], state["lat"]) == (IDENTITY, PLATE[0], 41.8)

        async def in_lobby() -> dict[str, Any] | None:
            found = (await root.get("/api/v1/terminals", params={"view": "lobby"})).json()["items"]
            return next((each for each in found if each["identity"] == "13900000009" and each["lat"]), None)

        tried = await until(in_lobby)
        assert (tried["lat"], tried["alarm_bits"], tried["vehicle"], tried["claim"]) == (41.8, 1, None, None)


async def register(gateway: Gateway, identity: str, plate: tuple[str, int]) -> int:
    device = await Device.connect(gateway, identity)
    device.terminal.register(*plate)
    device.flush()
    result = int((await device.fields())["result"])
    await device.close()
    return result


async def test_one_click_lets_a_stranger_in(gateway: Gateway, root: httpx.AsyncClient) -> None:
    async def in_lobby() -> int | None:
        found = (await root.get("/api/v1/terminals", params={"view": "lobby"})).json()["items"]
        named = [each for each in found if each["identity"] == IDENTITY and each["claim"]]
        if not named or named[0]["lat"] is None:
            return None
        assert named[0]["claim"]["plate"] == PLATE[0] and named[0]["registered_plate"] is None
        return int(named[0]["id"])

    device = await Device.connect(gateway, IDENTITY)
    device.terminal.register(*PLATE)
    device.flush()
    assert (await device.fields())["result"] == 4
    assert await device.result(device.terminal.report(report())) == 1, "not to be taken for accepted"
    terminal = await until(in_lobby)
    claimed = await root.post(
        f"/api/v1/terminals/{terminal}/claim", json={"plate": PLATE[0], "plate_color": PLATE[1]}
    )
    assert claimed.status_code == 200
    await holds(lambda: gateway.fleet.terminal(IDENTITY).known)
    await device.sign_in(*PLATE)
    assert await device.result(device.terminal.report(report(1))) == 0
    assert await in_lobby() is None


async def test_every_reason_to_refuse_a_registration(gateway: Gateway, root: httpx.AsyncClient) -> None:
    """The four results of 0x8100, from what people entered."""
    for identity in ("1", "2"):
        await root.post("/api/v1/terminals", json={"identity": identity})
    for plate in ("辽A00001", "辽A00002"):
        await root.post("/api/v1/vehicles", json={"plate": plate, "plate_color": 2})
    vehicle = (await root.get("/api/v1/vehicles", params={"search": "辽A00001"})).json()["items"][0]
    terminal = (await root.get("/api/v1/terminals", params={"search": "1"})).json()["items"][0]
    await root.post(f"/api/v1/terminals/{terminal['id']}/bind", json={"vehicle_id": vehicle["id"]})
    await holds(lambda: gateway.fleet.terminal("1").plate)
    assert {
        (identity, plate): await register(gateway, identity, (plate, 2))
        for identity in ("1", "2", "3")
        for plate in ("辽A00001", "辽A·00002", "辽A00003")
    } == {
        ("1", "辽A00001"): 0,
        ("1", "辽A·00002"): 3,
        ("1", "辽A00003"): 3,
        ("2", "辽A00001"): 1,
        ("2", "辽A·00002"): 0,
        ("2", "辽A00003"): 2,
        ("3", "辽A00001"): 4,
        ("3", "辽A·00002"): 4,
        ("3", "辽A00003"): 4,
    }


async def test_a_new_code_ends_the_link_and_the_old_code(gateway: Gateway, root: httpx.AsyncClient) -> None:
    terminal = (await root.post("/api/v1/terminals", json={"identity": IDENTITY})).json()["id"]
    await holds(lambda: gateway.fleet.terminal(IDENTITY).known)
    device = await Device.connect(gateway, IDENTITY)
    await device.sign_in("", 0)
    old = gateway.credentials.code(IDENTITY)
    assert (await root.post(f"/api/v1/terminals/{terminal}/new-code")).status_code == 200
    await device.closed()
    again = await Device.connect(gateway, IDENTITY)
    assert await again.result(again.terminal.authenticate(old)) == 1
    await again.sign_in("", 0)
