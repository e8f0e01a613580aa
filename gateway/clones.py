"""Several links that speak as one terminal. Decisions only: time is an argument, in microseconds.

A terminal that appears on another link has usually lost the older one (JT/T 808-2013 §5.3), which is closed.
Two devices with one number (套牌, or a terminal that is forwarded twice) would close each other's links for
ever that way, so a terminal whose links replace each other again and again keeps all of them for a while:

| the older link    | the newer link | replaced of late       | the older link                               |
|-------------------|----------------|------------------------|----------------------------------------------|
| has authenticated | has not        | however often          | stays: who proves nothing takes nothing away |
| otherwise         |                | less than `TAKE_OVERS` | is closed                                    |
|                   |                | as often               | stays                                        |

Of more than `MAX_LINKS`, those that have not authenticated go first, for the same reason.

What all of them send is stored and answered; one is **current** and gets what the platform sends. A terminal
that only reconnects often leaves dead links behind, which say nothing more and end by their time-outs. Links
that both go on speaking are **clones**: that is told, with both addresses.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.sessions import Session

SECOND_US: Final = 1_000_000

TAKE_OVERS: Final = 3
"""So many in `OF_LATE_US` are a bad mobile network, where links die unnoticed; more prove nothing either, but
closing does not help any more."""
OF_LATE_US: Final = 600 * SECOND_US
"""A dead link is noticed within this time by itself, so that nothing is gained by counting longer."""

MAX_LINKS: Final = 4
"""Links that one terminal may hold, and one more that may still authenticate where all of these have."""

PROOF_US: Final = 10 * SECOND_US
"""What was on its way when a link died arrives within seconds; who speaks later is alive."""

TOLD_EVERY_US: Final = 60 * SECOND_US
"""Clones are told again so often while they last."""

MAX_REMEMBERED: Final = 65_536
"""Terminals whose take-overs are remembered, some 10 MiB; a flood of invented ones forgets the oldest."""


def replaces(*, older_proved: bool, newer_proved: bool, of_late: int) -> bool:
    """Decide whether a newer link closes an older one of the same terminal. `…_proved` says that the terminal
    has authenticated there, `of_late` how often a link of it was replaced in the last `OF_LATE_US`.
    """
    return of_late < TAKE_OVERS and (newer_proved or not older_proved)


class TakeOvers:
    """Remembers how often links of terminals were replaced of late."""

    def __init__(self) -> None:
        self._times: dict[int, deque[int]] = {}
        """By terminal, the one that was replaced last at the end."""

    def __len__(self) -> int:
        return len(self._times)

    def note(self, key: int, now_us: int) -> None:
        """Remember that a link of the terminal was replaced."""
        times = self._times.pop(key, None) or deque(maxlen=TAKE_OVERS)
        times.append(now_us)
        self._times[key] = times
        if len(self._times) > MAX_REMEMBERED:
            del self._times[next(iter(self._times))]

    def of_late(self, key: int, now_us: int) -> int:
        """Count them; never more than `TAKE_OVERS`."""
        return sum(now_us - at < OF_LATE_US for at in self._times.get(key, ()))

    def forget(self, now_us: int) -> None:
        """Give up what is over."""
        while self._times:
            key, times = next(iter(self._times.items()))
            if now_us - times[-1] < OF_LATE_US:
                return
            del self._times[key]


@dataclass(slots=True, eq=False)
class Voice:
    """What was heard of a terminal on one of its links, since there are several."""

    session: "Session"
    since_us: int
    frames: int = 0
    heard_us: int = 0


@dataclass(slots=True)
class Shared:
    """A terminal that several links speak as."""

    voices: list[Voice] = field(default_factory=list)
    """In order of their beginning."""
    told_us: int = 0

    def add(self, session: "Session", now_us: int) -> None:
        self.voices.append(Voice(session, now_us))

    def remove(self, session: "Session") -> None:
        self.voices = [voice for voice in self.voices if voice.session is not session]

    @property
    def current(self) -> "Session":
        """The one to which the platform talks: newest of those that authenticated, or else newest."""
        return max(
            (voice.session for voice in self.voices),
            key=lambda session: (session.is_authenticated, session.number),
        )

    def surplus(self, newest: "Session") -> Iterator["Session"]:
        """Give those over `MAX_LINKS`, never `newest`: first who has not authenticated, then the longest
        silent. For one that has not, none that has is given up.
        """
        others = [
            voice
            for voice in self.voices
            if voice.session is not newest and (newest.is_authenticated or not voice.session.is_authenticated)
        ]
        others.sort(key=lambda voice: (voice.session.is_authenticated, voice.heard_us, voice.since_us))
        yield from (voice.session for voice in others[: max(0, len(self.voices) - MAX_LINKS)])

    def proof(self, now_us: int) -> tuple[Voice, Voice] | None:
        """Give the two that went on speaking beside each other, the newer one first, when it is time to
        tell. Who has not authenticated beside one who has is no clone: anybody can say a number.
        """
        is_proved = self.current.is_authenticated
        alike = [voice for voice in self.voices if voice.session.is_authenticated is is_proved]
        if len(alike) < 2 or now_us - self.told_us < TOLD_EVERY_US:
            return None
        first, second = sorted(alike, key=lambda voice: voice.heard_us)[-2:]
        if first.since_us > second.since_us:
            first, second = second, first
        if min(first.heard_us, second.heard_us) < max(second.since_us + PROOF_US, self.told_us):
            return None
        self.told_us = now_us
        return second, first
