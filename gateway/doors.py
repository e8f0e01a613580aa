"""Connections that have something to say before they are links: a balancer's header, a TLS handshake.

Plain TCP without balancers does not pass here: its links are made by `gateway.sockets`. A door accepts on
its own, reads the header so that not a byte behind it is taken (it looks at what has come, then takes what
belongs to the header), and hands the socket to the loop, which does the handshake. So both may be combined.
"""

import asyncio
import socket
import ssl
from typing import Any, Final

import structlog

from gateway.addresses import Addresses, Network, host_of, text_of
from gateway.certificates import Certificate
from gateway.links import Inbox, Link
from gateway.proxy import MAX_HEADER, Header, ProxyError, read_header
from gateway.sockets import EXHAUSTED, REST_S

logger = structlog.get_logger()

HEADER_S: Final = 5.0
"""A balancer sends its header with the first packet; this is three retransmissions of it."""

HANDSHAKE_S: Final = 20.0
"""A handshake is two round trips and some 5 KB: a few seconds over GPRS."""

ACCEPTED_AT_ONCE: Final = 8
"""Then links have their turn: a handshake takes one or two milliseconds of the processor, and a fleet that
comes back must not make the others wait for all of it.
"""

MAX_PENDING: Final = 4096
"""More connections than this are not accepted before others are through: they wait in the backlog."""


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
            if len(self._pending) >= MAX_PENDING:
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
            await self._make_link(connection, source)

    async def _source(self, connection: socket.socket, peer: str) -> str:
        """Say who connected; what a balancer says counts."""
        host = host_of(peer)
        if host is None or not any(host in network for network in self._balancers):
            return peer
        return (await take_header(connection)).source or peer

    async def _make_link(self, connection: socket.socket, peer: str) -> None:
        link = Link(self._inbox, peer)
        if not self._addresses.admit(link, self._loop.time()):
            connection.close()
            return
        secure: dict[str, Any] = {}
        if self._certificate is not None:
            secure = {"ssl": self._certificate.context, "ssl_handshake_timeout": HANDSHAKE_S}
        try:
            await self._loop.connect_accepted_socket(lambda: link, connection, **secure)
        except BaseException as error:
            self._addresses.leave(link)
            if not isinstance(error, OSError):
                connection.close()
                raise
            self._refuse(connection, _reason(error))

    def _refuse(self, connection: socket.socket, reason: str) -> None:
        self._addresses.refuse(reason)
        connection.close()


def _reason(error: OSError) -> str:
    """Say why a handshake failed. uvloop's time-out is an aborted connection with a text."""
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


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
