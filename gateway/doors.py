"""Connections that have something to say before they are links: a balancer's header, a TLS handshake.

Plain TCP without balancers does not pass here: its links are made by `gateway.sockets`. A door accepts on
its own, reads the header so that not a byte behind it is taken (it looks at what has come, then takes what
belongs to the header), and hands the socket to the loop, which does the handshake. So both may be combined.
"""

import asyncio
import socket
import ssl
from typing import Final

import structlog

from gateway.addresses import Addresses, Network, host_of, text_of
from gateway.certificates import Certificate
from gateway.links import Inbox, Link
from gateway.proxy import MAX_HEADER, Header, ProxyError, read_header
from gateway.sockets import EXHAUSTED, REST_S

logger = structlog.get_logger()

HEADER_S: Final = 5.0
"""A balancer sends its header with the first packet; this is three retransmissions of it."""

HELLO_S: Final = 5.0
"""A terminal begins its handshake with the first packet, as a balancer its header."""

HANDSHAKE_S: Final = 20.0
"""What follows is two round trips and some 5 KB: a few seconds over GPRS."""

HANDSHAKE_RECORD: Final = b"\x16"
SHORTEST_HELLO: Final = 50
"""Bytes of a ClientHello with its record header, RFC 8446 §4.1.2 and §5.1; they come together."""

ACCEPTED_AT_ONCE: Final = 8
"""Then links have their turn: a handshake takes one or two milliseconds of the processor, and a fleet that
comes back must not make the others wait for all of it.
"""

MAX_PENDING: Final = 4096
"""More connections than this are not pending. Then the address that has most of them loses one for each that
comes, so an address with few is let in at once.
"""

MAX_PENDING_OF_ADDRESS: Final = MAX_PENDING // 8
"""Handshakes of one address: five seconds of the connections that it may open by default."""


class Comers:
    """The handshakes of one address, the oldest first."""

    __slots__ = ("_begun", "_silent")

    def __init__(self) -> None:
        self._silent: dict[asyncio.Task[None], None] = {}
        """Of whom nothing has come."""
        self._begun: dict[asyncio.Task[None], None] = {}

    def __len__(self) -> int:
        return len(self._silent) + len(self._begun)

    def add(self, task: "asyncio.Task[None]") -> None:
        self._silent[task] = None

    def begin(self, task: "asyncio.Task[None]") -> None:
        """Take note that a handshake has begun."""
        del self._silent[task]
        self._begun[task] = None

    def remove(self, task: "asyncio.Task[None]") -> None:
        self._silent.pop(task, None)
        self._begun.pop(task, None)

    def first(self) -> "asyncio.Task[None]":
        """Give the one that has to go first: the oldest that is silent, else the oldest."""
        return next(iter(self._silent or self._begun))


