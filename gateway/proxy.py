"""The header with which a balancer says whose connection it passes on: PROXY protocol, versions 1 and 2.

See haproxy.org/download/3.0/doc/proxy-protocol.txt. A pure function of the bytes so far: it says that more is
needed, what the header says, or why it is none.

Errors:
    ProxyError — these bytes begin no header that we accept; `reason` is short and stable.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from gateway.addresses import Address, text_of

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
"""Begins version 2; no text protocol begins so."""

MAX_TEXT: Final = 107
"""Bytes of the longest version 1 header, two IPv6 addresses and CRLF, §2.1."""

MAX_HEADER: Final = 4096
"""Version 2 could be 64 KiB long. Addresses and what balancers add, a client certificate's name among it,
take some hundred bytes.
"""

_FIXED: Final = 16
"""Bytes of version 2 before the addresses."""

_LOCAL, _PROXY = 0x20, 0x21
"""Version 2 and the command."""

_PAIRS: Final = {0x10: 12, 0x20: 36}
"""Bytes of both addresses and both ports, by address family: AF_INET, AF_INET6."""


class ProxyError(Exception):
    """No header that we accept."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Header(NamedTuple):
    """What a balancer said."""

    length: int
    """Bytes of the header. What follows is the connection's own."""
    source: str
    """Who connected, as host:port; empty where the balancer speaks for itself or does not know."""


def read_header(data: bytes) -> Header | None:
    """Read the header at the start of `data`; None when more bytes have to come.

    Raises:
        ProxyError: `signature`: it begins like neither version; `malformed`; `too_long`.
    """
    if data.startswith(SIGNATURE[: len(data)]):
        return _read_binary(data)
    if data.startswith(b"PROXY "[: len(data)]):
        return _read_text(data)
    raise ProxyError("signature")


def _read_text(data: bytes) -> Header | None:
    """Version 1, §2.1: `PROXY TCP4 source destination source-port destination-port`."""
    end = data.find(b"\r\n", 0, MAX_TEXT)
    if end < 0:
        if len(data) >= MAX_TEXT:
            raise ProxyError("too_long")
        return None
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(end + 2, "")
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyError("malformed")
    kind = IPv4Address if words[1] == b"TCP4" else IPv6Address
    addresses = [_address(word) for word in words[2:4]]
    ports = [_port(word) for word in words[4:]]
    if not all(isinstance(address, kind) for address in addresses):
        raise ProxyError("malformed")
    return Header(end + 2, _text(addresses[0], ports[0]))


def _address(word: bytes) -> Address:
    if b"%" in word:  # a zone has meaning on one machine only, and would be any text
        raise ProxyError("malformed")
    try:
        return ip_address(word.decode("ascii"))
    except ValueError:
        raise ProxyError("malformed") from None


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 0xFFFF:
        raise ProxyError("malformed")
    return int(word)


def _read_binary(data: bytes) -> Header | None:
    """Version 2, §2.2. A family that is no internet address counts as unknown; what follows the addresses
    (TLVs) is passed over.
    """
    if len(data) < _FIXED:
        return None
    command, family, length = data[12], data[13] & 0xF0, int.from_bytes(data[14:_FIXED])
    if command not in (_LOCAL, _PROXY):
        raise ProxyError("malformed")
    if _FIXED + length > MAX_HEADER:
        raise ProxyError("too_long")
    pair = _PAIRS.get(family, 0) if command == _PROXY else 0
    if length < pair:
        raise ProxyError("malformed")
    if len(data) < _FIXED + length:
        return None
    if not pair:
        return Header(_FIXED + length, "")
    host = ip_address(data[_FIXED : _FIXED + (pair - 4) // 2])
    port = int.from_bytes(data[_FIXED + pair - 4 : _FIXED + pair - 2])
    return Header(_FIXED + length, _text(host, port))


def _text(host: Address, port: int) -> str:
    mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else None
    return text_of((str(mapped or host), port))
