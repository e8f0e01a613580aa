"""TCP connections, and the table of all of them as columns.

A link does next to nothing itself: it gathers what arrives, and once in a turn of the event loop everything
gathered is read as one batch. What the batch has to know about each link stands in the columns of the
`LinkTable`, at the link's slot.
"""

import asyncio
import contextlib
import socket
from enum import IntFlag
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from gateway.addresses import text_of
from gateway.allowance import Accounts, Allowance
from gateway.undecodable import Undecodable
from store.records import CloseReason

if TYPE_CHECKING:
    from gateway.addresses import Place
    from gateway.sessions import Session

FLAG: Final = b"\x7e"
"""What a link keeps between two turns when its last byte ended a frame."""

READ_BUDGET: Final = 8 * 1024
"""So much of one link is read in one turn, 125 reports; the rest waits for later turns, and the link is not
read meanwhile. It slows itself, not the others: the most expensive frames of this size take some 10 ms. How
much all links together have of a turn is bounded in `gateway.pipeline`.
"""

MAX_GATHERED_BYTES: Final = 16 * 1024 * 1024
"""More than this is not read while the log is busy."""

WRITE_LIMIT: Final = 64 * 1024
"""A link that leaves more answers than this unread is not read until it takes them."""

SEND_BUFFER: Final = 64 * 1024
"""Asked of the system, which would else keep megabytes for a terminal that does not take its answers."""

SPARE_LINKS: Final = 256
"""So many places stay free, or a tenth of all, for who comes: that of a link which has to go for it is free
only when the turn is over.
"""

UNACKNOWLEDGED_MS: Final = 60_000
"""TCP gives up a link that acknowledges nothing of what we sent for so long."""


class Pause(IntFlag):
    """Why a link is not read."""

    BUDGET = 1
    """It sent its share, of this turn or for a while."""
    SLOW_READER = 2
    """It does not take its answers."""
    STALLED = 4
    """Nothing can be made durable, or too much waits for it."""
    ALLOWANCE = 8
    """It has used up what it may ask of us for some time."""
    LEAVING = 16
    """It is about to be closed."""


class Inbox(Protocol):
    """Who reads what links gather."""

    turn: int
    """Number of the turn in which data is being gathered."""
    gathered: list["Link"]
    """Links with unread data of this turn."""
    gathered_bytes: int
    """Received since the last turn, without what is held."""
    is_awake: bool
    """The gathered data will be read before the loop waits again."""
    greedy: list["Link"]
    """Those that sent more than their share."""

    @property
    def is_paused(self) -> bool:
        """Nothing is read, because nothing can be made durable or too much waits for it."""

    def wake(self) -> None:
        """Have the gathered data read before the loop waits again."""

    def connected(self, link: "Link") -> bool:
        """Let a link in, or not."""

    def disconnected(self, link: "Link") -> None: ...

    def clogged(self, link: "Link", *, is_clogged: bool) -> None:
        """Take note that a link leaves its answers unread, or takes them again."""


