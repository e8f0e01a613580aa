"""Terminals over UDP: the same pipeline, datagrams that stand for themselves, nobody flooded through us."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import datagrams, links
from gateway.datagrams import MAX_ANSWER, bounded, divided
from gateway.server import Gateway
from protocol.connection import Received, Terminal
from protocol.deframer import Deframer, PlainFrame, RejectedBytes
from protocol.edition import Edition
from protocol.frame import Frame, parse
from protocol.messages.location import location
from store.log import LogWriter
from store.records import CloseReason, Rejected, SessionClosed, SessionOpened
from tests.disks import FaultyDisk
from tests.gateway.device import PATIENCE_S, Device, logged, report, running, until, with_the_next_frame


class UdpDevice:
    """A terminal and its UDP socket."""

    def __init__(self, port: int, identity: str, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.terminal = Terminal(identity, Edition.E2013)
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1" if family == socket.AF_INET else "::1", port))
        self.received: list[Received] = []
        self.sent_bytes = self.received_bytes = 0
        self.datagrams = 0

    def send(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        self.socket.send(data)

    def flush(self) -> None:
        self.send(self.terminal.data_to_send())

    async def answer(self) -> Received:
        loop = asyncio.get_running_loop()
        while not self.received:
            data = await asyncio.wait_for(loop.sock_recv(self.socket, 65536), PATIENCE_S)
            self.datagrams += 1
            self.received_bytes += len(data)
            self.received += self.terminal.receive(data, 0.0)  # type: ignore[arg-type]
        return self.received.pop(0)

    async def fields(self) -> dict[str, Any]:
        fields = (await self.answer()).fields()
        assert isinstance(fields, dict)
        return fields

    async def result(self, serial: int) -> int:
        self.flush()
        fields = await self.fields()
        assert fields["ack_serial"] == serial
        return int(fields["result"])

    async def sign_in(self, plate: str = "辽A12345") -> None:
        self.terminal.register(plate, 2)
        self.flush()
        reply = await self.fields()
        assert reply["result"] == 0
        assert await self.result(self.terminal.authenticate(reply["auth_code"])) == 0

    async def come_back(self, gateway: Gateway) -> None:
        """Authenticate with the code that it has."""
        code = gateway.credentials.code(self.terminal.address.raw_id.hex().upper().lstrip("0"))
        assert await self.result(self.terminal.authenticate(code)) == 0

    def close(self) -> None:
        self.socket.close()


@asynccontextmanager
async def udp(
    tmp_path: Path, log: LogWriter | None = None, devices: int = 1, **settings: Any
) -> AsyncIterator[tuple[Gateway, list[UdpDevice]]]:
    async with running(tmp_path, log, udp_port=0, **settings) as gateway:
        some = [UdpDevice(gateway.udp_port, str(number)) for number in range(1, devices + 1)]
        try:
            yield gateway, some
        finally:
            for device in some:
                device.close()


def dropped(gateway: Gateway) -> dict[str, int]:
    return gateway._listening.datagrams[0].dropped


async def test_a_terminal_over_udp(tmp_path: Path) -> None:
    async with udp(tmp_path) as (gateway, (device,)):
        await device.sign_in()
        for second in range(10):
            assert await device.result(device.terminal.report(report(second))) == 0
        serials = [device.terminal.report(report(second)) for second in range(8)]
        before = device.datagrams
        device.flush()
        assert [(await device.fields())["ack_serial"] for _ in serials] == serials
        assert device.datagrams == before + 1, "one datagram for a turn"
        source = "{}:{}".format(*device.socket.getsockname())
        assert gateway.health()["connections"] == 1
    log = logged(tmp_path / "log")
    assert [parse(frame.content).msg_id for frame in log.frames] == [0x0100, 0x0102] + [0x0200] * 18
    assert [event.peer for event in log.of(SessionOpened)] == [source]
    assert [event.reason for event in log.of(SessionClosed)] == [CloseReason.STOPPING]


async def test_half_a_frame_costs_its_datagram_only(tmp_path: Path) -> None:
    async with udp(tmp_path) as (_, (device,)):
        await device.sign_in()
        device.terminal.report(report())
        whole = device.terminal.data_to_send()
        device.send(whole[:20])
        device.send(whole[20:])
        assert await device.result(device.terminal.heartbeat()) == 0
        good = device.terminal.heartbeat()
        device.send(device.terminal.data_to_send() + whole[:30])
        assert (await device.fields())["ack_serial"] == good
        assert await device.result(device.terminal.heartbeat()) == 0
    log = logged(tmp_path / "log")
    assert [event.raw for event in log.of(Rejected)] == [
        whole[1:20],
        whole[20:-1],
        whole[1:30],
    ]
    assert [parse(frame.content).msg_id for frame in log.frames][2:] == [0x0002] * 3


frames = st.binary(max_size=60).map(lambda body: Frame(0x0900, b"\x01" * 6, 1, body).encode())


@given(st.lists(st.lists(frames, max_size=4).map(b"".join) | st.binary(max_size=40), max_size=6))
def test_nothing_joins_across_datagrams(some: list[bytes]) -> None:
    stream, apart = Deframer(), list[PlainFrame | RejectedBytes]()
    together = [piece for data in some for piece in stream.feed(bounded(data))]
    for data in some:
        apart += Deframer().feed(bounded(data))
    assert together == apart


@given(st.lists(st.binary(max_size=1000).map(lambda body: Frame(0x8300, b"\x01" * 6, 1, body).encode())))
def test_answers_are_divided_between_frames(some: list[bytes]) -> None:
    parts = list(divided(b"".join(some)))
    assert b"".join(parts) == b"".join(some)
    for part in parts:
        pieces = Deframer().feed(part)
        assert all(isinstance(piece, PlainFrame) for piece in pieces)
        assert len(part) <= MAX_ANSWER or len(pieces) == 1
    for one, following in pairwise(parts):
        assert len(one) + len(following.split(b"\x7e")[1]) + 2 > MAX_ANSWER, "no more than needed"


async def test_who_has_not_authenticated_gets_no_more_than_it_sent(tmp_path: Path) -> None:
    """The sender's address may be somebody else's."""
    async with udp(tmp_path) as (gateway, (device,)):
        for _ in range(50):
            device.terminal.heartbeat()
            device.flush()
        await until(lambda: gateway.health()["frames"] == 50 and dropped(gateway).get("unproven"))
        serial = device.terminal.report(report())
        device.flush()
        while (await device.fields())["ack_serial"] != serial:
            assert device.received_bytes <= device.sent_bytes
        assert device.received_bytes <= device.sent_bytes
        await device.sign_in()
        assert device.received_bytes <= device.sent_bytes
        for _ in range(50):
            assert await device.result(device.terminal.heartbeat()) == 0, "who has authenticated gets all"


async def test_garbage_from_somebody_unknown_is_forgotten(tmp_path: Path) -> None:
    async with udp(tmp_path) as (gateway, (device,)):
        for data in (b"", b"\x7e", b"\x7e\x7e", b"GET / HTTP/1.1", bytes(1400), b"\x7e\x02\x00\x7e"):
            device.send(data)
        await until(lambda: dropped(gateway).get("meaningless") == 6)
        assert gateway.health()["connections"] == 0
        assert await device.result(device.terminal.report(report())) == 0
    assert not logged(tmp_path / "log").of(Rejected)


async def test_a_newer_stranger_takes_the_place_of_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "MAX_STRANGERS", 3)
    async with udp(tmp_path, devices=8) as (gateway, (known, *others)):
        await known.sign_in()
        for device in others:
            assert await device.result(device.terminal.report(report())) == 0
        await until(lambda: gateway.health()["connections"] == 4)
        assert await known.result(known.terminal.heartbeat()) == 0
        assert await others[0].result(others[0].terminal.report(report())) == 0, "it may come back"


async def test_a_silent_peer_is_forgotten(tmp_path: Path) -> None:
    async with udp(tmp_path) as (gateway, (device,)):
        await device.sign_in()
        gateway._table.heard -= 601
        gateway._second()
        await until(lambda: gateway.health()["connections"] == 0)
        assert await device.result(device.terminal.report(report())) == 0
    reasons = [event.reason for event in logged(tmp_path / "log").of(SessionClosed)]
    assert reasons == [CloseReason.IDLE, CloseReason.STOPPING]


async def test_a_terminal_moves_between_udp_and_tcp(tmp_path: Path) -> None:
    async with udp(tmp_path) as (gateway, (device,)):
        await device.sign_in()
        linked = await Device.connect(gateway, "1")
        await linked.come_back(gateway)
        await until(lambda: gateway.health()["connections"] == 1)
        again = UdpDevice(gateway.udp_port, "1")
        await again.come_back(gateway)
        await linked.closed()
        again.close()
    log = logged(tmp_path / "log")
    assert [event.reason for event in log.of(SessionClosed)] == [
        CloseReason.TAKEN_OVER,
        CloseReason.TAKEN_OVER,
        CloseReason.STOPPING,
    ]


async def test_the_same_number_for_tcp_and_udp(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        port = first.port
    async with running(tmp_path, port=port, udp_port=port) as gateway:
        device, linked = UdpDevice(port, "1"), await Device.connect(gateway, "2")
        await device.sign_in()
        await linked.sign_in("辽A00002")
        device.close()


async def test_both_families_through_one_udp_socket(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("THIS MACHINE HAS NO IPv6")
    async with running(tmp_path, host="::", udp_port=0) as gateway:
        for number, family in enumerate((socket.AF_INET, socket.AF_INET6), 1):
            device = UdpDevice(gateway.udp_port, str(number), family)
            await device.sign_in(f"辽A0000{number}")
            device.close()
    hosts = [
        event.peer.rpartition(":")[0].strip("[]") for event in logged(tmp_path / "log").of(SessionOpened)
    ]
    assert [ip_address(host) for host in hosts] == [ip_address("127.0.0.1"), ip_address("::1")]


async def test_a_message_to_a_terminal_over_udp(tmp_path: Path) -> None:
    async with udp(tmp_path) as (gateway, (device,)):
        await device.sign_in()
        body = b"\x01" + "请尽快与监控中心联系。".encode("gbk") * 200
        serials = gateway.send("1", 0x8300, body)
        assert serials is not None and len(serials) > 3
        received = [(await device.answer()).frame for _ in serials]
        assert b"".join(frame.body for frame in received) == body
        assert [frame.fragment for frame in received] == [(len(serials), n + 1) for n in range(len(serials))]


class SlowDisk(FaultyDisk):
    """A disk that needs five milliseconds."""

    def act(self, action: str) -> None:
        if action == "sync":
            time.sleep(0.005)


async def test_while_nothing_is_durable_nothing_is_answered_and_nothing_gathers(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = LogWriter(tmp_path / "log", storage=disk)
    async with udp(tmp_path, log, devices=2) as (gateway, (device, other)):
        await device.sign_in()
        disk.fails = with_the_next_frame(gateway)
        withheld = device.terminal.report(report(1))
        device.flush()
        await until(lambda: gateway.health()["fault"])
        for each in (device, other):
            each.terminal.report(report(2))
            each.flush()
        await until(lambda: dropped(gateway).get("busy") == 2)
        assert gateway.health()["answers"] == 3 and device.received == []
        disk.fails = lambda what: False
        assert (await device.fields())["ack_serial"] == withheld
        await until(lambda: gateway.health()["reading"])
        assert await other.result(other.terminal.report(report(3))) == 0
    log.close()


@pytest.mark.parametrize("seed", range(3))
async def test_after_a_power_loss_no_answered_datagram_is_missing(tmp_path: Path, seed: int) -> None:
    disk = FaultyDisk(seed)
    log = LogWriter(tmp_path / "log", storage=disk)
    answered: set[tuple[bytes, int]] = set()
    async with udp(tmp_path, log, devices=4) as (gateway, devices):
        for device in devices:
            await device.sign_in()
        for second in range(10):
            for device in devices:
                device.terminal.report(report(second))
                device.terminal.heartbeat()
                device.flush()
            if second < 9:  # the last ones are cut off in the middle
                for device in devices:
                    for _ in range(2):
                        answered.add((device.terminal.address.raw_id, (await device.fields())["ack_serial"]))
        log._lock_file.close()
        disk.fails = lambda what: True
        disk.lose_power()
        LogWriter(tmp_path / "log").close()
        kept = {
            (frame.raw_id, frame.serial)
            for frame in map(parse, (each.content for each in logged(tmp_path / "log").frames))
        }
        assert len(answered) == 9 * 4 * 2 and answered <= kept
    assert gateway.health()["fault"]


async def test_a_peer_over_its_share_is_not_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "READ_BUDGET", 2000)
    log = LogWriter(tmp_path / "log", storage=SlowDisk())
    async with udp(tmp_path, log, devices=2) as (gateway, (flood, other)):
        await flood.sign_in()
        await other.sign_in("辽A00002")
        body = location(41.8, 123.43, report()["time"])
        for _ in range(400):
            flood.terminal.report(body)
            flood.flush()
        assert await other.result(other.terminal.heartbeat()) == 0
        assert dropped(gateway)["busy"] > 0
        await until(lambda: not any(link.paused for link in gateway._table.links()))
        flood.terminal.report(body)
        flood.flush()
        assert (await flood.answer()) is not None
    log.close()
