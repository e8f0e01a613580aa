"""A running gateway with a real log, and terminals on real sockets that talk to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from gateway.server import Gateway, GatewayOptions
from protocol.connection import Received, Terminal
from protocol.edition import Edition
from protocol.messages.location import location
from store.log import LogReader, LogWriter
from store.records import Event, Frames, decode

PATIENCE_S = 300.0
"""Tests wait for what happens, not for time to pass; this only ends the wait for what never happens."""


class Device:
    """A terminal and its socket."""

    def __init__(
        self, terminal: Terminal, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.terminal = terminal
        self.reader = reader
        self.writer = writer
        self.received: list[Received] = []
        """Not yet taken."""

    @classmethod
    async def connect(
        cls, gateway: Gateway, identity: str = "13900000001", edition: Edition = Edition.E2013
    ) -> "Device":
        return await cls.connect_to(gateway.port, identity, edition)

    @classmethod
    async def connect_to(cls, port: int, identity: str, edition: Edition = Edition.E2013) -> "Device":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return cls(Terminal(identity, edition), reader, writer)

    def flush(self) -> None:
        """Send what the terminal has to say."""
        self.writer.write(self.terminal.data_to_send())

    async def answer(self) -> Received:
        """Wait for the next message."""
        while not self.received:
            data = await asyncio.wait_for(self.reader.read(65536), PATIENCE_S)
            if not data:
                raise ConnectionResetError("the gateway closed the link")
            self.received += self.terminal.receive(data, 0.0)  # type: ignore[arg-type]
        return self.received.pop(0)

    async def fields(self) -> dict[str, Any]:
        """Wait for the next message and decode it."""
        fields = (await self.answer()).fields()
        assert isinstance(fields, dict)
        return fields

    async def result(self, serial: int) -> int:
        """Send, and give the result with which our message `serial` is answered."""
        self.flush()
        fields = await self.fields()
        assert fields["ack_serial"] == serial
        return int(fields["result"])

    async def sign_in(self, plate: str = "辽A12345", color: int = 2) -> None:
        """Register and authenticate."""
        self.terminal.register(plate, color)
        self.flush()
        reply = await self.fields()
        assert reply["result"] == 0
        assert await self.result(self.terminal.authenticate(reply["auth_code"])) == 0

    async def come_back(self, gateway: Gateway) -> None:
        """Authenticate with the code that it has."""
        code = gateway.credentials.code(self.terminal.address.raw_id.hex().upper().lstrip("0"))
        assert await self.result(self.terminal.authenticate(code)) == 0

    async def closed(self) -> None:
        """Wait until the gateway has closed the link; more answers may come before."""
        with suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(65536), PATIENCE_S):
                pass

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class LoggedFrame(NamedTuple):
    """One frame as the log has it."""

    session: int
    flags: int
    content: bytes


class Logged(NamedTuple):
    """What a log holds."""

    frames: list[LoggedFrame]
    events: list[Event]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def logged(directory: Path) -> Logged:
    """Read a log from its start."""
    reader = LogReader(directory)
    position = reader.start
    everything = Logged([], [])
    while records := reader.read(position):
        for record in records:
            position = record.next_position
            entry = decode(record.kind, record.payload)
            if isinstance(entry, Frames):
                at = 0
                columns = zip(
                    entry.sessions.tolist(), entry.flags.tolist(), entry.lengths.tolist(), strict=True
                )
                for session, flags, length in columns:
                    everything.frames.append(LoggedFrame(session, flags, bytes(entry.data[at : at + length])))
                    at += length
            else:
                everything.events.append(entry)
    return everything


@asynccontextmanager
async def running(tmp_path: Path, log: LogWriter | None = None, **settings: Any) -> AsyncIterator[Gateway]:
    """Run a gateway on a free port. Its log is in `tmp_path / "log"` unless one is given."""
    source = settings.pop("fleet_source", None)
    options = GatewayOptions(data_dir=tmp_path, host="127.0.0.1", port=0)
    own = LogWriter(tmp_path / "log") if log is None else None
    gateway = Gateway(replace(options, **settings), log or own, fleet_source=source)  # type: ignore[arg-type]
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()
        if own is not None:
            own.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came to hold"
        await asyncio.sleep(0.005)


def with_the_next_frame(gateway: Gateway, action: str = "sync") -> Callable[[str], bool]:
    """Say when a `FaultyDisk` fails: from the gateway's next frame on. Were it a tick that fails first, that
    frame would not be read.
    """
    frames = gateway.health()["frames"]
    return lambda what: what == action and gateway.health()["frames"] > frames


def report(second: int = 0) -> dict[str, Any]:
    """A location report near Shenyang."""
    return location(41.8, 123.43, datetime(2026, 11, 21, 8, 0, second % 60))
