"""Where terminals come in: the sockets that listen, for TCP, for TLS, and for UDP.

One for each address. We bind ourselves, because asyncio can neither listen on IPv4 and IPv6 with one
socket nor give several addresses the same free port.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final

from prometheus_client.core import Metric

from gateway.addresses import Addresses, Network
from gateway.certificates import Certificate
from gateway.datagrams import Datagrams
from gateway.doors import Door
from gateway.links import Inbox, Link
from gateway.metrics import counter, counters, gauge
from gateway.ring import Way
from gateway.sockets import Sockets

BACKLOG: Final = 4096
"""Connections that wait to be accepted: a fleet that comes back all at once after an outage."""

ANY_IPV6: Final = "::"


def bind(
    hosts: Sequence[str],
    port: int,
    *,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    reuse_port: bool = False,
) -> list[socket.socket]:
    """Bind one socket to each address, all to the same port; 0 takes one that is free. TCP listens then.

    `::` serves IPv4 as well, unless an IPv4 address stands beside it. With `reuse_port` other processes may
    bind the same, and the kernel divides the connections among them.

    Raises:
        OSError: an address cannot be used; its text names it.
    """
    bound: list[socket.socket] = []
    try:
        for host in dict.fromkeys(hosts):
            only_ipv6 = host != ANY_IPV6 or any(":" not in other for other in hosts)
            bound.append(_bound(host, port, kind, (only_ipv6, reuse_port)))
            port = port or bound[0].getsockname()[1]
    except OSError as error:
        for each in bound:
            each.close()
        raise OSError(error.errno, f"{host} port {port} cannot be listened on: {error.strerror}") from None
    return bound


def _bound(host: str, port: int, kind: socket.SocketKind, how: tuple[bool, bool]) -> socket.socket:
    only_ipv6, reuse_port = how
    family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
    own = socket.socket(family, kind)
    try:
        if kind is socket.SOCK_STREAM:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is socket.AF_INET6:
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_ipv6))
        own.setblocking(False)
        own.bind(address)
        if kind is socket.SOCK_STREAM:
            own.listen(BACKLOG)
    except OSError:
        own.close()
        raise
    return own


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where to listen."""

    hosts: Sequence[str]
    tcp: int
    tls: int | None = None
    udp: int | None = None
    reuse: bool = False
    """Whether other gateway processes listen on the same."""
    balancers: tuple[Network, ...] = ()
    """Connections from there, plain or TLS, begin with a PROXY header."""
    io_uring: Way = "auto"


class Listening:
    """All sockets of one gateway process that listen."""

    def __init__(self, inbox: Inbox, addresses: Addresses, certificate: Certificate | None = None) -> None:
        """`certificate` is for the port of TLS."""
        self._inbox = inbox
        self._addresses = addresses
        self._certificate = certificate
        self._sockets: Sockets | None = None
        self._doors: list[Door] = []
        self.ports: dict[str, int] = {}
        """What was taken, of `tcp`, `tls` and `udp`."""
        self.datagrams: list[Datagrams] = []

    async def open(self, ports: Ports) -> None:
        """Listen.

        Raises:
            OSError: an address cannot be used, or not in the way that is wanted. Nothing is listened on then.
        """
        try:
            await self._open(ports)
        except BaseException:
            self.close()
            self.end()
            raise

    async def _open(self, ports: Ports) -> None:
        self._sockets = Sockets(ports.io_uring)
        for each in self._bind(ports, "tcp", ports.tcp):
            if ports.balancers:
                self._open_door(each, ports, None)
            else:
                self._sockets.listen(each, partial(Link, self._inbox))
        if ports.tls is not None:
            for each in self._bind(ports, "tls", ports.tls):
                self._open_door(each, ports, self._certificate)
        if ports.udp is not None:
            for each in self._bind(ports, "udp", ports.udp):
                endpoint = asyncio.get_running_loop().create_datagram_endpoint(
                    partial(Datagrams, self._inbox), sock=each
                )
                self.datagrams.append((await endpoint)[1])

    def _bind(self, ports: Ports, name: str, port: int) -> list[socket.socket]:
        kind = socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM
        bound = bind(ports.hosts, port, kind=kind, reuse_port=ports.reuse)
        self.ports[name] = int(bound[0].getsockname()[1])
        return bound

    def _open_door(self, own: socket.socket, ports: Ports, certificate: Certificate | None) -> None:
        door = Door(own, self._inbox, self._addresses, balancers=ports.balancers, certificate=certificate)
        self._doors.append(door)
        door.open()

    @property
    def pending(self) -> int:
        """Connections that are no links yet."""
        return sum(map(len, self._doors))

    @property
    def has_ring(self) -> bool:
        """Plain connections are read and written with io_uring."""
        return self._sockets is not None and self._sockets.has_ring

    def metrics(self) -> Iterator[Metric]:
        """Give the figures of sockets, certificate and datagrams, where there are any."""
        yield gauge("io_uring", "1 while plain connections are read and written together", self.has_ring)
        if self._certificate is not None:
            expires = self._certificate.expires.timestamp()
            yield gauge("certificate_expires", "End of the certificate, seconds since 1970", expires)
            yield gauge("certificate_fault", "1 while a newer one is no use", bool(self._certificate.fault))
        if self.datagrams:
            received = sum(each.received for each in self.datagrams)
            dropped = sum((Counter(each.dropped) for each in self.datagrams), Counter[str]())
            yield counter("datagrams_received", "Datagrams received", received)
            yield counter("datagrams_sent", "Datagrams sent", sum(each.sent for each in self.datagrams))
            yield counters("datagrams_dropped", "Datagrams passed over or not sent", "reason", dropped)
            yield gauge("datagram_peers", "UDP addresses with a link", sum(map(len, self.datagrams)))

    def together(self) -> AbstractContextManager[None]:
        """Send together what is written to plain connections in this block."""
        return nullcontext() if self._sockets is None else self._sockets.together()

    def close(self) -> None:
        """Let nobody in any more. Links stay, and what is answered over UDP still leaves."""
        if self._sockets is not None:
            self._sockets.stop_listening()
        for door in self._doors:
            door.close()
        for datagrams in self.datagrams:
            datagrams.stop_listening()

    def end(self) -> None:
        """Close what UDP peers are answered through, when their links are closed."""
        if self._sockets is not None:
            self._sockets.close()
            self._sockets = None
        for datagrams in self.datagrams:
            datagrams.close()
