"""One verified unit of the wire: header, body and checksum between two 0x7e flags. JT/T 808-2019 §4.4.

On the wire 0x7e inside a frame is escaped as 0x7d 0x02 and 0x7d as 0x7d 0x01. The **plain** form of a frame
is what remains without flags and escapes: header, body, checksum. The log keeps plain frames.

What makes a plain frame valid, in the order in which faults are named (`verify`; `protocol.columns` does
the same):

1. `too_short`: fewer than 13 bytes (2013 header and checksum), or fewer than 18 while bit 14 asks for the
   2019 header and the exception below does not hold.
2. `bad_checksum`: the exclusive or of all bytes is not 0.
3. `bad_length`: header (with the four fragment bytes of bit 13) + body length of bits 0 to 9 + checksum is
   not the number of bytes there are.

Exception: some devices set bit 14 and still send the 2013 header. Where the 2019 reading's length disagrees
and the 2013 reading's agrees, the frame is read with the 2013 header: `Frame.version` is None although bit
14 is set.
"""

from dataclasses import dataclass, field, replace
from functools import reduce
from operator import xor
from struct import Struct as Packed
from struct import error as PackingError
from typing import Any, Final

import numpy as np
from construct import Bytes, Int8ub, Int16ub, Struct

from protocol.errors import BadChecksum, BadEscape, BadLength, LocalProtocolError, TooShort

FLAG: Final = 0x7E
ESCAPE: Final = 0x7D
UNESCAPED_CHECKSUM: Final = b"\x7d"
"""How a frame ends whose sender forgot to escape a checksum of 0x7d: accepted by rule, see `unescape`."""

HEADER_2013: Final = Struct(
    "msg_id" / Int16ub * "消息ID message id",
    "attributes" / Int16ub * "消息体属性 body attributes",
    "raw_id" / Bytes(6) * "终端手机号 terminal id, BCD",
    "serial" / Int16ub * "消息流水号 serial",
)
"""The header of the 2011 and 2013 editions, JT/T 808-2013 §4.4.3."""

HEADER_2019: Final = Struct(
    "msg_id" / Int16ub * "消息ID message id",
    "attributes" / Int16ub * "消息体属性 body attributes",
    "version" / Int8ub * "协议版本号 protocol version",
    "raw_id" / Bytes(10) * "终端手机号 terminal id, BCD",
    "serial" / Int16ub * "消息流水号 serial",
)
"""The header of the 2019 edition, JT/T 808-2019 §4.4.3; bit 14 of the attributes announces it."""

FRAGMENT: Final = Struct(
    "total" / Int16ub * "消息总包数 fragments in all",
    "index" / Int16ub * "包序号 number of this fragment, from 1",
)
"""消息包封装项, present where bit 13 of the attributes is set."""

LENGTH_BITS: Final = 0x03FF
CIPHER_BITS: Final = 0x1C00
CIPHER_SHIFT: Final = 10
FRAGMENT_BIT: Final = 0x2000
BIT_2019: Final = 0x4000

MAX_BODY: Final = 1023
"""Bits 0 to 9 of the attributes cannot say more."""

SERIALS: Final = 1 << 16
"""Serials count from 0 and wrap behind 65535, JT/T 808-2013 §4.4.3."""


def packed(declaration: Any) -> Packed:
    """Derive a `struct.Struct` from a declaration of integers and byte strings: the fast scalar reading of
    it."""
    form = ">"
    for field_ in declaration.subcons:
        inner = field_.subcon
        while hasattr(inner, "subcon"):
            inner = inner.subcon
        form += inner.fmtstr[1:] if hasattr(inner, "fmtstr") else f"{inner.sizeof()}s"
    return Packed(form)


_HEADER_2013: Final = packed(HEADER_2013)
_HEADER_2019: Final = packed(HEADER_2019)
_FRAGMENT: Final = packed(FRAGMENT)

