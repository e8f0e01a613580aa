"""Where terminals come in: the sockets that listen.

One server for each address. We bind ourselves, because asyncio can neither listen on IPv4 and IPv6 with one
socket nor give several addresses the same free port.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

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
    """Bind one socket to each address, all to the same port; 0 takes one that is free.

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
    except OSError:
        own.close()
        raise
    return own


class Listening:
    """The servers of one gateway process."""

    def __init__(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """`factory` makes what receives a connection."""
        self._factory = factory
        self._servers: list[asyncio.Server] = []

    async def open(self, hosts: Sequence[str], port: int, *, reuse_port: bool = False) -> None:
        """Listen.

        Raises:
            OSError: an address cannot be used.
        """
        loop = asyncio.get_running_loop()
        for each in bind(hosts, port, reuse_port=reuse_port):
            self._servers.append(await loop.create_server(self._factory, sock=each, backlog=BACKLOG))

    @property
    def port(self) -> int:
        """The port for plain TCP."""
        return int(self._servers[0].sockets[0].getsockname()[1])

    def close(self) -> None:
        """Accept no more. Links stay."""
        for server in self._servers:
            server.close()
