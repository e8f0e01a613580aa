"""Plain connections: what asyncio's transports promise their protocols, held by our own."""

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from gateway import ring, sockets
from gateway.ring import ENTRIES, Ring, ring_for
from gateway.sockets import FEW_BYTES, MANY_BYTES, Connection, Sockets
from tests.gateway.device import PATIENCE_S, running, until

LOTS = bytes(range(256)) * 40_000
"""More than the system takes for a peer that reads nothing."""


needs_ring = pytest.mark.skipif(ring_for("auto") is None, reason="this system gives us no io_uring")


@pytest.fixture(params=["one by one", pytest.param("together", marks=needs_ring)], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets are read and written with a system call for each, or with one for all of them."""
    if request.param == "together":
        monkeypatch.setattr(sockets, "RING_PAYS", 1)
    else:
        monkeypatch.setattr(sockets, "ring_for", lambda _: None)


class Heard(asyncio.Protocol):
    """Remembers what it was told."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.data = b""
        self.told: list[str] = []
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Connection)
        self.transport = transport
        transport.set_write_buffer_limits(1000)

    def data_received(self, data: bytes) -> None:
        if data == b"mistake":
            raise RuntimeError("a mistake of ours")
        self.data += data

    def pause_writing(self) -> None:
        self.told.append("full")

    def resume_writing(self) -> None:
        self.told.append("room")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")
        self.error = exc


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Heard, socket.socket]]:
    """Give both ends of a connection; the peer's one does not block."""
    sockets, made = Sockets(), list[Heard]()

    def make(peer: str) -> Heard:
        made.append(Heard(peer))
        return made[-1]

    own = socket.create_server(("127.0.0.1", 0))
    own.setblocking(False)
    sockets.listen(own, make)
    peer = socket.create_connection(own.getsockname())
    peer.setblocking(False)
    try:
        await until(lambda: made)
        yield made[0], peer
    finally:
        peer.close()
        made[0].transport.abort()
        await until(lambda: "lost" in made[0].told)
        sockets.close()


async def received(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(peer, 1 << 20), PATIENCE_S)
        assert more, "closed too early"
        data += more
    return data


async def test_what_is_sent_arrives_in_order_both_ways() -> None:
    async with connected() as (link, peer):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(peer, LOTS[: 2 * MANY_BYTES])
        await until(lambda: len(link.data) == 2 * MANY_BYTES)
        assert link.data == LOTS[: 2 * MANY_BYTES]
        for part in (b"one ", b"two ", b"three"):
            link.transport.write(part)
        assert await received(peer, 13) == b"one two three"
        assert link.peer == "{}:{}".format(*peer.getsockname())


async def test_what_the_peer_does_not_take_is_kept_and_told() -> None:
    async with connected() as (link, peer):
        link.transport.write(LOTS)
        link.transport.write(b"and the end")
        assert link.told == ["full"] and link.transport.get_write_buffer_size() > 1000
        link.transport.close()
        link.transport.write(b"too late")
        assert await received(peer, len(LOTS) + 11) == LOTS + b"and the end"
        await until(lambda: link.told == ["full", "room", "lost"] or link.told == ["full", "lost", "room"])
        assert link.error is None


async def test_what_is_behind_urgent_data_is_read() -> None:
    """A read stops in front of it, and the poll tells of what lies behind only once."""
    async with connected() as (link, peer):
        for number in range(20):
            peer.send(b"before ")
            peer.send(b"!", socket.MSG_OOB)
            peer.send(b" behind %02d." % number)
            await until(lambda number=number: len(link.data) == 19 * (number + 1))  # type: ignore[misc]
        assert link.data == b"".join(b"before ! behind %02d." % number for number in range(20))


async def test_urgent_data_is_no_way_around_a_pause() -> None:
    async with connected() as (link, peer):
        link.transport.pause_reading()
        peer.send(b"!", socket.MSG_OOB)
        await asyncio.sleep(0)
        assert not link.data
        link.transport.resume_reading()
        peer.send(b"later")
        await until(lambda: link.data == b"!later")


async def test_who_is_paused_is_not_read() -> None:
    async with connected() as (link, peer):
        link.transport.pause_reading()
        peer.send(b"later")
        await asyncio.sleep(0)
        assert not link.transport.is_reading() and not link.data
        link.transport.resume_reading()
        await until(lambda: link.data == b"later")


