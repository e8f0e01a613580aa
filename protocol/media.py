"""音视频流及透传数据, video, sound and data as they travel on a link of their own. JT/T 1078-2016 §5.5.3.

A packet begins with 0x30 0x31 0x63 0x64 ("01cd"), is neither escaped nor checked, and ends where its length
says. Packets of attachments (`protocol.attachments`) begin alike and are something else; they never share a
link.

Which fields there are depends on the kind of data: no time in 透传 data, no distances between frames but in
video.
"""

from dataclasses import dataclass
from typing import Any, Final

from construct import Computed, Const, Construct, Int8ub, Int16ub, Int64ub, Rebuild, Struct, this

from protocol.adapters import BcdDigits, HexBytes, When, as_bytes
from protocol.body import read, write
from protocol.deframer import RejectedBytes
from protocol.errors import BodyError, Garbage

MARK: Final = b"01cd"
"""帧头标识."""

RTP: Final = 0x81
"""Byte 4 as the standard fixes it: version 2, no padding, no extension, one source."""

SOUND, DATA = 3, 4
"""数据类型; 0, 1 and 2 are I, P and B frames of video."""

SIM_BYTES: Final = 6
"""Digits of the SIM card by JT/T 1078-2016; T/GDRTA 002-2020 (粤标) table 5-36 has 10 bytes of them."""

SIM_BYTES_2019: Final = 10


def packet(sim_bytes: int) -> Construct:
    """Declare a packet by the width of the SIM card's number."""
    return Struct(
        "mark" / Const(MARK) * "帧头标识 01cd",
        "label1" / Int8ub * "V, P, X, CC: 0x81",
        "label2" / Int8ub * "M bit 7: the end of a frame; PT bits 0 to 6",
        "sequence" / Int16ub * "包序号 counts packets",
        "sim" / BcdDigits(sim_bytes) * "SIM卡号 SIM card",
        "channel" / Int8ub * "逻辑通道号 channel of JT/T 1076-2016 table 2",
        "label3" / Int8ub * "数据类型 bits 4 to 7; 分包处理标记 bits 0 to 3",
        "is_frame_end" / Computed(this.label2 >> 7 == 1) * "M 完整数据帧的边界 a frame ends here",
        "payload_type" / Computed(this.label2 & 0x7F) * "PT 负载类型 table 12, e.g. 98 H.264, 99 H.265",
        "data_type" / Computed(this.label3 >> 4) * "数据类型 video 0 I, 1 P, 2 B frame; 3 sound, 4 data",
        "part"
        / Computed(this.label3 & 15)
        * "分包处理标记 0 whole frame, 1 its first, 2 last, 3 middle packet",
        "timestamp_ms" / When(this.data_type != DATA, Int64ub) * "时间戳 time of the frame in its stream",
        "last_i_frame_interval"
        / When(this.data_type < SOUND, Int16ub)
        * "Last I Frame Interval ms since the last key frame, video only",
        "last_frame_interval"
        / When(this.data_type < SOUND, Int16ub)
        * "Last Frame Interval ms since the last frame, video only",
        "body_length" / Rebuild(Int16ub, lambda this: len(as_bytes(this.payload_hex))) * "数据体长度 bytes",
        "payload_hex" / HexBytes(this.body_length) * "数据体 at most 950 bytes by the standard",
    )


PACKETS: Final = {SIM_BYTES: packet(SIM_BYTES), SIM_BYTES_2019: packet(SIM_BYTES_2019)}

LONGEST_HEAD: Final = 34
MAX_PACKET: Final = LONGEST_HEAD + 0xFFFF
"""The length is WORD; devices do exceed the 950 bytes of the standard."""


def encode_packet(fields: dict[str, Any], sim_bytes: int = SIM_BYTES) -> bytes:
    """Write a packet from its fields; label1 may be absent.

    Raises:
        LocalProtocolError: a field is missing or does not fit.
    """
    return write(PACKETS[sim_bytes], {"mark": MARK, "label1": RTP} | fields)


def decode_packet(data: bytes, sim_bytes: int = SIM_BYTES) -> dict[str, Any]:
    """Read one packet; more bytes behind it are kept as `rest`.

    Raises:
        BodyError: it does not begin with the mark, or is not complete.
    """
    fields: dict[str, Any] = read(PACKETS[sim_bytes], data)
    return fields


USUAL_PACKET: Final = LONGEST_HEAD + 950
"""By the standard. No more is looked at of what may be one, unless that is too little."""


@dataclass(slots=True)
class MediaDeframer:
    """The framing of a media link. Feed it bytes as they arrive.

    It remembers at most one packet. Bytes between packets are `garbage`.
    """

    sim_bytes: int = SIM_BYTES
    tail: bytes = b""
    """What has begun and is not complete."""

    def feed(self, data: bytes) -> list[dict[str, Any] | RejectedBytes]:
        """Take received bytes and give, in order, the fields of all packets that they complete."""
        found: list[dict[str, Any] | RejectedBytes] = []
        data, at = self.tail + data, 0
        while at < len(data):
            start = data.find(MARK, at, at + MAX_PACKET)
            if start < 0 and len(data) - at < MAX_PACKET:
                break
            if start != at:
                end = start if start > at else at + MAX_PACKET - len(MARK)
                found.append(RejectedBytes(Garbage.reason, data[at:end]))
                at = end
                continue
            packet = self._packet(data[at : at + USUAL_PACKET]) or self._packet(data[at : at + MAX_PACKET])
            if packet is None:
                break  # the rest of it has not arrived
            fields, size = packet
            found.append(fields)
            at += size
        self.tail = data[at:]
        return found

    def _packet(self, data: bytes) -> tuple[dict[str, Any], int] | None:
        """Give the packet at the head of some bytes and how many are its own; None if they do not hold it."""
        try:
            fields = decode_packet(data, self.sim_bytes)
        except BodyError:
            return None
        return fields, len(data) - len(fields.pop("rest", b""))
