"""Terminals that speak UDP: one peer address is one link, and the rest of the gateway sees no difference.

A datagram is one or more whole frames. Its ends are ends of frames: half a frame is rejected with its
datagram and never waits for the next. What a turn answers to a peer leaves as one datagram, or as several
where it is longer than a path is sure to carry.

What follows from there being no connection:

- A peer becomes a link with its first valid frame. Datagrams without any from somebody unknown are counted
  and forgotten. Like any link it ends when nothing is heard for the idle time-out.
- The sender's address may be a lie, so a peer gets no more bytes than it has sent, all told, until a terminal
  on it has authenticated: nobody can be flooded through us. A terminal that never authenticates may therefore
  miss answers to heartbeats, which are shorter than their answers.
- At most `MAX_STRANGERS` peers have not authenticated; a newer one takes the place of the oldest.
- While a peer's share of a turn is used up, or nothing can be made durable, its datagrams are dropped:
  nothing of them was answered, so the terminal sends them again.
"""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any, Final, cast

from gateway.links import FLAG, Inbox, Link
from protocol.deframer import Deframer, PlainFrame
from store.records import CloseReason

MAX_ANSWER: Final = 1400
"""Bytes of a datagram that mobile networks, with their tunnels, carry in one piece. A single frame may be
longer.
"""

MAX_STRANGERS: Final = 4096
"""A terminal authenticates within seconds: room for a fleet of 10,000 that comes back within a minute."""

RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Asked of the system, which may give less: what arrives while a turn is read waits there."""

_Peername = tuple[Any, ...]


class Peer:
    """Stands as its transport between a link and the one UDP socket."""

    __slots__ = ("_datagrams", "credit", "is_ending", "link", "name", "outgoing")

    def __init__(self, datagrams: "Datagrams", name: _Peername) -> None:
        self._datagrams = datagrams
        self.name = name
        self.link: Link | None = None
        self.credit = 0
        """Bytes received and not answered with as many."""
        self.outgoing = b""
        """Of this turn."""
        self.is_ending = False

    @property
    def is_proven(self) -> bool:
        """A terminal on it has authenticated."""
        assert self.link is not None
        return any(session.is_authenticated for session in self.link.sessions.values())

    def write(self, data: bytes) -> None:
        if data and not self.outgoing:
            self._datagrams.speaks(self)
        self.outgoing += data

    def close(self) -> None:
        """End after what was written has left."""
        if not self.is_ending:
            self.is_ending = True
            asyncio.get_running_loop().call_soon(self._datagrams.part, self)

    def abort(self) -> None:
        self.outgoing = b""
        self.close()

    def is_closing(self) -> bool:
        return self.is_ending

    def pause_reading(self) -> None:
        """Nothing to do: while its link is paused, what the peer sends is dropped."""

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return len(self.outgoing)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.name if name == "peername" else default


class Datagrams(asyncio.DatagramProtocol):
    """One UDP socket and its peers."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._peers: dict[_Peername, Peer] = {}
        self._strangers: dict[_Peername, Peer] = {}
        """Not known to have authenticated, the oldest first."""
        self._speaking: list[Peer] = []
        self._is_deaf = False
        self._is_full = False
        self.received = self.sent = 0
        self.dropped: dict[str, int] = {}
        """Datagrams received or to be sent that were not, by reason."""

    def __len__(self) -> int:
        return len(self._peers)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is one in all but name
        own = transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.port = int(own.getsockname()[1])

    def datagram_received(self, data: bytes, addr: _Peername) -> None:
        self.received += 1
        whole = bounded(data)
        peer = self._peers.get(addr) or self._meet(addr, whole)
        if peer is None or peer.link is None:
            return
        if peer.link.paused or peer.is_ending:
            self._drop("busy")
            return
        peer.credit += len(data)
        peer.link.data_received(whole)

    def error_received(self, exc: Exception) -> None:
        """Somebody is gone: the idle time-out tells."""

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    def stop_listening(self) -> None:
        """Meet nobody new. Who is known is heard until its link is closed."""
        self._is_deaf = True

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()

    def speaks(self, peer: Peer) -> None:
        """Send what a peer is written to in this turn when the turn is over."""
        if not self._speaking:
            asyncio.get_running_loop().call_soon(self._flush)
        self._speaking.append(peer)

    def part(self, peer: Peer) -> None:
        """Forget a peer."""
        self._send(peer)
        if self._peers.pop(peer.name, None) is not None and peer.link is not None:
            self._strangers.pop(peer.name, None)
            peer.link.connection_lost(None)

    def _meet(self, name: _Peername, data: bytes) -> Peer | None:
        """Make a link for a peer that says something meaningful."""
        if self._is_deaf or self._inbox.is_paused:
            self._drop("busy")
            return None
        if not any(isinstance(piece, PlainFrame) for piece in Deframer().feed(data)):
            self._drop("meaningless")
            return None
        self._make_room()
        peer = Peer(self, name)
        peer.link = Link(self._inbox)
        peer.link.connection_made(cast(asyncio.BaseTransport, peer))
        if peer.is_ending:
            self._drop("refused")
            return None
        self._peers[name] = self._strangers[name] = peer
        return peer

    def _make_room(self) -> None:
        while len(self._strangers) >= MAX_STRANGERS:
            peer = self._strangers.pop(next(iter(self._strangers)))
            if not peer.is_proven and peer.link is not None:
                peer.link.close(CloseReason.IDLE)

    def _flush(self) -> None:
        speaking, self._speaking = self._speaking, []
        for peer in speaking:
            self._send(peer)

    def _send(self, peer: Peer) -> None:
        data, peer.outgoing = peer.outgoing, b""
        if not peer.is_proven:
            if len(data) > peer.credit:
                self._drop("unproven")
                return
            peer.credit -= len(data)
        for datagram in divided(data):
            if self._is_full:
                self._drop("full")
            else:
                self._transport.sendto(datagram, peer.name)
                self.sent += 1

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


def bounded(data: bytes) -> bytes:
    """Have a datagram begin and end with a flag, so that nothing in it joins with another."""
    begun = data if data[:1] == FLAG else FLAG + data
    return begun if begun[-1:] == FLAG and len(begun) > 1 else begun + FLAG


def divided(data: bytes) -> Iterator[bytes]:
    """Divide frames into datagrams."""
    size, begin, end = len(data), 0, 0
    while end < size:
        cut = data.find(FLAG + FLAG, end)
        following = size if cut < 0 else cut + 1
        if following - begin > MAX_ANSWER and end > begin:
            yield data[begin:end]
            begin = end
        end = following
    if data:
        yield data[begin:]
