"""Plain TCP connections, polled, read and written together.

asyncio gives every connection a transport of its own, whose buffers and callbacks cost more than the gateway
does with a report, in time as in memory (1.4 KiB for an idle one under uvloop). Here one epoll holds all
connections: one call says which of them have something, and one loop reads them. To its protocol a
`Connection` is a transport like any other, so a link need not know how it is connected.
"""

import asyncio
import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import structlog

from gateway.addresses import text_of
from gateway.ring import Ring, Way, ring_for

logger = structlog.get_logger()

FEW_BYTES: Final = 2 * 1024
"""Read of each connection; nearly all have less to say."""

PLACES: Final = 1024
"""Connections read with one system call."""
PLACE_BYTES: Final = FEW_BYTES + 64
"""Memory of each of them. No power of two, whose places would all meet in the same lines of the cache."""

RING_PAYS: Final = 64
"""From so many connections on, one call for all is cheaper than one for each."""

MANY_BYTES: Final = 256 * 1024
"""Read besides of one that has more. What is still with the system when a link is reset is lost."""

READY_AT_ONCE: Final = 4096
"""Connections read in one go; then the loop looks at the rest of its work."""

ACCEPTED_AT_ONCE: Final = 256
"""Then those that are connected have their turn."""

REST_S: Final = 1.0
"""After the system had no descriptor or memory left, nothing is accepted for so long."""

EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""Faults of the whole system, not of the connection that was to be accepted."""

_IN: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLPRI
_OUT: Final = select.EPOLLOUT
_MORE: Final = select.EPOLLIN
"""What the poll tells when there is something to read and nothing else."""
_SHORT: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI
"""The end of a connection, and TCP's urgent data, are told only once, and a read stops in front of them: that
it gave less than it might does not mean that nothing is left.
"""


class Connection(asyncio.Transport):
    """One connection, as its protocol sees it."""

    __slots__ = (
        "_descriptor",
        "_is_closing",
        "_is_full",
        "_limit",
        "_own",
        "_sockets",
        "_takes",
        "_unsent",
        "_wanted",
        "protocol",
        "straight",
    )

    def __init__(self, sockets: "Sockets", own: socket.socket, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self._sockets = sockets
        self._own = own
        self._descriptor = self.straight = own.fileno()
        """The second is -1 while what is written cannot go to the system at once."""
        self._wanted = 0
        """What the poll tells about it."""
        self._unsent: bytearray | None = None
        """What the system did not take yet."""
        self._limit = 0
        """More than this is too much to be unsent: the protocol is told."""
        self._is_full = False
        self._is_closing = False
        self._takes = True
        """What is written may arrive."""

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.straight < 0:
            if self._takes:
                self._keep(data)
            return
        corked = self._sockets.corked
        if corked is not None:
            corked[self] = corked[self] + data if self in corked else bytes(data)
            return
        try:
            sent = os.write(self.straight, data)
        except OSError as error:
            sent = -(error.errno or errno.EIO)
        if sent < len(data):
            self.sent(data, sent)

    def sent(self, data: bytes | bytearray | memoryview, sent: int) -> None:
        """Take note that the system did not take all of `data`, but so many bytes, or of the error's number,
        negative.
        """
        if sent >= 0 or -sent == errno.EAGAIN:
            self._keep(data[max(sent, 0) :])
            return
        self._takes, self.straight = False, -1
        if not self.is_reading():  # else what it sent before is read, and then its end
            self.end(OSError(-sent, os.strerror(-sent)))

    def _keep(self, data: bytes | bytearray | memoryview) -> None:
        """Send it when there is room."""
        if self._unsent is None:
            self._unsent, self.straight = bytearray(), -1
            self._want(self._wanted | _OUT)
        self._unsent += data
        if not self._is_full and len(self._unsent) > self._limit:
            self._is_full = True
            self.protocol.pause_writing()

    def send_rest(self) -> None:
        """Send what was kept, now that there is room."""
        if self._unsent is None:
            return
        try:
            del self._unsent[: os.write(self._descriptor, self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._takes = False
            self._unsent.clear()
        rest = len(self._unsent)
        if not rest:
            self._unsent = None
            self._want(self._wanted & ~_OUT)
            if self._is_closing:
                self.end(None)
            elif self._takes:
                self.straight = self._descriptor
        if self._is_full and rest <= self._limit // 4:
            self._is_full = False
            self.protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._limit = high or 0

    def get_write_buffer_size(self) -> int:
        return len(self._unsent or b"")

    # Reading.

    def is_reading(self) -> bool:
        return bool(self._wanted & _MORE)

    def pause_reading(self) -> None:
        if not self._is_closing:
            self._want(self._wanted & ~_IN)

    def resume_reading(self) -> None:
        if not self._is_closing:
            self._want(self._wanted | _IN)

    def look_again(self) -> None:
        """Have the poll tell once more what is there."""
        if self._wanted:
            self._sockets.watch(self._descriptor, self._wanted, self._wanted)

    # Ending.

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Send what is unsent, then close."""
        if self._is_closing:
            return
        self._sockets.send_corked()
        self._is_closing, self._takes, self.straight = True, False, -1
        if self._unsent is None:
            self.end(None)
        else:
            self._want(_OUT)

    def abort(self) -> None:
        self.end(None)

    def end(self, error: OSError | None) -> None:
        """Close at once; the protocol is told in a moment, as it may be what calls."""
        self._is_closing, self._takes, self.straight = True, False, -1
        if self._descriptor >= 0:
            self._want(0)
            self._sockets.forget(self._descriptor)
            self._descriptor, self._unsent = -1, None
            asyncio.get_running_loop().call_soon(self._ended, error)

    def _ended(self, error: OSError | None) -> None:
        self._own.close()
        self.protocol.connection_lost(error)

    def _want(self, wanted: int) -> None:
        """Have the poll tell about these events. It tells of the end whoever asks."""
        if wanted != self._wanted:
            self._sockets.watch(self._descriptor, self._wanted, wanted)
            self._wanted = wanted

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return self._own
        if name == "peername":
            return self._own.getpeername()
        return default


