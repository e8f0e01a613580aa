"""Connections of HTTPS until their TLS handshake is done. They have their place from the first packet on, and
as long for the handshake as for a header.
"""

import asyncio
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitor.connections import Config, Http


class Handshake(asyncio.Protocol):
    """One connection, until it is an `Http`. In its place it stands for the transport that it has not yet."""

    def __init__(self, config: "Config", make: "type[Http]", **more: Any) -> None:
        """What `make` is made of, with `config`, is in `more`."""
        self._config = config
        self._make = make
        self._more = more

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._peername = transport.get_extra_info("peername")
        # uvloop reads on whatever we say here, and only a connection of which nothing was read can shake
        # hands: so we take the socket away from this transport and give it to another.
        try:
            connection = transport.get_extra_info("socket").dup()
        except OSError:  # too many open files
            return
        finally:
            transport.abort()
        connection.setblocking(False)
        self._task = asyncio.create_task(self._shake_hands(connection))
        self._config.connections.shake_hands(self, asyncio.get_running_loop().time())

    async def _shake_hands(self, connection: socket.socket) -> None:
        assert self._config.certificate is not None
        http = self._make(config=self._config, **self._more)
        http.handshake = self
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: http, connection, ssl=self._config.certificate.context
            )
        except BaseException as error:
            self._config.connections.leave(self)
            connection.close()
            if not isinstance(error, OSError):  # it is none, it took too long, or the other side went
                raise

    def abort(self) -> None:
        """End it."""
        self._task.cancel()

    def is_closing(self) -> bool:
        return self._task.done()

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._peername if name == "peername" else default