MIN_PLAIN_2013: Final = _HEADER_2013.size + 1
MIN_PLAIN_2019: Final = _HEADER_2019.size + 1
MAX_PLAIN: Final = _HEADER_2019.size + _FRAGMENT.size + MAX_BODY + 1
MAX_FRAME: Final = 2 * MAX_PLAIN
"""Most bytes between two flags: the longest plain frame with every byte escaped. Bounds the memory of a
link."""


def escape(plain: bytes) -> bytes:
    """Escape what stands between the flags: 0x7d first, so that the escapes of 0x7e stay."""
    return plain.replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02")


def unescape(content: bytes) -> bytes:
    """Undo `escape`. A single 0x7d at the very end is an unescaped checksum and stays.

    Raises:
        BadEscape: 0x7d is followed by something else than 0x01 and 0x02.
    """
    if ESCAPE not in content:
        return content
    first, *pieces = content.split(b"\x7d")
    plain = bytearray(first)
    for number, piece in enumerate(pieces, 1):
        if piece[:1] == b"\x01":
            plain += b"\x7d"
        elif piece[:1] == b"\x02":
            plain += b"\x7e"
        elif piece == b"" and number == len(pieces):
            plain += UNESCAPED_CHECKSUM
        else:
            raise BadEscape(f"0x7d {piece[:1].hex()}")
        plain += piece[1:]
    return bytes(plain)


def checksum(data: bytes) -> int:
    """Give the exclusive or of all bytes; 0 over a whole plain frame means that its checksum is right."""
    if len(data) < 64:  # below that, numpy's call costs more than the loop
        return reduce(xor, data, 0)
    return int(np.bitwise_xor.reduce(np.frombuffer(data, np.uint8)))


def _agrees(plain: bytes, attributes: int, header: int) -> bool:
    fragment = _FRAGMENT.size if attributes & FRAGMENT_BIT else 0
    return header + fragment + (attributes & LENGTH_BITS) + 1 == len(plain)


def verify(plain: bytes) -> bool:
    """Check a plain frame and tell whether it has the 2019 header.

    Raises:
        TooShort, BadChecksum, BadLength: see the head of this module for what each means.
    """
    if len(plain) < MIN_PLAIN_2013:
        raise TooShort(f"{len(plain)} bytes")
    attributes = plain[2] << 8 | plain[3]
    fits_2013 = _agrees(plain, attributes, _HEADER_2013.size)
    fits_2019 = bool(attributes & BIT_2019) and _agrees(plain, attributes, _HEADER_2019.size)
    if attributes & BIT_2019 and len(plain) < MIN_PLAIN_2019 and not fits_2013:
        raise TooShort(f"{len(plain)} bytes with a 2019 header")
    if checksum(plain):
        raise BadChecksum(f"{plain[-1]:#04x} sent, {checksum(plain[:-1]):#04x} computed")
    if not (fits_2013 or fits_2019):
        raise BadLength(
            f"header says {attributes & LENGTH_BITS} bytes of body, frame has {len(plain)} in all"
        )
    return fits_2019


