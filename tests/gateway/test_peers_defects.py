"""Defects read in other servers, each as a test that we do not have it: links, sessions and answers."""

import asyncio
from pathlib import Path

from gateway.fleet import FleetNews, FleetTerminal
from protocol.frame import Frame, parse
from store.log import LogWriter
from store.records import FrameFlag
from tests.disks import FaultyDisk
from tests.gateway.device import Device, logged, report, running, until, with_the_next_frame


async def test_no_code_but_the_terminals_own_authenticates(tmp_path: Path) -> None:
    """yezhihao JTHandlerInterceptor: any authentication code is accepted."""
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        own = gateway.credentials.code("13900000001")
        for code in ("", "0", own[:-1], own + "A", own.lower(), gateway.credentials.code("1")):
            assert await device.result(device.terminal.authenticate(code)) == 1
        assert await device.result(device.terminal.report(report())) == 0
        assert await device.result(device.terminal.authenticate(own)) == 0
    flags = {parse(frame.content).msg_id: frame.flags for frame in logged(tmp_path / "log").frames}
    assert flags[0x0200] == FrameFlag.LOBBY, "what was said before is marked as unauthenticated"


async def test_a_stranger_is_not_accepted_where_only_known_ones_are(tmp_path: Path) -> None:
    """yezhihao JTHandlerInterceptor: sessions that never registered are accepted."""
    fleet = FleetNews({"1": FleetTerminal(known=True)}, {})
    async with running(tmp_path, policy="known", fleet_source=lambda _: fleet) as gateway:
        await until(lambda: len(gateway.fleet))
        stranger = await Device.connect(gateway, "2")
        assert await stranger.result(stranger.terminal.report(report())) == 1


async def test_a_bad_frame_does_not_close_the_link(tmp_path: Path) -> None:
    """go-jt808 connection: one bad frame closes the link."""
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        for bad in (
            b"\x7e\x01\x02\x7e",
            b"\x7e\x7d\x07\x7e",
            b"\x7e" + bytes(5000) + b"\x7e",
            b"\x7ejunk\x7e",
        ):
            device.writer.write(bad)
            assert await device.result(device.terminal.heartbeat()) == 0


async def test_the_new_link_of_a_terminal_wins(tmp_path: Path) -> None:
    """go-jt808 session_manager: while the old socket is half open, the new connection is rejected."""
    async with running(tmp_path) as gateway:
        old = await Device.connect(gateway)
        assert await old.result(old.terminal.heartbeat()) == 0
        new = await Device.connect(gateway)
        assert await new.result(new.terminal.heartbeat()) == 0
        await old.closed()
        assert await new.result(new.terminal.report(report())) == 0


async def test_a_terminal_that_never_reads_stalls_nobody(tmp_path: Path) -> None:
    """go-jt808 session_manager: one slow terminal stalls the only routine that serves all."""
    async with running(tmp_path) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1)
        writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * 200_000)
        other = await Device.connect(gateway, "2")
        for _ in range(50):
            assert await other.result(other.terminal.heartbeat()) == 0
        writer.close()


async def test_an_answer_is_not_released_when_the_write_failed(tmp_path: Path) -> None:
    """traccar AcknowledgementHandler: the delayed answer leaves even when the batch was not written."""
    disk = FaultyDisk()
    log = LogWriter(tmp_path / "log", storage=disk)
    async with running(tmp_path, log) as gateway:
        device = await Device.connect(gateway)
        assert await device.result(device.terminal.heartbeat()) == 0
        fails = with_the_next_frame(gateway)
        tries: list[str] = []

        def fail(what: str) -> bool:
            tries.extend([what] if fails(what) else [])
            return fails(what)

        disk.fails = fail
        serial = device.terminal.report(report())
        device.flush()
        await until(lambda: gateway.health()["fault"])
        durable = log.durable
        reading = asyncio.ensure_future(device.answer())
        await until(lambda: len(tries) >= 3)
        assert not reading.done() and log.durable == durable
        disk.fails = lambda what: False
        fields = (await reading).fields()
        assert isinstance(fields, dict) and fields["ack_serial"] == serial
    log.close()


async def test_a_burst_is_answered_to_the_last_frame(tmp_path: Path) -> None:
    """emqx_jt808_channel: a queue of ten drops what overflows it."""
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        serials = [device.terminal.report(report(second)) for second in range(3000)]
        device.flush()
        assert [(await device.fields())["ack_serial"] for _ in serials] == serials
    assert len(logged(tmp_path / "log").frames) == len(serials)
