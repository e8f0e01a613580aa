"""How many new terminals come by themselves: the lobby is bounded.

A terminal that nobody entered and nobody has heard of costs us a row that stays, room in every process, and a
line on somebody's page; inventing a number costs nothing. So **new** ones have quotas: in an hour for one
link and for one address, and in all. In all count those who wait in the lobby, whatever they have
authenticated since: an entry ends when a person accepts it, or when it was forgotten. Who is beyond a quota
gets no session and no answer that says success, so a real terminal tries again; nothing of it is written but
a count.

Many terminals come at once over one link where a platform forwards them, and from one address where a
carrier puts them behind its NAT. For these a person opens an **enrolment window**: until its end no quota of
a link or an address applies, and the lobby has room for so many more.

Several gateway processes tell each other whom they let in, so that all of them go by one lobby, as far as it
was told; quotas of a link and of an address hold in each. Time is an argument.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.fleet import Fleet
from gateway.links import Link

HOUR_S: Final = 3600.0

REMEMBERED: Final = 16_384
"""Addresses whose hour is remembered, about 3 MB. Whoever has more is stopped by the quota in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LobbyLimits:
    """How many new terminals may come by themselves."""

    per_link: int = 200
    """In an hour. A terminal has a link for itself; a small platform that forwards is let in unasked."""
    per_address_hour: int = 1_000
    """The fleet of a company behind one router, and as much again each hour behind a carrier's NAT."""
    most: int = 20_000
    """Waiting together: more than anybody looks through, and some 30 MB of the worker's memory."""


class _Hour(NamedTuple):
    """What came from one address."""

    began: float
    terminals: int


class Lobby:
    """Whom we have let in that nobody knew."""

    def __init__(self, limits: LobbyLimits, fleet: Fleet) -> None:
        self._limits = limits
        self._fleet = fleet
        self._met: set[str] = set()
        """Let in, here or at another process, and not in the copy of the fleet yet."""
        self._hours: dict[bytes, _Hour] = {}
        """By address, the one that began first at the front."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._fleet.in_lobby + len(self._met)

    def is_full(self, now_us: int) -> bool:
        """Tell whether new terminals are refused wherever they come from."""
        room = self._fleet.enrolment.room if self._is_enrolling(now_us) else 0
        return self.waiting >= self._limits.most + room

    def _is_enrolling(self, now_us: int) -> bool:
        return now_us < self._fleet.enrolment.until_us

    def objection(self, identity: str, link: Link, now: float, now_us: int) -> str:
        """Let a terminal in that speaks on a link, or say why not. `now` is the loop's clock and `now_us` the
        wall's.
        """
        if identity in self._met or self._fleet.knows(identity):
            return ""
        if self.is_full(now_us):
            return "lobby_full"
        limits = self._limits
        address = link.place.key if link.place is not None else b""  # empty: its network has no quotas
        hour = self._hours.get(address, _Hour(now, 0))
        if now - hour.began >= HOUR_S:
            hour = _Hour(now, 0)
        if now - link.newcomers_since >= HOUR_S:
            link.newcomers, link.newcomers_since = 0, now
        if address and not self._is_enrolling(now_us):
            if link.newcomers >= limits.per_link:
                return "lobby_link"
            if hour.terminals >= limits.per_address_hour:
                return "lobby_address"
        if address:
            link.newcomers += 1
            self._count(address, hour)
        self._met.add(identity)
        return ""

    def met(self, identity: str) -> None:
        """Take note that another process has let a terminal in."""
        if not self._fleet.knows(identity):
            self._met.add(identity)

    def refreshed(self) -> None:
        """Forget of whom the copy of the fleet knows by now."""
        self._met -= {each for each in self._met if self._fleet.knows(each)}

    def _count(self, address: bytes, hour: _Hour) -> None:
        if hour.terminals == 0:
            self._hours.pop(address, None)  # it begins last
        self._hours[address] = hour._replace(terminals=hour.terminals + 1)
        if len(self._hours) > REMEMBERED:
            del self._hours[next(iter(self._hours))]
