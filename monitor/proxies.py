"""Whose request it is where proxies pass it on: `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded` (RFC
7239).

Anybody can send these headers, so they are believed only from a proxy that a setting names, and only as far
as proxies that it names have written them: read from the right, the first address that is none of theirs is
the client's. Where they cannot be read or contradict each other, the request counts as the proxy's own, and
as one whose origin is not known.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

import structlog
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.addresses import Address, Network

Headers = Iterable[tuple[bytes, bytes]]

PASSED_ON: Final = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"via"}
)
"""Who sends one of these speaks for somebody else."""

_SCHEMES: Final = {"http": "http", "ws": "http", "https": "https", "wss": "https"}

_PAIR: Final = re.compile(r'\s*([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))\s*(?:([;,])|$)', re.ASCII)
"""One `name=value` and what ends it."""

_log = structlog.get_logger("monitor")


class Origin(NamedTuple):
    """Where a request comes from."""

    address: str
    scheme: str
    """http or https."""
    is_known: bool
    """It came straight from this address, or proxies that we believe say so."""


class Hop(NamedTuple):
    """What a proxy says about who sent it a request."""

    address: Address | None
    """None where it is no address."""
    scheme: str | None = None


def origin(peer: str, scheme: str, headers: Headers, proxies: Sequence[Network]) -> Origin:
    """Say where a request comes from that `peer` sent us over `scheme`. Only what `proxies` say counts."""
    address = read_address(peer)
    own = Origin(str(address or peer), scheme, True)
    said = [(name, value) for name, value in headers if name in PASSED_ON]
    if not said:
        return own
    if address is None or not is_in(address, proxies):
        return own._replace(is_known=False)
    ways = [way for way in (_forwarded_for(said), _forwarded(said)) if way is not None]
    clients = [_client(way, proxies) for way in ways]
    schemes = [_scheme(said), *(client.scheme for client in clients if client is not None)]
    scheme = next(filter(None, schemes), scheme)
    addresses = {client.address if client is not None else None for client in clients}
    found = addresses.pop() if len(addresses) == 1 else None
    return Origin(str(found or address), scheme, found is not None)


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Say whether an address is of one of these networks."""
    return any(address in network for network in networks)


def read_address(text: str) -> Address | None:
    """Read an address, with or without a port; one of IPv4 in IPv6 is what it is. None where it is none."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    if "%" in host:  # a zone has meaning on one machine only, and would be any text
        return None
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _client(way: list[Hop], proxies: Sequence[Network]) -> Hop | None:
    """Give the hop nearest to us that is no proxy, or the first where all are; None where the way breaks
    off."""
    hop = None
    for hop in reversed(way):
        if hop.address is None:
            return None
        if not is_in(hop.address, proxies):
            break
    return hop


def _joined(said: Headers, wanted: bytes) -> str | None:
    values = [value.decode("latin-1") for name, value in said if name == wanted]
    return ",".join(values) if values else None


def _forwarded_for(said: Headers) -> list[Hop] | None:
    text = _joined(said, b"x-forwarded-for")
    return None if text is None else [Hop(read_address(part)) for part in text.split(",")]


def _scheme(said: Headers) -> str | None:
    """Give what the proxy in front of us says: it stands last."""
    text = _joined(said, b"x-forwarded-proto") or ""
    return _SCHEMES.get(text.rpartition(",")[2].strip().lower())


def _forwarded(said: Headers) -> list[Hop] | None:
    """Read `Forwarded`; a way with one unknown hop where it cannot be read."""
    text = _joined(said, b"forwarded")
    if text is None:
        return None
    way, hop, at, ends = [], Hop(None), 0, ","
    while at < len(text) or ends:
        pair = _PAIR.match(text, at)
        if pair is None:
            return [Hop(None)]
        at, ends = pair.end(), pair[4] or ""
        value = re.sub(r"\\(.)", r"\1", pair[2]) if pair[2] is not None else pair[3]
        match pair[1].lower():
            case "for":
                hop = hop._replace(address=read_address(value))
            case "proto":
                hop = hop._replace(scheme=_SCHEMES.get(value.lower()))
        if ends != ";":
            way.append(hop)
            hop = Hop(None)
    return way


class Proxies:
    """ASGI middleware, before everything that asks who the client is."""

    def __init__(self, app: ASGIApp, *, proxies: Sequence[Network]) -> None:
        self.app = app
        self.proxies = tuple(proxies)
        self._has_told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self._look(scope)
        await self.app(scope, receive, send)

    def _look(self, scope: Scope) -> None:
        peer, port = scope.get("client") or ("", 0)
        found = origin(peer, _SCHEMES[scope["scheme"]], scope["headers"], self.proxies)
        scope["client"] = (found.address, port)
        if scope["type"] == "http":
            scope["scheme"] = found.scheme
        else:
            scope["scheme"] = "wss" if found.scheme == "https" else "ws"
        scope.setdefault("state", {})["origin"] = found
        self._tell(found, peer)

    def _tell(self, found: Origin, peer: str) -> None:
        """Say once that somebody near passes requests on and is not believed."""
        address = read_address(peer)
        if found.is_known or self._has_told or address is None or not address.is_private:
            return
        if not is_in(address, self.proxies):
            self._has_told = True
            _log.warning("a proxy passes requests on that monitor.proxy_networks does not name", proxy=peer)


def comes_from(connection: HTTPConnection, networks: Iterable[Network]) -> bool:
    """Say whether it is certain that a request comes from one of these networks."""
    found: Origin = connection.state.origin
    address = read_address(found.address)
    return found.is_known and address is not None and is_in(address, networks)
