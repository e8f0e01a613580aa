"""附件, attachments of active-safety alarms as they travel: file packets between ordinary frames on one link.

A packet is 0x30 0x31 0x63 0x64, name BYTE[50], offset DWORD, length DWORD, data (T/JSATL 12-2017 table 4-26,
T/GDRTA 002-2020 table 5-26). It is neither escaped nor checked, so the length alone tells where it ends, and
the data may contain 0x7e and the mark itself. Frames of 808 stand between packets, never inside.

The rules of a stream; those of `protocol.deframer` hold for frames:

- Where something begins, 0x7e begins a frame and the mark begins a packet. Other bytes up to the next of the
  two are `garbage`. One 0x7e may end a frame and begin the next; before a mark it only ends one.
- Data is given as it arrives, in parts; nothing waits for the end of a packet, so no length can fill the
  memory.
- A packet that says it is longer than `MAX_PACKET` or reaches beyond 4 GiB is `too_long`; its mark is passed
  over and the search goes on behind it.
- Content of a frame longer than `MAX_FRAME` bytes is `too_long`, and what follows is searched for a
  beginning. So a lost end flag costs the data up to there, and 0x9212 asks for it again.

Packets are not answered. `Upload` keeps what of a file has arrived and says what 0x9212 must ask for.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from construct import Const, Int32ub, Struct

from protocol.adapters import Text, encode_text
from protocol.deframer import PlainFrame, RejectedBytes, deframe
from protocol.errors import Garbage, LocalProtocolError, TooLong
from protocol.frame import MAX_FRAME

MARK: Final = b"01cd"
"""帧头标识."""

NAME: Final = 50
"""Bytes of a file's name."""

HEAD: Final = Struct(
    "mark" / Const(MARK) * "帧头标识 01cd",
    "file_name" / Text(NAME) * "文件名称 file",
    "offset" / Int32ub * "数据偏移量 where in the file",
    "length" / Int32ub * "数据长度 bytes",
)
"""The head of a packet; the data follows."""

HEAD_SIZE: Final = 62
DEFAULT_PACKET: Final = 64 * 1024
"""数据体默认长度: what packets carry that are not the last of their file."""

MAX_PACKET: Final = 16 * DEFAULT_PACKET
"""More data than any packet carries. It bounds what a broken length can make us take for data."""

MOST_BYTES: Final = 1 << 32
"""Offsets are DWORD."""

CHUNK: Final = 16 * 1024
"""So much is looked at at once: each step copies what is left of it, and a packet may be empty."""

MAX_MISSING: Final = 255
"""补传数据包数量 is one byte."""


class FilePart(NamedTuple):
    """Some bytes of a file, as they arrived."""

    file_name: str
    offset: int
    """Where in the file these bytes belong."""
    data: bytes


def encode_packet(file_name: str, offset: int, data: bytes) -> bytes:
    """Give one packet for the wire.

    Raises:
        LocalProtocolError: the name has more than 50 bytes, or there is too much data.
    """
    if len(encode_text(file_name)) > NAME:
        raise LocalProtocolError(f"file name {file_name!r} has more than {NAME} bytes")
    if len(data) > MAX_PACKET or offset + len(data) > MOST_BYTES:
        raise LocalProtocolError(f"a packet carries at most {MAX_PACKET} bytes of the first {MOST_BYTES}")
    head: bytes = HEAD.build({"file_name": file_name, "offset": offset, "length": len(data)})
    return head + data


Event: TypeAlias = PlainFrame | RejectedBytes | FilePart