@dataclass(frozen=True, slots=True)
class Frame:
    """A message unit with its header. `parse` reads one, `encode` writes the wire."""

    msg_id: int
    raw_id: bytes
    """The terminal's id as in the header: 6 bytes of BCD, 10 with the 2019 header. Answers echo it."""
    serial: int
    body: bytes = field(repr=False)
    version: int | None = None
    """协议版本号 of a 2019 header; None means the header of 2011 and 2013."""
    fragment: tuple[int, int] | None = None
    """(total, index from 1) of a fragmented message."""
    attributes: int = 0
    """As received. `encode` keeps cipher and reserved bits of it and computes the others."""

    @property
    def is_2019(self) -> bool:
        """The frame has the 2019 header."""
        return self.version is not None

    @property
    def cipher(self) -> int:
        """数据加密方式, bits 10 to 12 of the attributes: 0 none, 1 RSA, 2 SM4 in newer practice."""
        return (self.attributes & CIPHER_BITS) >> CIPHER_SHIFT

    @property
    def identity(self) -> str:
        """The terminal: its id as upper-case hex without leading zeros, "0" if nothing else remains."""
        return identity_of(self.raw_id)

    def plain(self) -> bytes:
        """Header, body and checksum without flags and escapes.

        Raises:
            LocalProtocolError: a field does not fit the header.
        """
        if len(self.body) > MAX_BODY:
            raise LocalProtocolError(
                f"body has {len(self.body)} bytes, a frame carries at most {MAX_BODY}: fragment it"
            )
        width = 10 if self.is_2019 else 6
        if len(self.raw_id) != width:
            raise LocalProtocolError(f"terminal id has {len(self.raw_id)} bytes, this header has {width}")
        computed = LENGTH_BITS | FRAGMENT_BIT | (BIT_2019 if self.is_2019 else 0)
        attributes = self.attributes & ~computed | len(self.body)
        attributes |= (FRAGMENT_BIT if self.fragment else 0) | (BIT_2019 if self.is_2019 else 0)
        try:
            if self.version is None:
                head = _HEADER_2013.pack(self.msg_id, attributes, self.raw_id, self.serial)
            else:
                head = _HEADER_2019.pack(self.msg_id, attributes, self.version, self.raw_id, self.serial)
            head += _FRAGMENT.pack(*self.fragment) if self.fragment else b""
        except PackingError as error:
            raise LocalProtocolError(f"{self!r} does not fit its header: {error}") from error
        data = head + self.body
        return data + bytes((checksum(data),))

    def encode(self) -> bytes:
        """Give the bytes for the wire, flags and escapes included.

        Raises:
            LocalProtocolError: a field does not fit the header.
        """
        return b"\x7e" + escape(self.plain()) + b"\x7e"


def parse(plain: bytes) -> Frame:
    """Read a plain frame (header, body, checksum).

    Raises:
        FrameError: it is not valid; see the head of this module.
    """
    version = None
    if verify(plain):
        msg_id, attributes, version, raw_id, serial = _HEADER_2019.unpack_from(plain)
        at = _HEADER_2019.size
    else:
        msg_id, attributes, raw_id, serial = _HEADER_2013.unpack_from(plain)
        at = _HEADER_2013.size
    fragment = None
    if attributes & FRAGMENT_BIT:
        total, index = _FRAGMENT.unpack_from(plain, at)
        fragment, at = (total, index), at + _FRAGMENT.size
    return Frame(msg_id, raw_id, serial, plain[at:-1], version, fragment, attributes)


def divide(frame: Frame) -> list[Frame]:
    """Give the frames that carry a message: itself, or where its body is too long fragments, whose serials
    count from its own on.

    Raises:
        LocalProtocolError: a header cannot count so many fragments.
    """
    if len(frame.body) <= MAX_BODY:
        return [frame]
    parts = [frame.body[at : at + MAX_BODY] for at in range(0, len(frame.body), MAX_BODY)]
    if len(parts) >= SERIALS:
        raise LocalProtocolError(
            f"a body of {len(frame.body)} bytes needs more fragments than a header can count"
        )
    return [
        replace(frame, serial=(frame.serial + index) % SERIALS, body=part, fragment=(len(parts), index + 1))
        for index, part in enumerate(parts)
    ]


def identity_of(raw_id: bytes) -> str:
    """Give a header's id as identity, e.g. `01 39 12 34 56 78` as "13912345678"."""
    return raw_id.hex().upper().lstrip("0") or "0"


def raw_id_of(identity: str, is_2019: bool) -> bytes:
    """Give the id that a header carries for an identity.

    Raises:
        LocalProtocolError: the identity is no hex number or has more digits than the header has room for.
    """
    width = 10 if is_2019 else 6
    try:
        raw_id = bytes.fromhex(identity.zfill(2 * width))
    except ValueError:
        raise LocalProtocolError(f"terminal identity {identity!r} is not made of hex digits") from None
    if len(raw_id) != width:
        raise LocalProtocolError(
            f"terminal identity {identity} has more than the {2 * width} digits of its header"
        )
    return raw_id
