"""通用数据传输类消息: bytes for devices behind the terminal, and compressed ones. 2013 §8.61 to §8.63, 2019
§8.60 to §8.62.
"""

import zlib
from typing import Any, Final

from construct import Computed, Construct, Int8ub, Int16ub, Int32ub, Rebuild, Struct, this

from protocol.adapters import END, HexBytes, as_bytes, decode_text
from protocol.edition import Edition
from protocol.message import DOWN, UP, Direction, message
from protocol.passthrough import read_content, write_content

TYPE = (
    "passthrough_type"
    / Int8ub
    * "透传消息类型 0 GNSS details, 0x0B IC card, 0x41 and 0x42 serial ports, 0xF0 to 0xFF the user's"
)


def text_of(content: str) -> str | None:
    """Give the content as text where it is nothing but printable text."""
    data = as_bytes(content)
    text = decode_text(data)
    return text if data and text.isprintable() and "\\x" not in text else None


def content(direction: Direction, width: Any = None) -> tuple[Construct, ...]:
    """What is passed through: raw, and read where it can be."""
    return (
        "content_hex"
        / Rebuild(HexBytes(width), lambda this: write_content(direction, this))
        * "透传消息内容 content",
        "content_text" / Computed(lambda this: text_of(this.content_hex)) * "文本 content that is plain text",
        "content"
        / Computed(lambda this: read_content(direction, this))
        * "内容 content that is declared in protocol.passthrough",
    )


def passing(direction: Direction) -> dict[Edition, Construct]:
    """Declare 0x0900 or 0x8900. In 2011 the body itself divides a long content into packets."""
    return {
        Edition.E2011: Struct(
            TYPE,
            "total_length" / Int32ub * "信息总长度 bytes of all packets",
            "package_length"
            / Rebuild(Int16ub, lambda this: len(write_content(direction, this)))
            * "包信息长度 bytes of this packet",
            *content(direction, this.package_length),
            END,
        ),
        Edition.E2013: Struct(TYPE, *content(direction)),
    }


message(
    0x8900,
    "数据下行透传",
    "pass down",
    passing(DOWN),
    direction=DOWN,
    clause="2011 §8.49, 2013 §8.61, 2019 §8.60",
)
message(
    0x0900,
    "数据上行透传",
    "pass up",
    passing(UP),
    direction=UP,
    clause="2011 §8.50, 2013 §8.62, 2019 §8.61",
)

MOST_UNCOMPRESSED: Final = 1 << 20
"""Bytes that compressed data may grow to: far beyond any message, so that nobody fills the memory by a small
frame.
"""
GZIP: Final = 16 + zlib.MAX_WBITS
"""zlib's name for the format of gzip."""


def uncompressed(data: str) -> bytes | None:
    """Undo gzip; None where the data is not compressed, cut off, or grows beyond all bounds."""
    expansion = zlib.decompressobj(GZIP)
    try:
        found = expansion.decompress(as_bytes(data), MOST_UNCOMPRESSED)
    except zlib.error:
        return None
    return found if expansion.eof else None


def compressed(this: Any) -> bytes:
    """Give the compressed data of 0x0901, or compress `uncompressed_data` where there is none."""
    if this.get("data") is not None:
        return as_bytes(this.data)
    compression = zlib.compressobj(wbits=GZIP)
    return compression.compress(as_bytes(this.uncompressed_data)) + compression.flush()


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


message(
    0x0901,
    "数据压缩上报",
    "compressed data",
    Struct(
        "length" / Rebuild(Int32ub, lambda this: len(compressed(this))) * "压缩消息长度 compressed bytes",
        "data" / Rebuild(HexBytes(this.length), compressed) * "压缩消息体 a message compressed by gzip",
        "uncompressed_data"
        / Computed(lambda this: _hex(uncompressed(this.data)))
        * "解压后的消息 the message, where the data is really compressed",
        "uncompressed_length"
        / Computed(
            lambda this: len(this.uncompressed_data) // 2 if this.uncompressed_data is not None else None
        )
        * "解压后的长度 its bytes",
    ),
    direction=UP,
    clause="2011 §8.51, 2013 §8.63, 2019 §8.62",
)
