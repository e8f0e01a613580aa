"""How much of the gateway one address may take, and how addresses are written.

A whole fleet may come from one address: carriers put the terminals of a private APN (专网APN) behind one or
two. So the limits are high, and what they stop is one address that takes every place or all of the time.
An address is what a subscriber has: for IPv4 the address, for IPv6 its /64.

Three things are counted for each: connections, new ones a second (a token bucket), and **strangers**, which
are links that have not proved anything yet: under policy `known` no terminal has authenticated on them, under
`open` no valid frame has come. Where an address has too many strangers, the newest is let in and the oldest
that is silent goes: so connections that say nothing keep no terminal out that is behind the same address.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from gateway.links import Link

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

BURST_S: Final = 10.0
"""An address may use at once what its rate gives in so long: after an outage all of its terminals come back
together.
"""

REMEMBERED: Final = 16_384
"""Addresses without a connection whose bucket is remembered, about 5 MB. Whoever has more addresses is not
stopped by limits on each.
"""

LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressLimits:
    """What one address may have."""

    connections: int = 20_000
    """A fleet behind one address of a carrier, and still only a part of what one process holds."""
    connects_per_s: float = 100.0
    """A fleet of 10,000 behind one address is back in a minute and a half."""
    strangers: int = 2_000
    """Twice a burst: a terminal on a slow link takes some seconds to authenticate."""
    exempt: tuple[Network, ...] = LOOPBACK
    """No limits for these: this machine, balancers, the address of a private APN. Not for who is there by
    what a header says: a balancer may pass on its own address, or any.
    """


class Bucket(NamedTuple):
    """What is left of a rate."""

    tokens: float
    at: float
    """When that was so, in seconds of any clock that does not go back."""


def take(bucket: Bucket, now: float, rate: float) -> tuple[Bucket, bool]:
    """Take one token, if there is one. `rate` is how many come in a second, up to `BURST_S` of them."""
    tokens = min(bucket.tokens + max(now - bucket.at, 0.0) * rate, max(rate * BURST_S, 1.0))
    return (Bucket(tokens - 1, now), True) if tokens >= 1 else (Bucket(tokens, now), False)


class Place:
    """What one address has."""

    __slots__ = ("_mute", "_speaking", "bucket", "connections", "key", "owed", "owed_at")

    def __init__(self, key: bytes, bucket: Bucket) -> None:
        self.key = key
        self.connections = 0
        self._mute: dict[Link, None] = {}
        """Strangers that said nothing when we last looked, the oldest first."""
        self._speaking: dict[Link, None] = {}
        """The other strangers."""
        self.bucket = bucket
        self.owed = self.owed_at = 0.0
        """What a link that left had not paid, see `gateway.allowance`, and when it left."""

    @property
    def strangers(self) -> int:
        """How many links have proved nothing."""
        return len(self._mute) + len(self._speaking)

    def meet(self, link: "Link") -> None:
        """Count a link as a stranger."""
        self._mute[link] = None

    def know(self, link: "Link") -> None:
        """Count it as one no more."""
        self._mute.pop(link, None)
        self._speaking.pop(link, None)

    def oldest(self) -> "Link":
        """Give the stranger that came first among those that said nothing, or where all have, among all."""
        while self._mute:
            link = next(iter(self._mute))
            if link.is_mute:
                return link
            del self._mute[link]
            self._speaking[link] = None
        return next(iter(self._speaking))


class Addresses:
    """All addresses with connections, and some that had one lately."""

    def __init__(self, limits: AddressLimits) -> None:
        self._limits = limits
        self._places: dict[bytes, Place] = {}
        self._resting: dict[bytes, Place] = {}
        """Without connections, the longest first."""
        self._exempt = Place(b"", Bucket(0.0, 0.0))
        self.refused: dict[str, int] = {}
        """Connections that were not let in, or had to go for others, by reason."""

    def __len__(self) -> int:
        return len(self._places)

    def admit(self, link: "Link", now: float) -> bool:
        """Give a new connection its place, or count why it gets none. `now` is the loop's clock."""
        place = self._place(link, now)
        if place is not self._exempt and (reason := self._objection(place, now)):
            self.refuse(reason)
            if not place.connections:
                self._rest(place)
            return False
        self._resting.pop(place.key, None)
        place.connections += 1
        link.place = place
        return True

    def meet(self, link: "Link") -> "Link | None":
        """Count a connection that is a link now as a stranger, and give the one that has to go for it."""
        place = link.place
        assert place is not None, "it was not admitted"
        gives_way = None
        if place is not self._exempt and place.strangers >= self._limits.strangers:
            gives_way = place.oldest()
            gives_way.prove()
            self.refuse("address_strangers")
        place.meet(link)
        link.is_stranger = True
        return gives_way

    def leave(self, link: "Link") -> None:
        """Take the place back."""
        link.prove()
        place, link.place = link.place, None
        if place is None:
            return
        place.connections -= 1
        if not place.connections and place is not self._exempt:
            self._rest(place)

    def refuse(self, reason: str) -> None:
        """Count a connection that was not let in."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def _objection(self, place: Place, now: float) -> str:
        limits = self._limits
        place.bucket, is_in_time = take(place.bucket, now, limits.connects_per_s)
        if not is_in_time:
            return "address_rate"
        return "address_connections" if place.connections >= limits.connections else ""

    def _place(self, link: "Link", now: float) -> Place:
        address = host_of(link.peer)
        if address is None:
            return self._exempt
        if not link.is_told and any(address in network for network in self._limits.exempt):
            return self._exempt
        key = subscriber(address)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Place(key, Bucket(self._limits.connects_per_s * BURST_S, now))
        return place

    def _rest(self, place: Place) -> None:
        self._resting[place.key] = place
        if len(self._resting) > REMEMBERED:
            oldest = next(iter(self._resting))
            del self._resting[oldest], self._places[oldest]


def text_of(peername: Any) -> str:
    """Write a socket's address as host:port, and one of IPv4 that came over IPv6 as what it is."""
    if not isinstance(peername, tuple) or len(peername) < 2:
        return str(peername or "")
    host, port = str(peername[0]).removeprefix("::ffff:"), peername[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(peer: str) -> Address | None:
    """Give the address in what `text_of` wrote; None for a socket without one."""
    try:
        return ip_address(peer.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None


def subscriber(address: Address) -> bytes:
    """Give what is counted as one address."""
    return address.packed if address.version == 4 else address.packed[:8]