@dataclass(slots=True)
class AttachmentDeframer:
    """The framing of an attachment link. Feed it bytes as they arrive; frames of 808 come out as well.

    It remembers at most one frame or the head of one packet.
    """

    tail: bytes = b""
    """What has begun and is not complete."""
    file_name: str = ""
    offset: int = 0
    """Where the next byte of the packet belongs that is being received."""
    remaining: int = 0
    """Bytes of that packet that have not arrived."""

    def feed(self, data: bytes) -> list[Event]:
        """Take received bytes and give, in order, all that they complete."""
        found: list[Event] = []
        for at in range(0, len(data), CHUNK):
            self._take(data[at : at + CHUNK], found)
        return found

    def _take(self, data: bytes, found: list[Event]) -> None:
        data, before = self.tail + data, -1
        while data and len(data) != before:
            before = len(data)
            data = self._step(data, found)
        self.tail = data

    def _step(self, data: bytes, found: list[Event]) -> bytes:
        """Take one thing from the head of `data`; give what remains, all of it where more must arrive."""
        if self.remaining:
            return self._data(data, found)
        if data[:1] == b"\x7e":
            return self._frame(data, found)
        if data.startswith(MARK):
            return self._packet(data, found)
        return self._garbage(data, found)

    def _data(self, data: bytes, found: list[Event]) -> bytes:
        part = data[: self.remaining]
        found.append(FilePart(self.file_name, self.offset, part))
        self.offset += len(part)
        self.remaining -= len(part)
        return data[len(part) :]

    def _frame(self, data: bytes, found: list[Event]) -> bytes:
        if data.startswith(b"\x7e" + MARK):
            return data[1:]
        end = data.find(b"\x7e", 1, MAX_FRAME + 2)
        if end > 0:
            if end > 1:
                found.append(deframe(data[1:end]))
            return data[end:]
        if len(data) < MAX_FRAME + 2:
            return data
        found.append(RejectedBytes(TooLong.reason, data[1 : MAX_FRAME + 1]))
        return data[MAX_FRAME + 1 :]

    def _packet(self, data: bytes, found: list[Event]) -> bytes:
        if len(data) < HEAD_SIZE:
            return data
        head = HEAD.parse(data[:HEAD_SIZE])
        if head.length > MAX_PACKET or head.offset + head.length > MOST_BYTES:
            found.append(RejectedBytes(TooLong.reason, data[:HEAD_SIZE]))
            return data[len(MARK) :]
        self.file_name, self.offset, self.remaining = head.file_name, head.offset, head.length
        return data[HEAD_SIZE:]

    def _garbage(self, data: bytes, found: list[Event]) -> bytes:
        """Pass over what begins nothing. It is given in pieces of `MAX_FRAME`, so that it never piles up."""
        starts = [at for at in (data.find(b"\x7e"), data.find(MARK)) if at >= 0]
        end = min([*starts, MAX_FRAME])
        if not starts and len(data) < MAX_FRAME + len(MARK):
            return data
        found.append(RejectedBytes(Garbage.reason, data[:end]))
        return data[end:]


@dataclass(slots=True)
class Upload:
    """What of one file has arrived: a set of ranges, joined where they touch."""

    size: int
    """文件大小 as 0x1211 or 0x1212 says."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """(start, end) of what is there, apart from each other and in order."""

    def add(self, offset: int, length: int) -> None:
        """Note that these bytes are there. Parts may overlap, repeat and come in any order."""
        start, end = offset, min(offset + length, self.size)
        if start >= end:
            return
        first = bisect_left(self.ranges, start, key=itemgetter(1))
        behind = bisect_right(self.ranges, end, key=itemgetter(0))
        if first < behind:  # they touch this one, and so become one with it
            start, end = min(start, self.ranges[first][0]), max(end, self.ranges[behind - 1][1])
        self.ranges[first:behind] = [(start, end)]

    @property
    def is_complete(self) -> bool:
        """Nothing is missing."""
        return not self.missing()

    def missing(self) -> list[dict[str, int]]:
        """Give `packages` of 0x9212: what is not there, at most 255 gaps, the first ones first."""
        ends = [0, *(end for _, end in self.ranges)]
        starts = [*(start for start, _ in self.ranges), self.size]
        gaps = [
            {"offset": end, "length": start - end}
            for end, start in zip(ends, starts, strict=True)
            if start > end
        ]
        return gaps[:MAX_MISSING]
