"""No link can hurt the others: slow readers, floods, garbage, half frames, silence."""

import asyncio
import socket
from pathlib import Path

import pytest

from gateway import links, pipeline, reception, server
from gateway.server import Gateway
from protocol.frame import Frame
from store.records import CloseReason, Rejected, SessionClosed
from tests.gateway.device import Device, logged, running, until


def silence_passes(gateway: Gateway, seconds: float) -> None:
    """Make it so long ago that anything was received."""
    gateway._table.heard -= seconds
    gateway._table.half_since -= seconds


async def test_a_silent_link_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path, idle_timeout_s=600) as gateway:
        device = await Device.connect(gateway)
        assert await device.result(device.terminal.heartbeat()) == 0
        silence_passes(gateway, 590)
        gateway._second()
        assert await device.result(device.terminal.heartbeat()) == 0, (
            "what is received counts, not what is sent"
        )
        silence_passes(gateway, 601)
        gateway._second()
        await device.closed()
    assert [event.reason for event in logged(tmp_path / "log").of(SessionClosed)] == [CloseReason.IDLE]


async def test_a_link_that_never_says_a_word_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        await until(lambda: gateway.health()["connections"])
        silence_passes(gateway, 601)
        gateway._second()
        await device.closed()


@pytest.mark.parametrize("beginning", [b"\x7e\x02\x00", b"half of some other protocol"])
async def test_a_frame_that_does_not_end_closes_the_link(tmp_path: Path, beginning: bytes) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        for byte in beginning:
            device.writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        await until(lambda: (gateway._table.half_since < float("inf")).any())
        silence_passes(gateway, server.HALF_FRAME_S - 1)
        device.writer.write(b"more")
        await until(lambda: gateway._received_bytes == len(beginning) + 4)
        silence_passes(gateway, 2)
        gateway._second()
        await device.closed()


async def test_garbage_is_read_by_budget(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        good, bad = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        junk = b"\x7e" + b"GET / HTTP/1.1 " * 60 + b"\x7e"
        bad.writer.write(junk * (2 * pipeline.GARBAGE_BUDGET // len(junk)))
        await bad.closed()
        for _ in range(3 * pipeline.GARBAGE_BUDGET // len(junk)):
            good.writer.write(junk)
            assert await good.result(good.terminal.heartbeat()) == 0, "a bad frame never closes a good link"
    log = logged(tmp_path / "log")
    assert {event.reason for event in log.of(Rejected)} <= {"bad_length", "garbage"}
    assert log.frames and [event.reason for event in log.of(SessionClosed)] == [CloseReason.STOPPING]


async def test_who_does_not_read_is_not_read(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        own: socket.socket = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        sent = 400_000
        writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * sent)
        await until(lambda: any(link.paused & links.Pause.SLOW_READER for link in gateway._table.links()))
        (link,) = gateway._table.links()
        assert link.transport.get_write_buffer_size() < 1 << 20, "the answers of one turn over the limit"
        other = await Device.connect(gateway, "2")
        assert await other.result(other.terminal.heartbeat()) == 0
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        flags = 0
        while flags < 2 * sent:
            flags += (await asyncio.wait_for(reader.read(1 << 20), 10)).count(b"\x7e")
        assert not link.paused
        writer.close()


async def test_a_flood_is_read_in_turns(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        flood, other = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        frames = 20_000
        flood.writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * frames)
        flags = 0
        while flags < 2 * frames:
            flags += (await asyncio.wait_for(flood.reader.read(1 << 20), 10)).count(b"\x7e")
        assert await other.result(other.terminal.heartbeat()) == 0
        assert gateway._turns > 3


async def test_terminals_that_do_not_take_their_last_answers_do_not_hold_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CLOSING_S", 0.2)
    async with running(tmp_path) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * 400_000)
        await until(lambda: any(link.paused & links.Pause.SLOW_READER for link in gateway._table.links()))
    await until(lambda: gateway.health()["connections"] == 0)
    writer.close()


def fails(*_: object, **__: object) -> None:
    raise RuntimeError("a mistake of ours")


async def test_a_frame_that_we_cannot_handle_costs_only_its_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        monkeypatch.setattr(reception, "decode_frame", fails)
        assert await device.result(device.terminal.register("辽A12345", 2)) == 0
        assert await device.result(device.terminal.heartbeat()) == 0
        assert gateway.health()["mistakes"] == 1
    assert len(logged(tmp_path / "log").frames) == 2, "both are kept"


async def test_a_batch_that_we_cannot_read_is_read_link_by_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as gateway:
        devices = [await Device.connect(gateway, str(number)) for number in (1, 2, 3)]
        monkeypatch.setattr(pipeline, "scan", fails)
        monkeypatch.setattr(pipeline, "COLUMNS_PAY_BYTES", 0)
        for device in devices:
            for _ in range(20):
                device.terminal.heartbeat()
            device.flush()
        for device in devices:
            assert [(await device.fields())["ack_serial"] for _ in range(20)] == list(range(20))
        assert gateway.health()["mistakes"] >= 1
        monkeypatch.setattr(pipeline, "Deframer", fails)
        devices[0].terminal.heartbeat()
        devices[0].flush()
        await devices[0].closed()
        monkeypatch.undo()
        assert await devices[1].result(devices[1].terminal.heartbeat()) == 0
    log = logged(tmp_path / "log")
    assert len(log.frames) == 61
    assert [event.reason for event in log.of(SessionClosed)] == [
        CloseReason.ERROR,
        *[CloseReason.STOPPING] * 2,
    ]
