"""The body cipher of JT/T 809-2011 §4.4: a stream of bytes by which the body is exclusive-ored.

A linear congruential generator makes the stream from the key in the frame's header and from three numbers
that the superior platform issues to each subordinate one. It hides nothing from whoever collects a few
frames; protect links by a private network or TLS.
"""

from typing import Final, NamedTuple

U32: Final = 0xFFFFFFFF


class Keys(NamedTuple):
    """What the superior platform has issued."""

    m1: int
    ia1: int
    ic1: int


def apply(data: bytes, key: int, keys: Keys) -> bytes:
    """Encrypt or decrypt a body by the key of its header; both are the same. A 0 counts as 1."""
    state, modulus = key or 1, keys.m1 or 1
    out = bytearray(data)
    for at, byte in enumerate(data):
        state = (keys.ia1 * (state % modulus) + keys.ic1) & U32
        out[at] = byte ^ (state >> 20 & 0xFF)
    return bytes(out)
