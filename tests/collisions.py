"""Location reports of one second whose stored hashes agree although they differ: anybody finds them at once.

Of 28 bits two agree among some 20,000 bodies as likely as not. This is that search, without a line of the
product: `body_hash` is XXH3-64 of the body, and its low 28 bits are stored.
"""

from collections.abc import Iterator
from itertools import count, islice

import xxhash

STORED_BITS = (1 << 28) - 1
_LATITUDE = slice(8, 12)
"""Where it stands in the body of a 0x0200; the terminal may say any of them."""


def with_latitude(body: bytes, latitude_raw: int) -> bytes:
    """Give the body of a 0x0200 with another latitude, in millionths of a degree."""
    return body[: _LATITUDE.start] + latitude_raw.to_bytes(4) + body[_LATITUDE.stop :]


def latitude(body: bytes) -> int:
    """Give the latitude in the body of a 0x0200, in millionths of a degree."""
    return int.from_bytes(body[_LATITUDE])


def colliding(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give pairs of bodies that differ from this one in the latitude, and whose stored hashes agree: always
    the same ones for the same body, no body twice.
    """
    seen: dict[int, bytes] = {}
    for latitude_raw in count(41_000_000):
        other = with_latitude(body, latitude_raw)
        before = seen.setdefault(xxhash.xxh3_64_intdigest(other) & STORED_BITS, other)
        if before is not other:
            yield before, other


def pairs(body: bytes, number: int) -> list[tuple[bytes, bytes]]:
    """Give the first so many pairs of `colliding`."""
    return list(islice(colliding(body), number))