class Link(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_inbox",
        "close_reason",
        "garbage_bytes",
        "garbage_since",
        "held",
        "is_lost",
        "is_stranger",
        "is_told",
        "newcomers",
        "newcomers_since",
        "number",
        "paused",
        "peer",
        "place",
        "sessions",
        "slot",
        "transport",
        "turn",
        "unread",
        "waited",
        "write",
    )

    transport: Any
    """uvloop's and asyncio's transports share no base class that has everything."""

    def __init__(self, inbox: Inbox, peer: str = "", *, is_told: bool = False) -> None:
        """`peer` is who connected, where the transport does not know; `is_told` says that it is known from a
        balancer's header only.
        """
        self._inbox = inbox
        self.slot = -1
        self.number = 0
        self.peer = peer
        """Address and port of the other end."""
        self.place: Place | None = None
        """What its address has; None before it was let in."""
        self.is_told = is_told
        self.newcomers = 0
        """Terminals that nobody knew before they spoke here, in the hour from `newcomers_since` on, see
        `gateway.lobby`.
        """
        self.newcomers_since = float("-inf")
        self.is_stranger = False
        """It has proved nothing yet, and its address may have only so many of these."""
        self.turn = -1
        self.waited = 0
        """Turns in a row that ended before it was read."""
        self.unread = b""
        """Within a turn what is to be read; between turns the tail of that."""
        self.held = b""
        """Received and left for later turns."""
        self.sessions: dict[int, Session] = {}
        """By the number that a terminal's id is."""
        self.garbage_bytes = 0
        """Received without a valid frame in between, since `garbage_since`."""
        self.garbage_since = 0.0
        self.paused = Pause(0)
        self.close_reason = CloseReason.PEER_CLOSED
        self.is_lost = False

    def __repr__(self) -> str:
        return f"<Link {self.peer} with {len(self.sessions)} terminals>"

    @property
    def is_mute(self) -> bool:
        """Not a byte has come."""
        return self.turn < 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.write = self.transport.write
        self.peer = self.peer or text_of(transport.get_extra_info("peername"))
        if not self._inbox.connected(self):
            self.is_lost = True
            self.transport.abort()
            return
        self.transport.set_write_buffer_limits(WRITE_LIMIT)
        with contextlib.suppress(OSError, AttributeError):  # not every system and socket has it
            own = transport.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)

    def data_received(self, data: bytes) -> None:
        inbox = self._inbox
        inbox.gathered_bytes += len(data)
        if self.turn == inbox.turn:
            self.unread = data = self.unread + data
        else:
            self.turn, self.waited = inbox.turn, 0
            # Most chunks are whole frames: the tail is a flag, and so is the first byte (`columns.rejoin`).
            if self.unread != FLAG or data[0] != 0x7E:
                data = self.unread + data
            self.unread = data
            inbox.gathered.append(self)
        if not inbox.is_awake or inbox.gathered_bytes > MAX_GATHERED_BYTES:
            inbox.wake()
        if len(data) > READ_BUDGET and not self.paused & Pause.BUDGET:
            self.pause(Pause.BUDGET)
            inbox.greedy.append(self)

    @property
    def urgency(self) -> float:
        """What is read first where not all can be: of who has little, and of who has waited long for more."""
        return (1 + self.waited) / (1 + len(self.unread))

    @property
    def is_left(self) -> bool:
        """It was to be read in the last turn, and waits for the coming one."""
        return self.waited > 0 and self.turn == self._inbox.turn

    def wait(self) -> None:
        """Have what was to be read in this turn read in the next one, together with what comes until then."""
        inbox = self._inbox
        self.turn, self.waited = inbox.turn, self.waited + 1
        inbox.gathered.append(self)

    def hold(self) -> None:
        """Leave what is over this turn's budget for later ones."""
        self.held, self.unread = self.unread[READ_BUDGET:], self.unread[:READ_BUDGET]
        self._inbox.gathered_bytes -= len(self.held)
        if self.paused & Pause.LEAVING:
            self.held = b""  # there are no later ones

    def go_on(self) -> None:
        """Have what was left read in the next turn; read again when that is all of it."""
        held, self.held = self.held, b""
        if held:
            self.data_received(held)
        if len(self.unread) > READ_BUDGET:
            self._inbox.greedy.append(self)
        else:
            self.resume(Pause.BUDGET)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_lost:
            self.is_lost = True
            self._inbox.disconnected(self)

    def prove(self) -> None:
        """Count no longer as a stranger of its address."""
        if self.is_stranger and self.place is not None:
            self.is_stranger = False
            self.place.know(self)

    def pause_writing(self) -> None:
        self.pause(Pause.SLOW_READER)
        self._inbox.clogged(self, is_clogged=True)

    def resume_writing(self) -> None:
        self.resume(Pause.SLOW_READER)
        self._inbox.clogged(self, is_clogged=False)

    def pause(self, why: Pause) -> None:
        """Stop reading until every reason for it is gone."""
        if not self.paused and not self.is_lost and not self.transport.is_closing():
            self.transport.pause_reading()
        self.paused |= why

    def resume(self, why: Pause) -> None:
        """Take a reason away, and read again when it was the last."""
        if not self.paused:
            return
        self.paused &= ~why
        if not self.paused and not self.is_lost and not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self, reason: CloseReason) -> None:
        """Send what is written, then close."""
        if not self.is_lost and not self.transport.is_closing():
            self.close_reason = reason
            self.transport.close()

    def abort(self, reason: CloseReason) -> None:
        """Close at once."""
        if not self.is_lost:
            if not self.transport.is_closing():
                self.close_reason = reason
            self.transport.abort()


