"""The connections of page and API: how many there may be, and for how long one may keep us waiting.

uvicorn waits without end for a header that does not come to its end, for the rest of a body, and for a client
to take its answer. Here a connection that we **await** has a time for it, and where places are short, the one
that has been silent for longest makes room for the one that comes. A connection for which we work, and a
WebSocket, which has its own signs of life, goes only by itself.

    server = Server(create_app(options), ConnectionLimits(), host=…, port=…)
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, TypeAlias

import h11
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.addresses import LOOPBACK, Network, host_of, subscriber, text_of
from gateway.certificates import Certificate
from monitor.handshakes import Handshake

HEADER_S: Final = 10.0
"""A request's header comes within this time, and so does the next request of a connection that is kept."""
GRACE_S: Final = 20.0
"""A body may take so long to come, and an answer to be taken, and then as long as it takes at …"""
LEAST_BYTES_PER_S: Final = 16 * 1024
"""… this rate, which the worst mobile link has."""
MAX_HEADER: Final = 16 * 1024
"""Bytes; the longest address of ours has a polygon of 500 corners in it."""
MAX_SAID: Final = 1024
"""Bytes of a message over a WebSocket: viewers have nothing to say."""
SWEEP_TICKS: Final = 10
"""uvicorn's ticks, of a tenth of a second each, from one look at all connections to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections there may be."""

    together: int = 4000
    """500 viewers with all that a browser opens besides."""
    per_address: int = 500
    """A control room of 70 people behind one router."""
    exempt: tuple[Network, ...] = LOOPBACK
    """Only the limit of all together holds for these: this machine, proxies through which everybody comes."""


class Awaited(Enum):
    """What a connection keeps us waiting for."""

    HANDSHAKE = "handshake"
    HEADER = "header"
    BODY = "body"
    READING = "reading"
    """That it takes its answer."""


Carrier: TypeAlias = asyncio.Transport | Handshake


class Guest:
    """One connection."""

    __slots__ = ("awaited", "place", "since", "size", "transport")

    def __init__(self, transport: Carrier, place: "Place | None") -> None:
        self.transport = transport
        self.place = place
        self.awaited: Awaited | None = None
        self.since = 0.0
        """When we began to await it."""
        self.size = 0
        """Bytes of the body that have come; or those of the answer that were to be taken at the beginning."""

    def is_late(self, now: float) -> bool:
        """Has it kept us waiting for longer than it may?"""
        waited_s = now - self.since
        match self.awaited:
            case Awaited.HANDSHAKE | Awaited.HEADER:
                return waited_s > HEADER_S
            case Awaited.BODY:
                return waited_s > GRACE_S + self.size / LEAST_BYTES_PER_S
            case Awaited.READING:
                taken = self.size - self.transport.get_write_buffer_size()
                return waited_s > GRACE_S + taken / LEAST_BYTES_PER_S
        return False


class Place:
    """What one address has."""

    __slots__ = ("count", "silent")

    def __init__(self) -> None:
        self.count = 0
        self.silent: OrderedDict[Guest, None] = OrderedDict()
        """Those that we await, the one that was heard last at the end."""