async def test_what_came_before_a_reset_is_read() -> None:
    async with connected() as (link, peer):
        peer.send(b"last words")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        link.transport.write(b"into nothing")
        link.transport.write(b"into nothing")
        await until(lambda: link.told == ["lost"])
        assert link.data == b"last words"


async def test_a_reset_is_noticed_while_nothing_is_read() -> None:
    async with connected() as (link, peer):
        link.transport.pause_reading()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        link.transport.write(b"into nothing")
        await until(lambda: link.told == ["lost"])
        assert isinstance(link.error, OSError)


async def test_a_mistake_costs_its_own_connection() -> None:
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["message"]))
    async with connected() as (link, peer):
        peer.send(b"mistake")
        await until(lambda: link.told == ["lost"])
    assert faults == ["connection not read"]


async def test_what_is_written_together_arrives_in_order() -> None:
    async with connected() as (link, peer):
        own = link.transport._sockets
        with own.together():
            link.transport.write(b"one ")
            link.transport.write(b"two ")
        assert await received(peer, 8) == b"one two "
        with own.together():
            link.transport.write(LOTS)
        with own.together():
            link.transport.write(b"behind it")
        assert link.told == ["full"]
        assert await received(peer, len(LOTS) + 9) == LOTS + b"behind it"
        with own.together():
            link.transport.write(b"the end")
            link.transport.close()
        assert await received(peer, 7) == b"the end"


async def test_all_that_is_said_before_leaving_is_read() -> None:
    for size in (
        0,
        1,
        FEW_BYTES - 1,
        FEW_BYTES,
        FEW_BYTES + 1,
        MANY_BYTES,
        MANY_BYTES + FEW_BYTES,
        3 * MANY_BYTES,
    ):
        async with connected() as (link, peer):
            await asyncio.get_running_loop().sock_sendall(peer, LOTS[:size])
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: "lost" in link.told)
            assert link.data == LOTS[:size] and link.error is None


def pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    made = [socket.socketpair() for _ in range(count)]
    for both in made:
        for end in both:
            end.setblocking(False)
    return made


@needs_ring
@pytest.mark.parametrize("most", [ENTRIES, 7, 0])
def test_a_ring_does_all_or_says_which_not(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    call = ring._system_call

    def short(number: int, descriptor: int, count: int, *others: object) -> int:
        return int(call(number, descriptor, min(count, most), *others))

    own, made = Ring(), pairs(150)
    monkeypatch.setattr(ring, "_system_call", short)
    descriptors = np.array([end.fileno() for end, _ in made], np.int32)
    made[3][1].close()
    memory = np.zeros(150 * 100, np.uint8)
    addresses = memory.ctypes.data + np.arange(150, dtype=np.uint64) * 100
    for turn in range(30):
        words = [b"%d of %d" % (turn, number) for number in range(150)]
        wire = np.frombuffer(b"".join(words), np.uint8)
        lengths = np.array([len(word) for word in words], np.uint32)
        sent = own.send(descriptors, wire.ctypes.data, lengths).tolist()
        for number, ((_, other), count) in enumerate(zip(made, sent, strict=True)):
            if number == 3:
                assert count in (-errno.EPIPE, -errno.EAGAIN)
                continue
            assert count == (len(words[number]) if number < most else -errno.EAGAIN)
            if count > 0:
                assert other.recv(100) == words[number]
                other.send(words[number][::-1])
        came = own.receive(descriptors, addresses, 100).tolist()
        for number, count in enumerate(came):
            if number != 3:
                assert count == sent[number]
                answer = memory[number * 100 :][: max(count, 0)].tobytes()
                assert answer == (words[number][::-1] if count > 0 else b"")
    own.close()
    for both in made:
        for end in both:
            end.close()


def refused() -> Ring:
    raise OSError(errno.EPERM, "io_uring_setup")


def test_a_ring_that_must_be_and_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "Ring", refused)
    assert ring_for("auto") is None and ring_for("off") is None
    with pytest.raises(OSError, match="io_uring is to be used, but this system has none for us"):
        ring_for("on")


@pytest.mark.parametrize("wanted", [pytest.param("auto", marks=needs_ring), "off"])
async def test_health_and_metrics_say_which_way(tmp_path: Path, wanted: ring.Way) -> None:
    if sockets.ring_for is not ring_for:
        pytest.skip("once is enough")
    async with running(tmp_path, io_uring=wanted) as gateway:
        assert gateway.health()["io_uring"] is (wanted == "auto")
        assert gateway.registry.get_sample_value("northwatch_gateway_io_uring") == (wanted == "auto")
