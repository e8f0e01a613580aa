"""Connections of HTTPS until their TLS handshake is done. They have their place from the first packet on, and
as long for the handshake as for a header.
"""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitor.connections import Config, Http


class Handshake(asyncio.Protocol):
    """One connection, until it is an `Http`."""

    def __init__(self, config: "Config", make: "type[Http]", **more: Any) -> None:
        """What `make` is made of, with `config`, is in `more`."""
        self._config = config
        self._make = make
        self._more = more
        self._early = b""
        """What came with the end of the handshake."""
        self._is_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.pause_reading()  # the first byte is the handshake's
        self._config.connections.shake_hands(transport, asyncio.get_running_loop().time())
        self._task = asyncio.create_task(self._shake_hands(transport))

    def data_received(self, data: bytes) -> None:
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        connections, certificate = self._config.connections, self._config.certificate
        assert certificate is not None
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(transport, self, certificate.context, server_side=True)
        except OSError:  # it is none, it took too long, or the other side went
            connections.leave(transport)
            transport.abort()
            return
        assert secured is not None
        if self._is_over:
            connections.leave(transport)
            return
        connections.secure(transport, secured, loop.time())
        http = self._make(config=self._config, **self._more)
        secured.set_protocol(http)
        http.connection_made(secured)
        if self._early:
            http.data_received(self._early)