class Connections:
    """All connections."""

    def __init__(self, limits: ConnectionLimits, registry: CollectorRegistry) -> None:
        """`registry` is where Prometheus sees how many there are, and how many we ended."""
        self._limits = limits
        self._guests: dict[Carrier, Guest] = {}
        self._places: dict[bytes, Place] = {}
        self._silent: OrderedDict[Guest, None] = OrderedDict()
        gauge = Gauge("northwatch_connections", "Connections of page and API", registry=registry)
        gauge.set_function(lambda: len(self))
        self._ended = Counter(
            "northwatch_connections_ended", "Those ended or not let in", ["reason"], registry=registry
        )

    def __len__(self) -> int:
        return len(self._guests)

    def enter(self, transport: Carrier, now: float) -> None:
        """Give a new connection its place, or end it where there is none. `now` is the loop's clock."""
        place = self._place(text_of(transport.get_extra_info("peername")))
        if place is not None and place.count >= self._limits.per_address:
            is_admitted = self._make_room(place.silent)
        else:
            is_admitted = len(self._guests) < self._limits.together or self._make_room(self._silent)
        if not is_admitted:
            self._ended.labels("no_place").inc()
            transport.abort()
            return
        if place is not None:
            place.count += 1
        guest = self._guests[transport] = Guest(transport, place)
        self._await(guest, Awaited.HEADER, now)

    def shake_hands(self, handshake: Handshake, now: float) -> None:
        """Give a connection its place that begins with a handshake, or end it where there is none."""
        self.enter(handshake, now)
        self.heard(handshake, Awaited.HANDSHAKE, 0, now)

    def secure(self, handshake: Handshake, secured: asyncio.Transport, now: float) -> None:
        """Take note that a handshake is done: `secured` has its place from now on."""
        guest = self._guests.pop(handshake, None)
        if guest is None:  # it had to go meanwhile
            secured.abort()
            return
        guest.transport = secured
        self._guests[secured] = guest
        self._await(guest, Awaited.HEADER, now)

    def heard(self, transport: Carrier, awaited: Awaited | None, size: int, now: float) -> None:
        """Take note that something came or went on a connection, and of what we await of it now; `size` bytes
        of a body came.
        """
        guest = self._guests.get(transport)
        if guest is None:
            return
        if guest.awaited is not awaited:
            self._await(guest, awaited, now)
        elif awaited is not None:
            self._silent.move_to_end(guest)
            if guest.place is not None:
                guest.place.silent.move_to_end(guest)
        if awaited is Awaited.BODY:
            guest.size += size

    def leave(self, transport: Carrier) -> None:
        """Take the place back."""
        guest = self._guests.pop(transport, None)
        if guest is None:
            return
        self._await(guest, None, 0.0)
        if guest.place is not None:
            guest.place.count -= 1

    def sweep(self, now: float) -> None:
        """End those that kept us waiting for too long, and forget addresses that have gone."""
        for guest in list(self._guests.values()):
            if guest.awaited is not Awaited.READING and guest.transport.is_closing():
                self._await(guest, Awaited.READING, now)
            if guest.awaited is not None and guest.is_late(now):
                self._end(guest, f"late_{guest.awaited.value}")
        self._places = {key: place for key, place in self._places.items() if place.count}

    def _make_room(self, silent: "OrderedDict[Guest, None]") -> bool:
        """End the one that has been silent for longest, if there is one."""
        if not silent:
            return False
        self._end(next(iter(silent)), "for_another")
        return True

    def _end(self, guest: Guest, reason: str) -> None:
        self._ended.labels(reason).inc()
        self.leave(guest.transport)
        guest.transport.abort()

    def _await(self, guest: Guest, awaited: Awaited | None, now: float) -> None:
        guest.awaited, guest.since = awaited, now
        guest.size = guest.transport.get_write_buffer_size() if awaited is Awaited.READING else 0
        for silent in (self._silent, guest.place.silent if guest.place is not None else None):
            if silent is None:
                continue
            silent.pop(guest, None)
            if awaited is not None:
                silent[guest] = None

    def _place(self, peer: str) -> Place | None:
        address = host_of(peer)
        if address is None or any(address in network for network in self._limits.exempt):
            return None
        return self._places.setdefault(subscriber(address), Place())


class Config(uvicorn.Config):
    """uvicorn's settings, and the connections."""

    connections: Connections
    certificate: Certificate | None = None
    """For HTTPS."""


class Http(H11Protocol):
    """One connection, until it becomes a WebSocket."""

    config: Config
    handshake: Handshake | None = None
    is_upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.handshake is None:
            self.config.connections.enter(transport, self.loop.time())
        else:
            self.config.connections.secure(self.handshake, transport, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.config.connections.leave(self.transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._heard(len(data))

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self.is_upgraded = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._heard()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._heard()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._heard()

    def _heard(self, size: int = 0) -> None:
        self.config.connections.heard(self.transport, self._awaited(), size, self.loop.time())

    def _awaited(self) -> Awaited | None:
        if self.is_upgraded:
            return None
        if self.flow.write_paused or self.transport.is_closing():
            return Awaited.READING
        match self.conn.their_state:
            case h11.IDLE:
                return Awaited.HEADER
            case h11.SEND_BODY:
                return Awaited.BODY
        return None


class Viewing(WebSocketsSansIOProtocol):
    """One connection that has become a WebSocket."""

    config: Config

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.config.connections.leave(self.transport)


class Server(uvicorn.Server):
    """Serves the monitor's application."""

    def __init__(
        self,
        app: FastAPI,
        limits: ConnectionLimits,
        *,
        host: str,
        port: int,
        certificate: Certificate | None = None,
    ) -> None:
        """With a `certificate` all connections are HTTPS."""
        first: Any = Http if certificate is None else partial(Handshake, make=Http)
        config = Config(
            app,
            host=host,
            port=port,
            http=first,
            ws=Viewing,
            ws_max_size=MAX_SAID,
            h11_max_incomplete_event_size=MAX_HEADER,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whom to believe is `monitor.proxies`' to say
            timeout_graceful_shutdown=5,
        )
        self.connections = config.connections = Connections(limits, app.state.center.metrics.registry)
        self._certificate = config.certificate = certificate
        super().__init__(config)

    async def on_tick(self, counter: int) -> bool:
        """Do what is done each tenth of a second."""
        if counter % SWEEP_TICKS == 0:
            self.connections.sweep(asyncio.get_running_loop().time())
            if self._certificate is not None:
                self._certificate.refresh()
        return await super().on_tick(counter)
