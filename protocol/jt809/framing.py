"""One unit of the wire: header, body and CRC between 0x5b and 0x5d, and frames out of a stream.

On the wire 0x5b inside a frame is escaped as 5a 01, 0x5a as 5a 02, 0x5d as 5e 01 and 0x5e as 5e 02. The
**plain** form of a frame is what remains without flags and escapes: header, body as sent (it may be
encrypted), CRC. JT/T 809-2011 §4.3.

What makes a plain frame valid, in the order in which faults are named (`verify`):

1. `too_short`: fewer than 24 bytes (2011 header and CRC).
2. `bad_checksum`: CRC-16/CCITT over header and body is not the CRC.
3. `bad_length`: the length in the header is not the number of plain bytes plus the two flags.

The rules of a stream (`Deframer`): a frame is what stands between 0x5b and the next 0x5d. Where another 0x5b
comes first, the frame before it is `unfinished`, and the new one is read; bytes between 0x5d and the next
0x5b are `garbage`. So every byte received is in a frame or rejected once, and a bad frame costs itself only.
"""

import re
from dataclasses import dataclass, field
from struct import error as PackingError
from typing import Any, Final, TypeAlias

import crcmod
from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from protocol import errors
from protocol.deframer import RejectedBytes
from protocol.errors import BadLength, FrameError, LocalProtocolError, TooLong, TooShort
from protocol.frame import packed

START: Final = b"\x5b"
END: Final = b"\x5d"

HEADER_2011: Final = Struct(
    "length" / Int32ub * "数据长度 bytes of the whole frame without escapes: flags, header, body, CRC",
    "serial" / Int32ub * "报文序列号 serial, counted for each receiver",
    "msg_id" / Int16ub * "业务数据类型 message id",
    "gnss_center_id" / Int32ub * "下级平台接入码 number that the superior gave to the subordinate platform",
    "protocol_version" / Bytes(3) * "协议版本号 e.g. 01 02 0f is v1.2.15",
    "encrypt_flag" / Int8ub * "报文加密标识 0 plain, 1 body encrypted",
    "encrypt_key" / Int32ub * "数据加密的密钥 key of this frame",
)
"""数据头 of 2011: 22 bytes."""

HEADER_2019: Final = HEADER_2011 + Struct("time" / Int64ub * "发送消息时的系统UTC时间 seconds since 1970")
"""数据头 of 2019: 30 bytes."""

_HEADER_2011: Final = packed(HEADER_2011)
_HEADER_2019: Final = packed(HEADER_2019)

CRC_SIZE: Final = 2
FLAGS_SIZE: Final = 2
MIN_PLAIN: Final = _HEADER_2011.size + CRC_SIZE
MIN_PLAIN_2019: Final = _HEADER_2019.size + CRC_SIZE
MAX_PLAIN: Final = 1 << 20
"""The standard names no limit. The longest body is the photo of 0x1502; those that are seen have some tens of
kilobytes."""
MAX_FRAME: Final = 2 * MAX_PLAIN
"""Most bytes between two flags: the longest plain frame with every byte escaped. Bounds the memory of a
link."""

EARLIEST_TIME: Final = 1_262_304_000
LATEST_TIME: Final = 4_102_444_800
"""2010 and 2100: what a 2019 header's time lies between, see `looks_2019`."""

VERSION: Final = bytes((1, 0, 0))

_FLAGS: Final = re.compile(rb"[\x5b\x5d]")
_ESCAPES: Final = re.compile(rb"([\x5a\x5e])(.?)", re.DOTALL)
_UNESCAPED: Final = {b"\x5a\x01": b"\x5b", b"\x5a\x02": b"\x5a", b"\x5e\x01": b"\x5d", b"\x5e\x02": b"\x5e"}

_crc16: Final = crcmod.mkCrcFun(0x11021, initCrc=0xFFFF, rev=False, xorOut=0)


class Garbage(errors.Garbage):
    """Bytes outside of frames."""


class Unfinished(FrameError):
    """A frame starts before the one in front of it has ended."""

    reason = "unfinished"


class BadEscape(errors.BadEscape):
    """0x5a or 0x5e is followed by neither 0x01 nor 0x02."""


class BadCrc(errors.BadChecksum):
    """The CRC-16/CCITT over header and body is not the one that was sent."""


def crc(data: bytes) -> int:
    """CRC-16/CCITT: polynomial 0x1021, start 0xffff, no reflection. Over "123456789" it is 0x29b1."""
    return int(_crc16(data))


def escape(plain: bytes) -> bytes:
    """Escape what stands between the flags: each escape byte before what it stands for."""
    plain = plain.replace(b"\x5a", b"\x5a\x02").replace(b"\x5b", b"\x5a\x01")
    return plain.replace(b"\x5e", b"\x5e\x02").replace(b"\x5d", b"\x5e\x01")


def unescape(content: bytes) -> bytes:
    """Undo `escape`.

    Raises:
        BadEscape: 0x5a or 0x5e is followed by something else than 0x01 and 0x02.
    """
    return _ESCAPES.sub(_unescaped, content)


def _unescaped(found: re.Match[bytes]) -> bytes:
    try:
        return _UNESCAPED[found[0]]
    except KeyError:
        raise BadEscape(f"{found[0].hex()} at byte {found.start()}") from None


def verify(plain: bytes) -> None:
    """Check a plain frame.

    Raises:
        TooShort, BadCrc, BadLength: see the head of this module for what each means.
    """
    if len(plain) < MIN_PLAIN:
        raise TooShort(f"{len(plain)} bytes")
    sent, computed = int.from_bytes(plain[-CRC_SIZE:]), crc(plain[:-CRC_SIZE])
    if sent != computed:
        raise BadCrc(f"{sent:#06x} sent, {computed:#06x} computed")
    length = int.from_bytes(plain[:4])
    if length != len(plain) + FLAGS_SIZE:
        raise BadLength(f"header says {length} bytes, frame has {len(plain) + FLAGS_SIZE}")