class LinkTable:
    """All links by slot. A slot is bound to one terminal of its link, usually the only one.

    The arrays are as long as links may be at most; memory is used only where links have been.
    """

    def __init__(self, capacity: int, allowance: Allowance | None = None) -> None:
        self.capacity = capacity
        self.session: npt.NDArray[np.uint64] = np.zeros(capacity, np.uint64)
        """Number of the bound terminal's session; 0 where none is bound."""
        self.key_high: npt.NDArray[np.uint16] = np.zeros(capacity, np.uint16)
        self.key_low: npt.NDArray[np.uint64] = np.zeros(capacity, np.uint64)
        """The bound terminal's id as a number, compared with the frames' `FrameBatch.key_low`."""
        self.flags: npt.NDArray[np.uint16] = np.zeros(capacity, np.uint16)
        """`FrameFlag` of what the bound session says, see `gateway.standing`."""
        self.refused: npt.NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        """Its reports are answered with a failure."""
        self.serial: npt.NDArray[np.uint16] = np.zeros(capacity, np.uint16)
        """The platform's next message serial on the link."""
        self.heard: npt.NDArray[np.float64] = np.full(capacity, np.inf)
        """When a valid frame was received last, by the loop's clock; at first when the link was made."""
        self.bound_heard: npt.NDArray[np.float64] = np.full(capacity, -np.inf)
        """When one of the bound terminal was, of those that are read as columns."""
        self._anew = -np.inf
        """Since when time is counted for all."""
        self.half_since: npt.NDArray[np.float64] = np.full(capacity, np.inf)
        """Since when an unfinished frame has waited for its end."""
        self.accounts = Accounts(capacity, allowance or Allowance())
        self.undecodable = Undecodable(capacity)
        self._links: dict[int, Link] = {}
        self._free: list[int] = []
        self._guests: dict[Link, None] = {}
        """Links that carry no terminal whose word counts, the oldest first."""

    def __len__(self) -> int:
        return len(self._links)

    def links(self) -> list[Link]:
        """Give all links."""
        return list(self._links.values())

    def nobody_was_idle(self, now: float) -> None:
        """Count time anew for all links, after nothing was read for some."""
        for since in (self.heard, self.half_since):
            since[since < np.inf] = now
        self._anew = now

    def heard_of(self, session: "Session") -> float:
        """Tell when a terminal was heard on its link, which may carry others."""
        slot = session.link.slot
        is_bound = self.session[slot] == session.number
        return float(max(session.heard, self.bound_heard[slot] if is_bound else -np.inf, self._anew))

    def at(self, slots: npt.NDArray[np.intp]) -> list[Link]:
        """Give the links at some slots."""
        return [self._links[slot] for slot in slots.tolist() if slot in self._links]

    def admit(self, link: Link, now: float) -> bool:
        """Give a link its slot, if one is free."""
        if len(self._links) >= self.capacity:
            return False
        slot = self._free.pop() if self._free else len(self._links)
        link.slot = slot
        self._links[slot] = link
        self._guests[link] = None
        self.serial[slot] = 0
        self.heard[slot] = now
        self.half_since[slot] = np.inf
        self.accounts.open(slot)
        self.undecodable.open(slot)
        return True

    def keep(self, link: Link) -> None:
        """Count a link as a guest no more."""
        self._guests.pop(link, None)

    def crowded_out(self) -> Link | None:
        """Give the guest that has to go for a new link, where all places are taken: the oldest, as a terminal
        authenticates within seconds.
        """
        taken, spare = len(self._links), min(SPARE_LINKS, self.capacity // 10)
        if not self.capacity - spare <= taken < self.capacity or not self._guests:
            return None
        guest = next(iter(self._guests))
        del self._guests[guest]
        return guest

    def release(self, link: Link) -> None:
        """Take the slot back, once the link has no sessions any more."""
        self.keep(link)
        del self._links[link.slot]
        self._free.append(link.slot)
        self.heard[link.slot] = np.inf
        self.half_since[link.slot] = np.inf

    def bind(self, link: Link, session: "Session") -> None:
        """Make this the terminal whose frames are recognised as columns, if the slot has none."""
        slot = link.slot
        if self.session[slot]:
            return
        self.session[slot] = session.number
        self.bound_heard[slot] = -np.inf
        self.key_high[slot], self.key_low[slot] = session.key >> 64, session.key & 0xFFFF_FFFF_FFFF_FFFF
        self.judge(session)

    def judge(self, session: "Session") -> None:
        """Take over what becomes of what a session says."""
        slot = session.link.slot
        if self.session[slot] == session.number:
            self.flags[slot], self.refused[slot] = session.verdict

    def renumber(self, session: "Session", older: int) -> None:
        """Take over that a session goes on under a new number."""
        slot = session.link.slot
        if self.session[slot] == older:
            self.session[slot] = session.number

    def unbind(self, session: "Session") -> None:
        """Forget the terminal."""
        slot = session.link.slot
        if self.session[slot] == session.number:
            self.session[slot] = 0

    def next_serial(self, slot: int) -> int:
        """Give the platform's next serial on a link."""
        serial = int(self.serial[slot])
        self.serial[slot] = (serial + 1) & 0xFFFF
        return serial