class Sockets:
    """All connections of one process, and the sockets that accept them."""

    def __init__(self, io_uring: Way = "auto") -> None:
        """Begin with none.

        Raises:
            OSError: a ring must be used, and there is none.
        """
        self._loop = asyncio.get_running_loop()
        self._ring = ring_for(io_uring)
        self._poll = select.epoll()
        self._connections: list[Connection | None] = []
        """By descriptor: the system always gives the lowest that is free."""
        self._protocols: list[asyncio.Protocol | None] = []
        """Theirs: for each report one object less is looked at."""
        self._buffer = bytearray(PLACES * PLACE_BYTES if self._ring else 0)
        self._places = _address_of(self._buffer) + np.arange(PLACES, dtype=np.uint64) * PLACE_BYTES
        self.corked: dict[Connection, bytes] | None = None
        """What is to be sent together; None while everything is sent at once."""
        self._listening: list[socket.socket] = []
        self._loop.add_reader(self._poll.fileno(), self._look)

    def listen(self, own: socket.socket, make: Callable[[str], asyncio.Protocol]) -> None:
        """Accept on a socket that listens; `make` gives the protocol for the address that connected."""
        self._listening.append(own)
        self._loop.add_reader(own, self._accept, own, make)

    def attach(self, own: socket.socket, protocol: asyncio.Protocol) -> None:
        """Serve a connection. `own` does not block and belongs to it from now on."""
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # what is urgent is read as all else
        connection = Connection(self, own, protocol)
        descriptor = own.fileno()
        more = [None] * (descriptor + 1 - len(self._connections))
        self._connections += more
        self._protocols += more
        self._connections[descriptor], self._protocols[descriptor] = connection, protocol
        protocol.connection_made(connection)
        connection.resume_reading()

    @property
    def has_ring(self) -> bool:
        """Many connections are read and written with one call."""
        return self._ring is not None

    def stop_listening(self) -> None:
        """Accept no more."""
        for own in self._listening:
            self._loop.remove_reader(own)
            own.close()
        self._listening.clear()

    def close(self) -> None:
        """Stop, when all connections are closed."""
        self.stop_listening()
        self._loop.remove_reader(self._poll.fileno())
        self._poll.close()
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Gather what is written to all connections in this block, and send it with one system call."""
        if self._ring is not None:
            self.corked = {}
        try:
            yield
        finally:
            self.send_corked()

    def send_corked(self) -> None:
        """Send what was gathered, and gather no more."""
        corked, self.corked = self.corked, None
        if not corked:
            return
        if self._ring is None or len(corked) < RING_PAYS:
            for connection, data in corked.items():
                connection.write(data)
            return
        descriptors = np.array([connection.straight for connection in corked], np.int32)
        lengths = np.fromiter(map(len, corked.values()), np.uint32, len(corked))
        wire = b"".join(corked.values())
        sent = self._ring.send(descriptors, _address_of(wire), lengths)
        connections = list(corked)
        for index in (sent != lengths).nonzero()[0].tolist():
            connection = connections[index]
            if connection.straight >= 0:
                connection.sent(corked[connection], int(sent[index]))

    def watch(self, descriptor: int, before: int, wanted: int) -> None:
        """Change what the poll tells about. It tells once what is new, and whatever is there after a change:
        else the system would look at each connection a second time, only to find that it was read.
        """
        if not before:
            self._poll.register(descriptor, wanted | select.EPOLLET)
        elif not wanted:
            self._poll.unregister(descriptor)
        else:
            self._poll.modify(descriptor, wanted | select.EPOLLET)

    def forget(self, descriptor: int) -> None:
        """Tell nobody any more what comes there."""
        self._connections[descriptor] = self._protocols[descriptor] = None

    def _look(self) -> None:
        """Read all connections that have something, and write to those that have room again."""
        found = self._poll.poll(0, READY_AT_ONCE)
        if self._ring is not None and len(found) >= RING_PAYS:
            self._look_at_many(self._ring, found)
            return
        protocols, read = self._protocols, os.read
        for descriptor, events in found:
            protocol = protocols[descriptor]
            if protocol is None:
                continue  # what came from another one has ended it
            if events != _MORE:
                self._of(descriptor).send_rest()
                self._read_rest(descriptor, to_the_end=bool(events & _SHORT))
                continue
            try:
                data = read(descriptor, FEW_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                self._of(descriptor).end(error)
                continue
            try:
                if data:
                    protocol.data_received(data)
            except Exception as error:
                self._mistaken(descriptor, error)
            else:
                if len(data) == FEW_BYTES:
                    self._read_rest(descriptor, to_the_end=False)

    def _look_at_many(self, ring: Ring, found: list[tuple[int, int]]) -> None:
        """Do as `_look`, with one system call for `PLACES` connections."""
        protocols, buffer = self._protocols, self._buffer
        for begin in range(0, len(found), PLACES):
            some = np.array(found[begin : begin + PLACES], np.int32)
            is_plain = some[:, 1] == _MORE
            descriptors = some[is_plain, 0]
            counts = ring.receive(descriptors, self._places[: len(descriptors)], FEW_BYTES)
            at = 0
            for descriptor, count in zip(descriptors.tolist(), counts.tolist(), strict=True):
                protocol = protocols[descriptor]
                if protocol is None:
                    pass  # what came from another one has ended it
                elif count > 0:
                    try:
                        protocol.data_received(bytes(buffer[at : at + count]))
                    except Exception as error:
                        self._mistaken(descriptor, error)
                    if count == FEW_BYTES:
                        self._read_rest(descriptor, to_the_end=False)
                elif count == -errno.EAGAIN:
                    self._read_rest(descriptor, to_the_end=False)  # the ring may have passed it over
                elif count < 0:
                    self._of(descriptor).end(OSError(-count, os.strerror(-count)))
                at += PLACE_BYTES
            for descriptor, events in some[~is_plain].tolist():
                if protocols[descriptor] is not None:
                    self._of(descriptor).send_rest()
                    self._read_rest(descriptor, to_the_end=bool(events & _SHORT))

    def _read_rest(self, descriptor: int, *, to_the_end: bool) -> None:
        """Read what more a connection has; `to_the_end`, until the system says that there is nothing."""
        while (connection := self._connections[descriptor]) and connection.is_reading():
            try:
                data = os.read(descriptor, MANY_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                connection.end(error)
                return
            if not data:
                connection.close()
                return
            try:
                connection.protocol.data_received(data)
            except Exception as error:
                self._mistaken(descriptor, error)
            if len(data) == MANY_BYTES:
                connection.look_again()
                return
            if not to_the_end:
                return

    def _of(self, descriptor: int) -> Connection:
        connection = self._connections[descriptor]
        assert connection is not None
        return connection

    def _mistaken(self, descriptor: int, error: Exception) -> None:
        """A mistake of a protocol costs its own connection."""
        connection = self._connections[descriptor]
        self._loop.call_exception_handler(
            {"message": "connection not read", "exception": error, "transport": connection}
        )
        if connection is not None:
            connection.abort()

    def _accept(self, own: socket.socket, make: Callable[[str], asyncio.Protocol]) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, peername = own.accept()
            except BlockingIOError:
                return
            except OSError as error:  # of the connection, which is gone then, or of the whole system
                if error.errno in EXHAUSTED:
                    logger.error("connections wait", error=error.strerror)
                    self._loop.remove_reader(own)
                    self._loop.call_later(REST_S, self._accept_again, own, make)
                    return
                continue
            connection.setblocking(False)
            self.attach(connection, make(text_of(peername)))

    def _accept_again(self, own: socket.socket, make: Callable[[str], asyncio.Protocol]) -> None:
        if own in self._listening:
            self._loop.add_reader(own, self._accept, own, make)


def _address_of(data: bytes | bytearray) -> int:
    return int(np.frombuffer(data, np.uint8).ctypes.data) if data else 0
