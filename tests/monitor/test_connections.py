"""Connections that keep the monitor waiting, and connections without end: the others have their page."""

import asyncio
from typing import Any

import pytest

from monitor import connections
from monitor.connections import ConnectionLimits
from monitor.options import MonitorOptions
from tests.monitor.conftest import PATIENCE_S, Found, Served, serve, until
from tests.monitor.test_live import message, watch

HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: "
UPLOAD = (
    b"POST /api/v1/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 60000\r\n\r\n"
)

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def opened(served: Served, said: bytes = b"") -> Stream:
    host, port = served.host.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    await writer.drain()
    return reader, writer


async def end_of(stream: Stream) -> bytes:
    """Wait until the monitor ends a connection, and give what it said before."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await stream[0].read()
        except ConnectionError:
            return b""
        finally:
            stream[1].close()


async def found(what: Found) -> Found:
    """What `until` can wait for."""
    return what


def ended(served: Served) -> dict[str, float]:
    """Connections that the monitor ended, by reason."""
    registry = served.app.state.center.metrics.registry
    return {
        sample.labels["reason"]: sample.value
        for family in registry.collect()
        if family.name == "northwatch_connections_ended"
        for sample in family.samples
        if sample.name.endswith("_total")
    }


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, only sooner."""
    monkeypatch.setattr(connections, "HEADER_S", 0.2)
    monkeypatch.setattr(connections, "GRACE_S", 0.2)
    monkeypatch.setattr(connections, "SWEEP_TICKS", 1)


async def test_who_keeps_us_waiting_is_let_go(hurried: None, monitor: Served) -> None:
    halves = [await opened(monitor, said) for said in (b"", b"G", HALF)]
    uploads = [await opened(monitor, UPLOAD + some) for some in (b"", b'{"name":"')]
    for stream in (*halves, *uploads):
        await end_of(stream)
    assert ended(monitor) == {"late_header": 3, "late_body": 2}
    async with monitor.client("anna") as anna:
        assert (await anna.get("/api/v1/me")).status_code == 200


async def test_a_header_that_drips_in_has_no_more_time(hurried: None, monitor: Served) -> None:
    reader, writer = await opened(monitor, HALF)

    async def drip() -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    try:
        assert await end_of((reader, writer)) == b""
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
    assert ended(monitor) == {"late_header": 1}


async def test_who_does_not_take_an_answer_is_let_go(hurried: None, options: MonitorOptions) -> None:
    assert options.web_dir is not None
    (options.web_dir / "assets" / "large.js").write_bytes(b" " * (64 << 20))
    async with serve(options) as served:
        _, writer = await opened(served, b"GET /assets/large.js HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        assert await until(lambda: found(ended(served))) == {"late_reading": 1}
        writer.close()


async def test_a_connection_at_work_and_a_viewer_are_not_late(
    hurried: None, monitor: Served, facts: Any
) -> None:
    async with watch(monitor, "anna") as screen, monitor.client("bo") as bo:
        await message(screen, "snapshot")
        await end_of(await opened(monitor, HALF))  # began later, and is late
        await facts.state(await facts.terminal())
        assert (await message(screen, "states"))["states"]
        assert (await bo.get("/api/v1/me")).status_code == 200


@pytest.mark.parametrize(
    "limits",
    [
        ConnectionLimits(together=40),
        ConnectionLimits(per_address=40, exempt=()),
    ],
    ids=["together", "per address"],
)
async def test_the_longest_silent_makes_room(options: MonitorOptions, limits: ConnectionLimits) -> None:
    async with serve(options, limits) as served:
        halves = [await opened(served, HALF) for _ in range(120)]
        async with served.client() as browser:
            for _ in range(5):
                assert (await browser.get("/")).status_code == 200
        for half in halves[:60]:
            await end_of(half)
        assert set(ended(served)) == {"for_another"} and len(served.connections) <= 40
        for _, writer in halves:
            writer.close()


async def test_viewers_make_room_for_nobody(monitor: Served, options: MonitorOptions) -> None:
    async with serve(options, ConnectionLimits(per_address=1, exempt=())) as served:
        served.cookies |= monitor.cookies
        async with watch(served, "anna") as screen:
            await message(screen, "snapshot")
            assert await end_of(await opened(served, HALF)) == b""
            assert ended(served) == {"no_place": 1}
        await until(lambda: found(not len(served.connections)))
        async with served.client() as browser:
            assert (await browser.get("/")).status_code == 200


async def test_places_are_counted_right_whatever_became_of_connections(options: MonitorOptions) -> None:
    async with serve(options, ConnectionLimits(per_address=5, exempt=())) as served:
        held = served.connections
        for said in (b"", HALF, UPLOAD, b"\0\0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3) * 4:
            _, writer = await opened(served, said)
            writer.close()
        await until(lambda: found(not len(held)))
        assert not any(place.count or place.silent for place in held._places.values())
