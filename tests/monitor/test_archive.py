"""Media and raw frames through the API."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.options import MonitorOptions
from store.blobs import Blobs
from tests.monitor.conftest import Served
from tests.monitor.facts import T0, Facts
from tests.store.archives import Machine

PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
IDENTITY = "13900000001"


@pytest.fixture
def options(dsn: str, tmp_path: Path) -> MonitorOptions:
    """A monitor beside the archive."""
    return MonitorOptions(dsn, gateway_url=None, worker_url=None, keeper_url=None, data_dir=tmp_path)


async def medium(
    facts: Facts, terminal: int, at: datetime, content: bytes = PICTURE, **values: object
) -> int:
    """Put a medium into the database."""
    columns = {
        "terminal_id": terminal,
        "received_at": at + timedelta(seconds=5),
        "last_received_at": at + timedelta(seconds=5),
        "reported_at": at,
        "media_id": 7,
        "kind": 0,
        "format": 0,
        "event": 2,
        "channel": 1,
        "part": 1,
        "parts": 1,
        "serial": 1,
        "edition": "2013",
        "head": b"",
        "sha256": hashlib.sha256(content).digest(),
        "size": len(content),
        "position": 0,
        "ordinal": 0,
    } | values
    names = ", ".join(columns)
    marks = ", ".join(["%s"] * len(columns))
    row = await facts.one(
        f"INSERT INTO media ({names}, log_id) VALUES ({marks}, gen_random_uuid()) RETURNING id",
        *columns.values(),
    )
    return int(row["id"])


async def test_media_are_listed_with_what_they_show(monitor: Served, facts: Facts) -> None:
    terminal, vehicle = await facts.terminal(IDENTITY), await facts.vehicle("辽A00001")
    await facts.installed(terminal, vehicle)
    alarm = await facts.alarm(terminal, began_at=T0, last_seen_at=T0)
    shown = await medium(facts, terminal, T0 + timedelta(seconds=30))
    await medium(facts, terminal, T0 + timedelta(hours=1), kind=2)
    await medium(facts, terminal, T0, parts=3, part=2)  # a packet is no medium yet
    await medium(facts, await facts.terminal(), T0)
    async with monitor.client("anna") as client:
        every = (await client.get("/api/v1/media")).json()["items"]
        assert [each["terminal"]["identity"] for each in every].count(IDENTITY) == 2
        for asked in ({"alarm_id": alarm}, {"vehicle_id": vehicle, "kind": 0}):
            (found,) = (await client.get("/api/v1/media", params=asked)).json()["items"]
            assert (found["id"], found["alarms"], found["vehicle"]["plate"]) == (shown, [alarm], "辽A00001")
        page = (await client.get("/api/v1/media", params={"limit": 1})).json()
        rest = (await client.get("/api/v1/media", params={"cursor": page["next"]})).json()
        assert page["items"] + rest["items"] == every and rest["next"] is None
    async with monitor.client() as stranger:
        assert (await stranger.get("/api/v1/media")).status_code == 401
        assert (await stranger.get(f"/api/v1/media/{shown}")).status_code == 401


async def test_a_content_comes_as_it_was_sent(monitor: Served, facts: Facts, tmp_path: Path) -> None:
    digest = Blobs(tmp_path / "media").put(PICTURE)
    number = await medium(facts, await facts.terminal(), T0)
    odd = await medium(facts, await facts.terminal(), T0, format=200)
    gone = await medium(facts, await facts.terminal(), T0, b"gone")
    path = f"/api/v1/media/{number}"
    async with monitor.client("anna") as client:
        answer = await client.get(path)
        assert answer.content == PICTURE
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["etag"] == f'"{digest.hex()}"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        part = await client.get(path, headers={"Range": "bytes=100-199"})
        assert part.status_code == 206 and part.content == PICTURE[100:200]
        again = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304 and not again.content
        plain = await client.get(f"/api/v1/media/{odd}")
        assert plain.headers["content-type"] == "application/octet-stream"
        missing = await client.get(f"/api/v1/media/{gone}")
        assert missing.status_code == 404 and missing.json()["code"] == "content_missing"
        assert (await client.get("/api/v1/media/999999")).status_code == 404


async def test_frames_are_paged_in_order_of_receipt(monitor: Served, facts: Facts, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.drive(0, IDENTITY, 0, 10)
    machine.consume()
    machine.seal()
    machine.drive(0, IDENTITY, 10, 5)
    terminal = await facts.terminal(IDENTITY)
    path = f"/api/v1/terminals/{terminal}/frames"
    period = {"from": "2026-09-21T00:00:00Z", "to": "2026-09-22T00:00:00Z"}
    async with monitor.client("root") as client:
        every = (await client.get(path, params=period)).json()["items"]
        assert [each["hex"][22:26] for each in every] == [f"{serial:04x}" for serial in range(15)]
        assert every[0]["received_at"] == "2026-09-21T14:13:20.011000Z"
        assert {each["msg_id"] for each in every} == {0x0200}
        assert [each["chunk"] is None for each in every] == [False] * 10 + [True] * 5
        paged, cursor = [], None
        while True:
            asked = period | {"limit": "4"} | ({"cursor": cursor} if cursor else {})
            page = (await client.get(path, params=asked)).json()
            paged += page["items"]
            if (cursor := page["next"]) is None:
                break
        assert paged == every
        explained = await client.post("/api/v1/explain", json={"hex": every[0]["hex"]})
        assert explained.status_code == 200
        assert (await client.get(path)).json() == {"items": [], "next": None}
        backwards = {"from": period["to"], "to": period["from"]}
        assert (await client.get(path, params=backwards)).status_code == 400
        assert (await client.get("/api/v1/terminals/9999/frames")).status_code == 404
    async with monitor.client("anna") as operator:
        assert (await operator.get(path)).status_code == 403
    machine.close()


async def test_frames_of_one_moment_are_given_once(monitor: Served, facts: Facts, tmp_path: Path) -> None:
    from tests.store.archives import frame, frames

    machine = Machine(tmp_path)
    for turn in range(3):
        machine.say(0, frames(1, [frame(IDENTITY, 10 * turn + number) for number in range(7)]))
    terminal = await facts.terminal(IDENTITY)
    found: list[str] = []
    asked = {"from": "2026-09-21T00:00:00Z", "to": "2026-09-22T00:00:00Z", "limit": "3"}
    async with monitor.client("root") as client:
        while True:
            page = (await client.get(f"/api/v1/terminals/{terminal}/frames", params=asked)).json()
            found += [each["hex"][22:26] for each in page["items"]]
            if page["next"] is None:
                break
            asked["cursor"] = page["next"]
    assert found == [f"{10 * turn + number:04x}" for turn in range(3) for number in range(7)]
    machine.close()


async def test_a_monitor_elsewhere_has_no_archive(dsn: str, monitor: Served, facts: Facts) -> None:
    terminal = await facts.terminal(IDENTITY)
    monitor.app.state.center.options = replace(monitor.options, data_dir=None)
    async with monitor.client("root") as client:
        answer = await client.get(f"/api/v1/terminals/{terminal}/frames")
    assert answer.status_code == 404 and answer.json()["code"] == "no_archive"
    assert datetime.now(UTC) > T0
