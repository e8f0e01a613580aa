"""Peers that mean harm, or might as well: they go on until they are told to stop."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from protocol.connection import Terminal
from protocol.edition import Edition
from protocol.frame import Frame
from protocol.messages.location import location

BURST: Final = 500
CLIENT_HELLO: Final = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
"""The beginning of a TLS handshake."""
REST_S: Final = 0.05
BREATH_S: Final = 0.05
"""Between bursts: what a gateway bears at line rate is measured by the benchmarks; here all share two
cores.
"""


@dataclass
class Hostile:
    """One such peer and what became of it."""

    name: str
    port: int
    chance: random.Random
    act: "Callable[[Hostile], Awaitable[None]]"
    sent_bytes: int = 0
    closed: int = 0
    """How often the gateway ended the connection."""
    is_connected: bool = False

    async def go_on(self) -> None:
        """Connect and do it, again and again."""
        while True:
            self.is_connected = False
            with contextlib.suppress(OSError):
                await self.act(self)
            self.closed += self.is_connected
            await asyncio.sleep(REST_S)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.is_connected = True
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def say(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        self.sent_bytes += len(data)
        await writer.drain()
        await asyncio.sleep(BREATH_S)


async def flood(self: Hostile) -> None:
    """Reports at line rate, always the same, with their answers thrown away."""
    terminal = Terminal("13988880001", Edition.E2013)
    for step in range(BURST):
        terminal.report(location(41.8, 123.4, datetime(2026, 11, 2) + timedelta(seconds=step)))
    burst = terminal.data_to_send()
    async with self.connected() as (reader, writer):
        reading = asyncio.create_task(_read_all(reader))
        while not reading.done():
            await self.say(writer, burst)


async def deaf(self: Hostile) -> None:
    """Heartbeats without end, and not one answer taken."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.setblocking(False)
    beats = Frame(0x0002, bytes.fromhex("013988880002"), 1, b"").encode() * 200
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(own, ("127.0.0.1", self.port))
        self.is_connected = True
        while True:
            await loop.sock_sendall(own, beats)
            self.sent_bytes += len(beats)
    finally:
        own.close()


async def junk(self: Hostile) -> None:
    """Random bytes at line rate."""
    async with self.connected() as (reader, writer):
        reading = asyncio.create_task(_read_all(reader))
        while not reading.done():
            await self.say(writer, self.chance.randbytes(20_000))


async def tls(self: Hostile) -> None:
    """A TLS handshake, and records that nobody can read."""
    async with self.connected() as (reader, writer):
        reading = asyncio.create_task(_read_all(reader))
        await self.say(writer, CLIENT_HELLO)
        while not reading.done():
            await self.say(writer, b"\x17\x03\x03\x10\x00" + self.chance.randbytes(4096))


async def half(self: Hostile) -> None:
    """Half a frame, a byte now and then."""
    async with self.connected() as (reader, writer):
        reading = asyncio.create_task(_read_all(reader))
        while not reading.done():
            await self.say(writer, b"\x7e\x02" if self.sent_bytes == 0 else b"\x00")
            await asyncio.sleep(0.2)


async def mute(self: Hostile) -> None:
    """Nothing at all."""
    async with self.connected() as (reader, _):
        await _read_all(reader)


async def _read_all(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass


HOSTILE: Final = {"flood": flood, "deaf": deaf, "junk": junk, "TLS garbage": tls, "half": half, "mute": mute}
