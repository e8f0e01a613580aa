"""Terminals that keep the standard's contract and remember what they were promised.

A report stays with the terminal until it is answered and is sent again after every reconnection
(JT/T 808-2013 §6.1.2). What was answered is gone from the terminal, so the platform must have it:
`Driver.answered` is the list that the database is held against.

Now and then a terminal says something long, fragment by fragment, each as it has the last answer. Where the
link breaks it begins again. `Driver.told` are those of which every fragment was answered on one link.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from protocol.connection import Received, Terminal
from protocol.edition import Edition
from protocol.message import Undecodable
from protocol.messages import encode_body
from tests.collisions import latitude, pairs

PASSED_THROUGH = 0x0900
LONG_EVERY = 25
"""Reports between two long messages."""
LONG_BYTES = 4000
BEGAN = datetime(2026, 11, 1, 8, 0, 0)
REST_S = 8.0
POWER_LOST = 1 << 8
CONTRACT_S = 3.0
"""Silence of the platform after which a terminal declares the link dead."""


COLLIDES_EVERY = 30
"""Of so many reports one comes with another of the same second, whose stored hash is the same."""


@cache
def colliding(step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two reports of a step that differ, and whose stored hashes agree."""
    report = {
        "alarm": 0,
        "status": 3,
        "latitude_raw": 0,
        "longitude_raw": 123_500_000,
        "altitude_m": 40,
        "speed_kmh": 60.0,
        "direction_deg": 90,
        "time": (BEGAN + timedelta(seconds=step)).isoformat(),
        "extras": {"0x01": step, "0x31": 12},
    }
    ((first, second),) = pairs(encode_body(0x0200, Edition.E2013, report), 1)
    return report | {"latitude_raw": latitude(first)}, report | {"latitude_raw": latitude(second)}


@dataclass
class Driver:
    """One terminal: makes reports, holds them until they are answered."""

    number: int
    edition: Edition
    port: int
    window: int = 3
    rests_at: int = -1
    """After so many reports the terminal is silent for `REST_S`."""
    is_resting: bool = False
    code: str = ""
    made: int = 0
    waiting: deque[dict[str, Any]] = field(default_factory=deque)
    sent: dict[int, dict[str, Any]] = field(default_factory=dict)
    answered: list[dict[str, Any]] = field(default_factory=list)
    saying: bytes = b""
    """What is being said in fragments."""
    pieces: deque[bytes] = field(default_factory=deque)
    """Those that were not sent yet."""
    unheard: set[int] = field(default_factory=set)
    """Serials of those that were not answered."""
    told: list[bytes] = field(default_factory=list)
    rivals: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By time: the latitudes of two reports of which one has the other's key."""

    @property
    def identity(self) -> str:
        return f"1390000{self.number:04}"

    def next_report(self) -> dict[str, Any]:
        """A report unlike all others of this terminal: its clock advances by a second each. Now and then two
        of one second that nearly look the same."""
        step = self.made
        self.made += 1
        if step % COLLIDES_EVERY == COLLIDES_EVERY - 1:
            first, second = colliding(step)
            self.waiting.append(second)
            self.rivals[first["time"]] = first["latitude_raw"], second["latitude_raw"]
            return first
        # An emergency now and then, and an overspeed that lasts: episodes to get right across crashes.
        alarm = (1 if step % 97 == 40 + self.number else 0) | (2 if step % 60 > 45 else 0)
        if step % 60 < 20 and step % 2:  # and a wire that chatters, which is one alarm
            alarm |= POWER_LOST
        return {
            "alarm": alarm,
            "status": 3,
            "latitude_raw": 41_800_000 + step,
            "longitude_raw": 123_400_000 + self.number,
            "altitude_m": 40,
            "speed_kmh": 60.0,
            "direction_deg": 90,
            "time": (BEGAN + timedelta(seconds=step)).isoformat(),
            "extras": {"0x01": step, "0x31": 12},
        }

    def _say_long(self, link: Terminal) -> None:
        """Begin a long message where one is due, or begin the last one again."""
        if not self.saying and self.made // LONG_EVERY > len(self.told):
            self.saying = b"\xf0" + f"{self.identity} {len(self.told)} ".encode().ljust(LONG_BYTES, b"x")
        if self.saying and not self.unheard:
            reports = link.data_to_send()
            first = link.say(PASSED_THROUGH, self.saying)
            frames = [b"\x7e" + inner + b"\x7e" for inner in link.data_to_send().split(b"\x7e") if inner]
            self.unheard = set(range(first, first + len(frames)))
            self.pieces = deque([reports + frames[0], *frames[1:]])

    def _heard(self, serial: int) -> None:
        self.unheard.discard(serial)
        if not self.unheard:
            self.told.append(self.saying)
            self.saying = b""

    async def drive(self, stop: asyncio.Event, rate_s: float) -> None:
        """Connect, report, and connect again, until `stop` and everything made is answered."""
        while not (stop.is_set() and not self.waiting and not self.sent):
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                await self._session(stop, rate_s)
            # Whatever was on its way is not known to have arrived: it goes again, oldest first.
            self.waiting.extendleft(reversed(self.sent.values()))
            self.sent.clear()
            if 0 <= self.rests_at <= self.made and not stop.is_set():
                self.rests_at, self.is_resting = -1, True
                await asyncio.sleep(REST_S)
                self.is_resting = False
            await asyncio.sleep(0.1)

    async def _session(self, stop: asyncio.Event, rate_s: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        link = Terminal(self.identity, self.edition)
        self.pieces.clear()
        self.unheard.clear()
        try:
            if not self.code:
                link.register(f"辽A{self.number:05}", 2)
                reply = await self._wait_for(link, reader, writer, 0x8100)
                if reply["result"] != 0:  # it is blocked for a while
                    return
                self.code = reply["auth_code"]
            link.authenticate(self.code)
            if (await self._wait_for(link, reader, writer, 0x8001))["result"] != 0:
                self.code = ""
                return
            while not (stop.is_set() and not self.waiting and not self.sent):
                while len(self.sent) < self.window and (self.waiting or not stop.is_set()):
                    report = self.waiting.popleft() if self.waiting else self.next_report()
                    self.sent[link.report(report)] = report
                self._say_long(link)
                await self._exchange(link, reader, writer)
                if 0 <= self.rests_at <= self.made and not stop.is_set():
                    return
                await asyncio.sleep(rate_s)
        finally:
            writer.close()

    async def _wait_for(self, link: Terminal, reader: Any, writer: Any, msg_id: int) -> dict[str, Any]:
        while True:
            for received in await self._exchange(link, reader, writer):
                if received.frame.msg_id == msg_id:
                    fields = received.fields()
                    assert not isinstance(fields, Undecodable)
                    return fields

    async def _exchange(self, link: Terminal, reader: Any, writer: Any) -> list[Received]:
        writer.write(link.data_to_send() + (self.pieces.popleft() if self.pieces else b""))
        data = await asyncio.wait_for(reader.read(65536), CONTRACT_S)
        if not data:
            raise asyncio.IncompleteReadError(b"", None)
        received = []
        for event in link.receive(data, 0.0):
            assert isinstance(event, Received), f"the platform sent something unreadable: {event}"
            received.append(event)
            if event.answers is not None and event.answers.msg_id == 0x0200:
                fields = event.fields()
                assert not isinstance(fields, Undecodable)
                report = self.sent.pop(event.answers.serial)
                if fields["result"] == 0:
                    self.answered.append(report)
                else:
                    self.waiting.append(report)
            if event.answers is not None and event.answers.msg_id == PASSED_THROUGH:
                self._heard(event.answers.serial)
        return received