class Door:
    """Accepts on one listening socket."""

    def __init__(
        self,
        own: socket.socket,
        inbox: Inbox,
        addresses: Addresses,
        *,
        balancers: tuple[Network, ...] = (),
        certificate: Certificate | None = None,
    ) -> None:
        """`own` listens. Connections from `balancers` must begin with a header; with a `certificate` all
        are TLS."""
        self._own = own
        self._inbox = inbox
        self._addresses = addresses
        self._balancers = balancers
        self._certificate = certificate
        self._loop = asyncio.get_running_loop()
        self._pending: set[asyncio.Task[None]] = set()
        self._comers: dict[bytes, Comers] = {}
        """By address, as far as they have any."""
        self._is_accepting = False
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._pending)

    def open(self) -> None:
        """Accept."""
        self._accept_again()

    def close(self) -> None:
        """Accept no more, and drop who is not a link yet."""
        self._is_closed = True
        self._accept_no_more()
        self._own.close()
        for task in list(self._pending):
            task.cancel()

    def _accept_again(self) -> None:
        if not self._is_closed and not self._is_accepting and len(self._pending) < MAX_PENDING:
            self._is_accepting = True
            self._loop.add_reader(self._own, self._accept)

    def _accept_no_more(self) -> None:
        if self._is_accepting:
            self._is_accepting = False
            self._loop.remove_reader(self._own)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if len(self._pending) >= MAX_PENDING and not self._make_room():
                self._accept_no_more()
                return
            try:
                connection, peername = self._own.accept()
            except BlockingIOError:
                return
            except OSError as error:  # of the connection, which is gone then, or of the whole system
                if error.errno not in EXHAUSTED:
                    continue
                logger.error("connections wait", error=error.strerror)
                self._accept_no_more()
                self._loop.call_later(REST_S, self._accept_again)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._lead_in(connection, text_of(peername)))
            self._pending.add(task)
            task.add_done_callback(self._led_in)

    def _make_room(self) -> bool:
        """Drop a handshake of the address that has most of them, if there is any."""
        most = max(self._comers.values(), key=len, default=None)
        if not most:
            return False
        self._drop(most)
        return True

    def _drop(self, comers: Comers) -> None:
        task = comers.first()
        comers.remove(task)
        self._pending.discard(task)
        task.cancel()
        self._addresses.refuse("tls_crowded")

    def _led_in(self, task: "asyncio.Task[None]") -> None:
        self._pending.discard(task)
        self._accept_again()

    async def _lead_in(self, connection: socket.socket, peer: str) -> None:
        """Make a connection a link, or close it and count why."""
        try:
            async with asyncio.timeout(HEADER_S):
                source = await self._source(connection, peer)
        except ProxyError as error:
            self._refuse(connection, f"proxy_{error.reason}")
        except TimeoutError:
            self._refuse(connection, "proxy_timeout")
        except OSError:
            self._refuse(connection, "proxy_incomplete")
        except asyncio.CancelledError:
            connection.close()
            raise
        else:
            await self._make_link(connection, Link(self._inbox, source or peer, is_told=bool(source)))

    async def _source(self, connection: socket.socket, peer: str) -> str:
        """Give what a balancer says about who connected; empty where nobody says it."""
        host = host_of(peer)
        if host is None or not any(host in network for network in self._balancers):
            return ""
        return (await take_header(connection)).source

    async def _make_link(self, connection: socket.socket, link: Link) -> None:
        if not self._addresses.admit(link, self._loop.time()):
            connection.close()
            return
        try:
            if self._certificate is None:
                await self._loop.connect_accepted_socket(lambda: link, connection)
            else:
                await self._shake_hands(connection, link, self._certificate)
        except BaseException as error:
            self._addresses.leave(link)
            if not isinstance(error, OSError):
                connection.close()
                raise
            self._refuse(connection, _reason(error))

    async def _shake_hands(self, connection: socket.socket, link: Link, certificate: Certificate) -> None:
        """Make a connection a link behind a handshake.

        Raises:
            OSError: of the handshake.
            CancelledError: others go first.
        """
        task = asyncio.current_task()
        assert task is not None and link.place is not None
        key = link.place.key
        comers = self._comers.setdefault(key, Comers())
        if key and len(comers) >= MAX_PENDING_OF_ADDRESS:
            self._drop(comers)
        comers.add(task)
        try:
            async with asyncio.timeout(HELLO_S):
                await _hello(connection)
            comers.begin(task)
            await self._loop.connect_accepted_socket(
                lambda: link, connection, ssl=certificate.context, ssl_handshake_timeout=HANDSHAKE_S
            )
        finally:
            comers.remove(task)
            if not comers and self._comers.get(key) is comers:
                del self._comers[key]

    def _refuse(self, connection: socket.socket, reason: str) -> None:
        self._addresses.refuse(reason)
        connection.close()


def _reason(error: OSError) -> str:
    """Say why a handshake failed. uvloop's time-out is an aborted connection with a text."""
    if isinstance(error, TimeoutError):
        return "tls_timeout"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls_client_certificate"
    if isinstance(error, ssl.SSLError):
        return "tls_handshake"
    return "tls_timeout" if "taking longer" in str(error) else "tls_incomplete"


async def take_header(connection: socket.socket) -> Header:
    """Take a balancer's header off a connection, and nothing behind it.

    Raises:
        ProxyError: what comes is none; `incomplete`: the connection ended before it did.
        OSError: the connection failed.
    """
    taken = b""
    while True:
        await _readable(connection)
        ahead = connection.recv(MAX_HEADER, socket.MSG_PEEK)
        if not ahead:
            raise ProxyError("incomplete")
        header = read_header(taken + ahead)
        taken += connection.recv(len(ahead) if header is None else header.length - len(taken))
        if header is not None:
            return header


async def _hello(connection: socket.socket) -> None:
    """Wait until a handshake begins, or something that is none.

    Raises:
        OSError: the connection failed.
    """
    await _readable(connection)
    if connection.recv(1, socket.MSG_PEEK) == HANDSHAKE_RECORD:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, SHORTEST_HELLO)
        await _readable(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
