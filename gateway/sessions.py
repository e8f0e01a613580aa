"""Which terminal is on which link.

A session is one terminal on one link. A terminal that appears on another link takes its session there: the
older link is dead, or soon will be (JT/T 808-2013 §5.3), and is closed unless it carries other terminals.
Session numbers grow for ever, so whoever reads the log can tell the newer of two without asking anybody.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.downlinks import KeptPackets
from gateway.links import Link, LinkTable
from protocol.connection import Address
from protocol.edition import Edition
from store.records import CloseReason, SessionClosed, SessionOpened

SLOT_BITS: Final = 8
"""Low bits of a session number: the slot of the gateway process, so that two processes never give the
same one.
"""

RESERVED_US: Final = 3_600_000_000
"""So far ahead numbers are reserved on disk: one write an hour keeps them unique when the clock is set
back.
"""


class SessionNumbers:
    """Gives session numbers: the clock in microseconds, but always more than any number before."""

    def __init__(self, path: Path, slot: int = 0) -> None:
        """Go on behind the numbers that `path` says were reserved.

        Raises:
            OSError: nothing can be reserved.
        """
        self._path, self._slot = path, slot
        self._last_us = 0
        with contextlib.suppress(FileNotFoundError, ValueError):
            self._last_us = int(path.read_text())
        self._reserved_us = self._last_us

    def next(self, now_us: int) -> int:
        """Give a number. `now_us` is the wall clock."""
        self._last_us = max(self._last_us + 1, now_us)
        if self._last_us >= self._reserved_us:
            self._reserve(self._last_us + RESERVED_US)
        return self._last_us << SLOT_BITS | self._slot

    def close(self) -> None:
        """Give back what was reserved and not used."""
        self._reserve(self._last_us)

    def _reserve(self, until_us: int) -> None:
        draft = self._path.with_suffix(".new")
        with draft.open("w") as file:
            file.write(str(until_us))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        self._reserved_us = until_us


class Session:
    """One terminal on one link."""

    __slots__ = (
        "address",
        "edition",
        "identity",
        "is_authenticated",
        "is_complained_of",
        "key",
        "link",
        "number",
        "sent",
    )

    def __init__(self, number: int, key: int, identity: str, link: Link) -> None:
        self.number = number
        self.key = key
        """The number that the terminal's id is."""
        self.identity = identity
        self.link = link
        self.is_authenticated = False
        self.is_complained_of = False
        """Our own log says already why it is refused."""
        self.edition: Edition | None = None
        """What it registered as, as far as known."""
        self.address = Address(b"")
        """By the header in which it spoke first."""
        self.sent: KeptPackets | None = None
        """Long messages that we sent; None where there were none."""


class Sessions:
    """All sessions, and what has to be written about them."""

    def __init__(
        self, table: LinkTable, next_number: Callable[[int], int], *, refuses_strangers: bool
    ) -> None:
        self._table = table
        self._next_number = next_number
        self._refuses_strangers = refuses_strangers
        self._by_key: dict[int, Session] = {}
        self.opened: list[SessionOpened] = []
        """To be written before the frames of this turn."""
        self.closed: list[SessionClosed] = []
        """To be written after them."""
        self.forsaken: list[tuple[Link, CloseReason]] = []
        """Links whose last terminal was taken away: to be closed."""

    def __len__(self) -> int:
        return len(self._by_key)

    def open(self, link: Link, key: int, identity: str, now_us: int) -> Session:
        """Begin a session; one of the same terminal on another link ends."""
        older = self._by_key.get(key)
        if older is not None:
            self.close(older, CloseReason.TAKEN_OVER)
            if not older.link.sessions:
                self.forsaken.append((older.link, CloseReason.TAKEN_OVER))
        session = Session(self._next_number(now_us), key, identity, link)
        self._by_key[key] = link.sessions[key] = session
        self._table.bind(link, session, refused=self._refuses_strangers)
        self.opened.append(SessionOpened(session.number, link.number, identity, link.peer))
        return session

    def of(self, key: int) -> Session | None:
        """Give the session of a terminal, by the number that its id is."""
        return self._by_key.get(key)

    def authenticate(self, session: Session) -> None:
        """Remember that the terminal proved who it is."""
        session.is_authenticated = True
        self._table.authenticate(session)

    def close(self, session: Session, reason: CloseReason) -> None:
        """End a session. The link stays."""
        del self._by_key[session.key], session.link.sessions[session.key]
        self._table.unbind(session)
        self.closed.append(SessionClosed(session.number, reason))

    def close_link(self, link: Link, reason: CloseReason) -> None:
        """End all sessions of a link."""
        for session in list(link.sessions.values()):
            self.close(session, reason)

    def block(self, identities: list[str]) -> None:
        """End the sessions of terminals that were blocked."""
        for identity in identities:
            session = self._by_key.get(int(identity, 16))
            if session is not None:
                self.close(session, CloseReason.BLOCKED)
                if not session.link.sessions:
                    self.forsaken.append((session.link, CloseReason.BLOCKED))