def looks_2019(plain: bytes) -> bool:
    """Guess the edition of a frame whose sender is not known: eight bytes that are a time of our century.

    A 2011 body never starts like that, unless a user id or the like is 0.
    """
    time = int.from_bytes(plain[_HEADER_2011.size : _HEADER_2019.size])
    return len(plain) >= MIN_PLAIN_2019 and EARLIEST_TIME <= time < LATEST_TIME


@dataclass(frozen=True, slots=True)
class Frame:
    """A message with its header. `parse` reads one, `encode` writes the wire."""

    msg_id: int
    serial: int
    gnss_center_id: int
    body: bytes = field(repr=False)
    """As sent: encrypted where `encrypt_flag` says so."""
    protocol_version: bytes = VERSION
    encrypt_flag: int = 0
    encrypt_key: int = 0
    time: int | None = None
    """发送时间 of a 2019 header, seconds since 1970; None means the header of 2011."""

    @property
    def is_2019(self) -> bool:
        """The frame has the 2019 header."""
        return self.time is not None

    @property
    def is_encrypted(self) -> bool:
        """The body is encrypted."""
        return self.encrypt_flag != 0

    @property
    def length(self) -> int:
        """数据长度 of the header: flags, header, body and CRC without escapes."""
        header = _HEADER_2019 if self.is_2019 else _HEADER_2011
        return FLAGS_SIZE + header.size + len(self.body) + CRC_SIZE

    def plain(self) -> bytes:
        """Header, body and CRC without flags and escapes.

        Raises:
            LocalProtocolError: a field does not fit the header.
        """
        if self.length > MAX_PLAIN + FLAGS_SIZE:
            raise LocalProtocolError(
                f"the frame would have {self.length} bytes, at most {MAX_PLAIN} are sent"
            )
        ids = (self.length, self.serial, self.msg_id, self.gnss_center_id)
        values = (*ids, self.protocol_version, self.encrypt_flag, self.encrypt_key)
        try:
            if len(self.protocol_version) != len(VERSION):
                raise LocalProtocolError(f"a protocol version has 3 bytes, not {len(self.protocol_version)}")
            head = _HEADER_2011.pack(*values) if self.time is None else _HEADER_2019.pack(*values, self.time)
        except PackingError as error:
            raise LocalProtocolError(f"{self!r} does not fit its header: {error}") from error
        data: bytes = head + self.body
        return data + crc(data).to_bytes(CRC_SIZE)

    def encode(self) -> bytes:
        """Give the bytes for the wire, flags and escapes included.

        Raises:
            LocalProtocolError: a field does not fit the header.
        """
        return START + escape(self.plain()) + END


def parse(plain: bytes, *, is_2019: bool | None = None) -> Frame:
    """Read a plain frame (header, body, CRC). Without knowledge of the sender the edition is guessed.

    Raises:
        FrameError: it is not valid; see the head of this module.
    """
    verify(plain)
    if is_2019 is None:
        is_2019 = looks_2019(plain)
    if is_2019 and len(plain) < MIN_PLAIN_2019:
        raise TooShort(f"{len(plain)} bytes with a 2019 header")
    header = _HEADER_2019 if is_2019 else _HEADER_2011
    values: tuple[Any, ...] = header.unpack_from(plain)
    _, serial, msg_id, gnss_center_id, version, flag, key, *time = values
    body = plain[header.size : -CRC_SIZE]
    return Frame(msg_id, serial, gnss_center_id, body, version, flag, key, time[0] if time else None)


def content_of(wire: bytes) -> bytes:
    """Give what stands between the flags of one whole frame.

    Raises:
        FrameError: there are not exactly the two flags.
    """
    content = wire[1:-1]
    if wire[:1] != START or wire[-1:] != END or _FLAGS.search(content):
        raise FrameError("flags 0x5b in front, 0x5d behind and none between make a frame")
    return content


Found: TypeAlias = bytes | RejectedBytes
"""What a stream gives: a verified plain frame, or bytes that are none."""


def deframe(content: bytes) -> Found:
    """Read what stands between two flags."""
    if len(content) > MAX_FRAME:
        return RejectedBytes(TooLong.reason, content[:MAX_FRAME])
    try:
        plain = unescape(content)
        verify(plain)
    except FrameError as error:
        return RejectedBytes(error.reason, content)
    return plain


@dataclass(slots=True)
class Deframer:
    """The framing of one link. Feed it bytes as they arrive, in any chunking."""

    is_inside: bool = False
    """The last flag was a start."""
    tail: bytearray = field(default_factory=bytearray)
    """What stands after the last flag, at most `MAX_FRAME` + 1 bytes of it."""

    def feed(self, data: bytes) -> list[Found]:
        """Take received bytes and give, in order, all that they complete."""
        found: list[Found] = []
        at = 0
        for flag in _FLAGS.finditer(data):
            self._keep(data[at : flag.start()])
            at = flag.end()
            if flag[0] == START:
                if self.tail:
                    reason = Unfinished.reason if self.is_inside else Garbage.reason
                    found.append(RejectedBytes(reason, bytes(self.tail[:MAX_FRAME])))
                self.is_inside = True
                self.tail.clear()
            elif self.is_inside:
                found.append(deframe(bytes(self.tail)))
                self.is_inside = False
                self.tail.clear()
            else:
                self._keep(END)
        self._keep(data[at:])
        return found

    def _keep(self, data: bytes) -> None:
        self.tail += data[: max(0, MAX_FRAME + 1 - len(self.tail))]
