"""A bad network: a TCP proxy before the gateway that does to what passes what mobile networks do."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

CHUNK = 4096
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that ends a connection with RST, what was not sent yet thrown away."""

Pieces: TypeAlias = AsyncIterator[bytes]
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def whole(data: bytes, is_up: bool, chance: random.Random) -> Pieces:
    """As it came."""
    yield data


async def delayed(data: bytes, is_up: bool, chance: random.Random) -> Pieces:
    await asyncio.sleep(chance.uniform(0.0, 0.3))
    yield data


async def split(data: bytes, is_up: bool, chance: random.Random) -> Pieces:
    """In pieces of a few bytes, each a packet of its own."""
    while data:
        size = chance.choice((1, 1, 2, 5, 20))
        yield data[:size]
        await asyncio.sleep(0)
        data = data[size:]


async def doubled(data: bytes, is_up: bool, chance: random.Random) -> Pieces:
    """Sent twice now and then, as by a box on the way that forwards and repeats."""
    yield data
    if is_up and chance.random() < 0.3:
        yield data


async def soiled(data: bytes, is_up: bool, chance: random.Random) -> Pieces:
    """With bytes in between that nobody sent, anywhere."""
    at = chance.randint(0, len(data))
    yield data[:at]
    if is_up and chance.random() < 0.2:
        yield chance.randbytes(chance.randint(1, 100))
    yield data[at:]


def cut(writer: asyncio.StreamWriter) -> None:
    """End in the middle."""
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """End as if the other side had never heard of the connection."""
    own: socket.socket | None = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if own is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


def forget(writer: asyncio.StreamWriter) -> None:
    """Leave the connection open, and carry nothing any more: half open, for whoever still waits."""


@dataclass(frozen=True)
class Weather:
    """What happens to connections."""

    name: str
    carry: Callable[[bytes, bool, random.Random], Pieces] = whole
    end: Callable[[asyncio.StreamWriter], None] | None = None
    lasts_s: float = 0.8
    """How long connections last, on average, where they end."""


WEATHERS = (
    Weather("calm"),
    Weather("cut", end=cut),
    Weather("reset", end=reset),
    Weather("half open", end=forget, lasts_s=2.0),
    Weather("delay", delayed),
    Weather("split", split),
    Weather("duplicate", doubled),
    Weather("garbage", soiled),
)


@dataclass
class Proxy:
    """Listens on a port of its own, and carries what comes to the gateway in its weather."""

    weather: Weather
    gateway: int
    chance: random.Random
    connections: int = 0
    ended: int = 0
    """Of these, by us."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            there = await asyncio.open_connection("127.0.0.1", self.gateway)
        except OSError:
            writer.close()
            return
        self._open.add(there[1])
        await self._carry_both((reader, writer), there)

    async def _carry_both(self, here: Streams, there: Streams) -> None:
        ways: list[Awaitable[None]] = [
            self._carry(here[0], there[1], is_up=True),
            self._carry(there[0], here[1], is_up=False),
        ]
        tasks = [asyncio.ensure_future(way) for way in ways]
        end = self.weather.end
        lasts_s = self.chance.expovariate(1 / self.weather.lasts_s) if end else None
        done, waiting = await asyncio.wait(tasks, timeout=lasts_s, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        is_ours = end is not None and not done
        self.ended += is_ours
        for writer in (here[1], there[1]):
            (end if is_ours and end else cut)(writer)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                async for piece in self.weather.carry(data, is_up, self.chance):
                    writer.write(piece)
                    await writer.drain()
