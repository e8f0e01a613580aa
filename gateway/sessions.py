"""Which terminal is on which link.

A session is one terminal on one link. A terminal that appears on another link takes its session there: the
older link is dead, or soon will be (JT/T 808-2013 §5.3), and is closed unless it carries other terminals.
Where closing does not help, a terminal has several sessions for a while, see `gateway.clones`.

Session numbers grow for ever, so whoever reads the log can tell the newest without asking anybody. When the
newest of several sessions ends, one that goes on gets a new number.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.clones import Shared, TakeOvers, Voice, replaces
from gateway.cut_off import CutOff
from gateway.downlinks import KeptPackets
from gateway.elsewhere import Elsewhere
from gateway.links import Link, LinkTable
from gateway.siblings import News, What
from gateway.standing import Standings, Verdict
from protocol.connection import Address
from protocol.edition import Edition
from store.records import SLOT_BITS, Cloned, CloseReason, SessionClosed, SessionOpened
from store.storage import sync_directory

RESERVED_US: Final = 3_600_000_000
"""So far ahead numbers are reserved on disk: one write an hour keeps them unique when the clock is set
back.
"""

SPOKE_S: Final = 60.0
"""Who was heard so lately has a link that works, and a code: whoever else wants one is somebody else. Most
terminals say something once a minute, or far more often.
"""

CLOSED_BY_US: Final = frozenset(
    {CloseReason.IDLE, CloseReason.GARBAGE, CloseReason.ERROR, CloseReason.SLOW_READER}
)
"""Where a terminal may believe that its link works. One that is taken over has authenticated on another."""


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
        sync_directory(self._path.parent)
        self._reserved_us = until_us


class Session:
    """One terminal on one link."""

    __slots__ = (
        "address",
        "edition",
        "epoch",
        "heard",
        "identity",
        "is_authenticated",
        "is_complained_of",
        "key",
        "link",
        "number",
        "sent",
        "verdict",
    )

    def __init__(self, number: int, key: int, identity: str, link: Link, verdict: Verdict) -> None:
        self.number = number
        self.key = key
        """The number that the terminal's id is."""
        self.identity = identity
        self.link = link
        self.verdict = verdict
        """What becomes of what it says."""
        self.is_authenticated = False
        self.epoch = 0
        """Of the code by which it authenticated."""
        self.heard = float("-inf")
        """When it was, by the loop's clock, but for what is read as columns of who its link is bound to."""
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

    def __init__(self, table: LinkTable, next_number: Callable[[int], int], standings: Standings) -> None:
        self._table = table
        self._next_number = next_number
        self._standings = standings
        self._by_key: dict[int, Session] = {}
        """The current session of each terminal."""
        self._shared: dict[int, Shared] = {}
        """Terminals with several sessions."""
        self._take_overs = TakeOvers()
        self._elsewhere = Elsewhere()
        self._cut_off = CutOff()
        self.opened: list[SessionOpened] = []
        """To be written before the frames of this turn."""
        self.closed: list[SessionClosed] = []
        """To be written after them."""
        self.forsaken: list[tuple[Link, CloseReason]] = []
        """Links whose last terminal was taken away: to be closed."""
        self.news: list[News] = []
        """To be told to the other gateway processes."""

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def shared(self) -> int:
        """How many terminals have several sessions."""
        return len(self._shared)

    def open(self, link: Link, key: int, identity: str, now_us: int) -> Session:
        """Begin a session; one of the same terminal on another link usually ends."""
        verdict = self._standings.verdict(identity, is_authenticated=False)
        session = Session(self._next_number(now_us), key, identity, link, verdict)
        link.sessions[key] = session
        self._table.accounts.share(link.slot, len(link.sessions))
        self._table.bind(link, session)
        if verdict.counts:
            self._table.keep(link)
        if not self._standings.only_known:
            link.prove()
        self.opened.append(SessionOpened(session.number, link.number, identity, link.peer))
        self.news.append(News(What.OPENED, session.number, key))
        older = self._by_key.setdefault(key, session)
        if older is not session:
            shared = self._shared.get(key)
            if shared is None:
                shared = self._shared[key] = Shared()
                shared.add(older, 0)
            shared.add(session, now_us)
            self._contend(session, now_us)
        return session

    def of(self, key: int) -> Session | None:
        """Give the session of a terminal, by the number that its id is; of several the current one."""
        return self._by_key.get(key)

    def authenticate(self, session: Session, epoch: int, now_us: int) -> None:
        """Remember that the terminal proved who it is, by a code of some epoch."""
        session.is_authenticated, session.epoch = True, epoch
        self.news.append(News(What.PROVED, session.number, session.key))
        session.link.prove()
        self._judge(session)
        self._elsewhere.here(session.key)
        self._cut_off.forget(session.key)
        if self._standings.prove(session.identity):
            self.judge([session.identity])
        if session.key in self._shared:
            self._contend(session, now_us)

    def close(self, session: Session, reason: CloseReason) -> None:
        """End a session. The link stays."""
        key = session.key
        link = session.link
        if session.is_authenticated and reason in CLOSED_BY_US:
            self._cut_off.note(key, self._table.heard_of(session))
        del link.sessions[key]
        self._table.accounts.share(link.slot, len(link.sessions))
        self._table.unbind(session)
        self.closed.append(SessionClosed(session.number, reason))
        self.news.append(News(What.ENDED, session.number, key))
        shared = self._shared.get(key)
        if shared is None:
            del self._by_key[key]
            return
        shared.remove(session)
        heir = self._by_key[key] = shared.current
        if session.number > max(voice.session.number for voice in shared.voices):
            self._renew(heir)
        if len(shared.voices) == 1:
            del self._shared[key]

    def close_link(self, link: Link, reason: CloseReason) -> None:
        """End all sessions of a link."""
        for session in list(link.sessions.values()):
            self.close(session, reason)

    def speaks_beside(self, session: Session, now: float) -> bool:
        """Tell whether a terminal that somebody speaks as, and has not authenticated, has done so on another
        link and was heard there within `SPOKE_S`, even if we have closed that since. Of other processes it is
        asked. `now` is the loop's clock.
        """
        if session.is_authenticated:
            return False
        if any(each is not session and self._spoke(each, now) for each in self._all_of(session.key)):
            return True
        if now - self._cut_off.heard(session.key) < SPOKE_S:
            return True
        may_speak, is_to_ask = self._elsewhere.may_speak(session.key, now)
        if is_to_ask:
            self.news.append(News(What.ASKED, session.number, session.key))
        return may_speak

    def hear(self, news: Iterable[News], now: float, now_us: int) -> None:
        """Take note of the sessions of other gateway processes: a newer one of the same terminal ends ours,
        and ours goes on when the newer one has ended.
        """
        for what, number, key in news:
            if what is What.ASKED:
                self.news += [
                    News(What.SPEAKS, each.number, key)
                    for each in self._all_of(key)
                    if self._spoke(each, now)
                ]
                continue
            if what is What.SPEAKS:
                self._elsewhere.speaks(key)
                continue
            if what is What.ENDED:
                self._elsewhere.ended(key, number)
            if what is What.PROVED:
                self._elsewhere.proved(key, number)
                if self._standings.prove(identity := f"{key:X}"):
                    self.judge([identity])
            current = self._by_key.get(key)
            if current is None or current.number > number:
                continue
            if what is What.ENDED:
                self._renew(current)
                continue
            of_late = self._take_overs.of_late(key, now_us)
            is_proved = what is What.PROVED
            if replaces(older_proved=current.is_authenticated, newer_proved=is_proved, of_late=of_late):
                self._take_overs.note(key, now_us)
                while (older := self._by_key.get(key)) is not None and older.number < number:
                    self._forsake(older, CloseReason.TAKEN_OVER)

    def connected(self, identities: Iterable[str]) -> list[str]:
        """Give those of some terminals that have a session. May be called from another thread."""
        return [identity for identity in identities if int(identity, 16) in self._by_key]

    def judge(self, identities: Iterable[str]) -> None:
        """Go by what is known of some terminals now: end their sessions where they are blocked or their code
        is worthless, and mark what they say from here on.
        """
        for identity in identities:
            for session in self._all_of(int(identity, 16)):
                if self._standings.is_blocked(identity):
                    self._forsake(session, CloseReason.BLOCKED)
                elif session.is_authenticated and self._standings.is_worthless(identity, session.epoch):
                    self._forsake(session, CloseReason.NEW_CODE)
                else:
                    self._judge(session)

    def note(self, numbers: npt.NDArray[np.uint64], now_us: int) -> None:
        """Remember which links were heard of terminals that have several, from the session of every frame."""
        if not self._shared:
            return
        voices = {voice.session.number: voice for voice in self._voices()}
        heard = numbers[np.isin(numbers, np.fromiter(voices, np.uint64, len(voices)))]
        for number, frames in zip(
            *(each.tolist() for each in np.unique(heard, return_counts=True)), strict=True
        ):
            voices[number].frames += frames
            voices[number].heard_us = now_us

    def clones(self, now_us: int) -> Iterator[Cloned]:
        """Give what is to be written about terminals that speak on several links at once."""
        self._take_overs.forget(now_us)
        for key, shared in self._shared.items():
            if proof := shared.proof(now_us):
                newer, older = proof
                yield Cloned(
                    shared.current.number,
                    (newer.session.link.peer, older.session.link.peer),
                    (newer.frames, older.frames),
                    self._take_overs.of_late(key, now_us),
                )

    def _contend(self, newer: Session, now_us: int) -> None:
        """Close the links that a newer one of the same terminal replaces."""
        key, shared = newer.key, self._shared[newer.key]
        for older in [voice.session for voice in shared.voices if voice.session.number < newer.number]:
            of_late = self._take_overs.of_late(key, now_us)
            if replaces(
                older_proved=older.is_authenticated, newer_proved=newer.is_authenticated, of_late=of_late
            ):
                self._take_overs.note(key, now_us)
                self._forsake(older, CloseReason.TAKEN_OVER)
        for session in list(shared.surplus(newer)):
            self._forsake(session, CloseReason.TAKEN_OVER)
        self._by_key[key] = shared.current

    def _judge(self, session: Session) -> None:
        session.verdict = self._standings.verdict(session.identity, is_authenticated=session.is_authenticated)
        self._table.judge(session)
        if session.verdict.counts:
            self._table.keep(session.link)

    def _forsake(self, session: Session, reason: CloseReason) -> None:
        """End a session, and its link if that carries no other terminal."""
        self.close(session, reason)
        if not session.link.sessions:
            self.forsaken.append((session.link, reason))

    def _renew(self, session: Session) -> None:
        """Let a session go on under a new number, because the one with the newest has ended."""
        older, session.number = session.number, self._next_number(0)
        self._table.renumber(session, older)
        link = session.link
        self.opened.append(SessionOpened(session.number, link.number, session.identity, link.peer))
        self.closed.append(SessionClosed(older, CloseReason.RENEWED))
        self.news.append(
            News(What.PROVED if session.is_authenticated else What.OPENED, session.number, session.key)
        )

    def _spoke(self, session: Session, now: float) -> bool:
        """Tell whether a session has authenticated and was heard of late."""
        link = session.link
        is_open = not link.is_lost and not link.transport.is_closing()
        return session.is_authenticated and is_open and now - self._table.heard_of(session) < SPOKE_S

    def _all_of(self, key: int) -> list[Session]:
        """Give all sessions of a terminal."""
        if (shared := self._shared.get(key)) is not None:
            return [voice.session for voice in shared.voices]
        current = self._by_key.get(key)
        return [] if current is None else [current]

    def _voices(self) -> Iterator[Voice]:
        for shared in self._shared.values():
            yield from shared.voices
