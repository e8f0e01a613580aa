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
from collections.abc import Callable
from typing import Any, Final

import structlog

from gateway.addresses import text_of

logger = structlog.get_logger()

FEW_BYTES: Final = 4 * 1024
"""Read of each connection; nearly all have less to say."""

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

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT


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
    )

    def __init__(self, sockets: "Sockets", own: socket.socket, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self._sockets = sockets
        self._own = own
        self._descriptor = own.fileno()
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
        if not self._takes:
            return
        sent = 0
        if self._unsent is None:
            try:
                sent = os.write(self._descriptor, data)
            except BlockingIOError:
                pass
            except OSError as error:
                self._takes = False
                if not self.is_reading():  # else what it sent before is read, and then its end
                    self.end(error)
                return
            if sent == len(data):
                return
            self._unsent = bytearray()
            self._want(self._wanted | _OUT)
        self._unsent += data[sent:]
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
        if self._is_full and rest <= self._limit // 4:
            self._is_full = False
            self.protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._limit = high or 0

    def get_write_buffer_size(self) -> int:
        return len(self._unsent or b"")

    # Reading.

    def is_reading(self) -> bool:
        return bool(self._wanted & _IN)

    def pause_reading(self) -> None:
        if not self._is_closing:
            self._want(self._wanted & ~_IN)

    def resume_reading(self) -> None:
        if not self._is_closing:
            self._want(self._wanted | _IN)

    # Ending.

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Send what is unsent, then close."""
        if self._is_closing:
            return
        self._is_closing, self._takes = True, False
        if self._unsent is None:
            self.end(None)
        else:
            self._want(_OUT)

    def abort(self) -> None:
        self.end(None)

    def end(self, error: OSError | None) -> None:
        """Close at once; the protocol is told in a moment, as it may be what calls."""
        self._is_closing, self._takes = True, False
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

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._poll = select.epoll()
        self._connections: list[Connection | None] = []
        """By descriptor: the system always gives the lowest that is free."""
        self._listening: list[socket.socket] = []
        self._loop.add_reader(self._poll.fileno(), self._look)

    def listen(self, own: socket.socket, make: Callable[[str], asyncio.Protocol]) -> None:
        """Accept on a socket that listens; `make` gives the protocol for the address that connected."""
        self._listening.append(own)
        self._loop.add_reader(own, self._accept, own, make)

    def attach(self, own: socket.socket, protocol: asyncio.Protocol) -> None:
        """Serve a connection. `own` does not block and belongs to it from now on."""
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, own, protocol)
        descriptor = own.fileno()
        self._connections += [None] * (descriptor + 1 - len(self._connections))
        self._connections[descriptor] = connection
        protocol.connection_made(connection)
        connection.resume_reading()

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

    def watch(self, descriptor: int, before: int, wanted: int) -> None:
        """Change what the poll tells about."""
        if not before:
            self._poll.register(descriptor, wanted)
        elif not wanted:
            self._poll.unregister(descriptor)
        else:
            self._poll.modify(descriptor, wanted)

    def forget(self, descriptor: int) -> None:
        """Tell nobody any more what comes there."""
        self._connections[descriptor] = None

    def _look(self) -> None:
        """Read all connections that have something, and write to those that have room again."""
        connections, read = self._connections, os.read
        for descriptor, events in self._poll.poll(0, READY_AT_ONCE):
            connection = connections[descriptor]
            if connection is None:
                continue  # what came from another one has ended it
            if events != _IN:
                connection.send_rest()
                if not connection.is_reading():
                    continue
            try:
                data = read(descriptor, FEW_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                connection.end(error)
                continue
            if len(data) == FEW_BYTES:
                data += _more(descriptor)
            if data:
                try:
                    connection.protocol.data_received(data)
                except Exception as error:
                    self._mistaken(connection, error)
            else:
                connection.close()

    def _mistaken(self, connection: Connection, error: Exception) -> None:
        """A mistake of a protocol costs its own connection."""
        self._loop.call_exception_handler(
            {"message": "connection not read", "exception": error, "transport": connection}
        )
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


def _more(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, MANY_BYTES)
    except OSError:  # there is no more, or the next read will find the fault
        return b""
