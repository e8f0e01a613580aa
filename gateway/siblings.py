"""Gateway processes of one machine tell each other which terminals came and went. No database is needed.

Every process has a Unix datagram socket in the data directory, named after its slot. Once in a turn of its
loop a process tells all others what is new of its sessions, in few datagrams. Who hears of a newer session of
a terminal ends its own, by the same rules as if both were here (`gateway.clones`).

Nothing depends on it: session numbers alone decide in the worker what a terminal's link is, and a dead link
ends by its time-outs. So a process that does not keep up loses news, which are counted, and holds up nobody.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

SUFFIX: Final = ".socket"
_ENTRY: Final = struct.Struct("<BQ10s")
"""What happened, session number, terminal."""

DATAGRAM_ENTRIES: Final = 2000
"""38 KB, well below the kernel's limit of a datagram."""
DATAGRAMS_A_TURN: Final = 32
"""So many are read before the links get their turn again."""
MAX_WAITING: Final = 100_000
"""News kept for a process whose socket is full, some 10 MB: a whole fleet that reconnects."""
LONGEST_PATH: Final = 100
"""A socket's address has room for about so many bytes."""


class What(IntEnum):
    """What happened to a session."""

    OPENED = 1
    PROVED = 2
    """Its terminal has authenticated."""
    ENDED = 3
    ASKED = 4
    """Somebody wants the code of its terminal, which has authenticated elsewhere, see `gateway.elsewhere`."""
    SPEAKS = 5
    """Its terminal has authenticated in it, and spoke there of late."""


class News(NamedTuple):
    """Something that other processes must know of a session."""

    what: What
    session: int
    key: int
    """The number that the terminal's id is."""


def encode(news: Iterable[News]) -> bytes:
    """Write news as a datagram."""
    return b"".join(_ENTRY.pack(each.what, each.session, each.key.to_bytes(10)) for each in news)


def decode(datagram: bytes) -> list[News]:
    """Read a datagram.

    Raises:
        ValueError: it is none of ours.
    """
    if len(datagram) % _ENTRY.size:
        raise ValueError(f"{len(datagram)} bytes are no news")
    return [
        News(What(what), session, int.from_bytes(key)) for what, session, key in _ENTRY.iter_unpack(datagram)
    ]


class Siblings:
    """The other gateway processes of this machine, as seen from one."""

    def __init__(self, directory: Path, slot: int, heard: Callable[[list[News]], None]) -> None:
        """`heard` is told what others tell."""
        self._directory = directory
        self._name = f"{slot}{SUFFIX}"
        self._heard = heard
        self._socket: socket.socket | None = None
        self._waiting: dict[str, deque[News]] = {}
        """By socket, what it had no room for."""
        self.told = self.received = self.dropped = 0
        """News given to the kernel, read, and lost because somebody did not keep up."""

    def open(self) -> None:
        """Listen to the others.

        Raises:
            OSError: the socket cannot be made.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        own.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            (self._directory / self._name).unlink()  # of a process before us: the slot is ours
        own.bind(self._address(self._name))
        self._socket = own
        asyncio.get_running_loop().add_reader(own, self._read)

    def tell(self, news: list[News]) -> None:
        """Tell all others, as far as they have room; what is left goes with the next call."""
        if self._socket is None or not (news or self._waiting):
            return
        names = {path.name for path in self._directory.glob(f"*{SUFFIX}")} - {self._name}
        self._waiting = {name: kept for name, kept in self._waiting.items() if name in names}
        for name in names:
            kept = self._waiting.pop(name, None) or deque()
            kept.extend(news)
            while len(kept) > MAX_WAITING:
                kept.popleft()
                self.dropped += 1
            if self._send(name, kept):
                self._waiting[name] = kept

    def close(self) -> None:
        """Listen no more."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        os.close(self._folder)
        with contextlib.suppress(FileNotFoundError):
            (self._directory / self._name).unlink()

    def _send(self, name: str, kept: "deque[News]") -> bool:
        """Send what there is to one process, and say whether some is left because it has no room."""
        assert self._socket is not None
        while kept:
            part = [kept[index] for index in range(min(len(kept), DATAGRAM_ENTRIES))]
            try:
                self._socket.sendto(encode(part), self._address(name))
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:  # nobody listens there: who starts later has no session to end
                return False
            self.told += len(part)
            for _ in part:
                kept.popleft()
        return False

    def _read(self) -> None:
        assert self._socket is not None
        for _ in range(DATAGRAMS_A_TURN):
            try:
                datagram = self._socket.recv(DATAGRAM_ENTRIES * _ENTRY.size + 1)
            except OSError:
                return
            with contextlib.suppress(ValueError):
                news = decode(datagram)
                self.received += len(news)
                self._heard(news)

    def _address(self, name: str) -> str:
        path = str(self._directory / name)
        # A longer one would not fit; through the open directory it has few characters.
        return path if len(os.fsencode(path)) < LONGEST_PATH else f"/proc/self/fd/{self._folder}/{name}"
