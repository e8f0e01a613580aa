"""平台通用应答, general replies (0x8001) to a whole batch, ready for the wire. JT/T 808-2019 §8.2.

Every answer is built in a row of a matrix with room for the longer header. The shorter one stands further
right, so that id, serial, body and checksum of both have the same columns and only the front differs.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from protocol.columns.batch import FrameBatch, with_numeric_id
from protocol.columns.dtypes import (
    I64,
    U8,
    U64,
    Flags,
    Member,
    Records,
    composed,
    layout_of,
    members_of,
    opaque,
    unsigned,
    window,
)
from protocol.frame import BIT_2019, ESCAPE, FLAG, HEADER_2013, HEADER_2019
from protocol.message import PLATFORM_REPLY
from protocol.messages.session import GENERAL_REPLY

_BODY_SIZE: Final = GENERAL_REPLY.sizeof()
_ROW: Final = 32
"""Flag, 2019 header, body, checksum and flag, and zeros before them up to whole eight-byte words."""
_BODY_AT: Final = _ROW - 2 - _BODY_SIZE
_SIZES: Final = {False: HEADER_2013.sizeof() + _BODY_SIZE + 3, True: HEADER_2019.sizeof() + _BODY_SIZE + 3}
"""Bytes of an answer, with flags and checksum, by whether it has the 2019 header."""


def _row_layout(header: Any) -> np.dtype[np.void]:
    """Put a header's fields right before those of the body, and the checksum behind."""
    parts = (with_numeric_id(header), _BODY_AT - header.sizeof()), (layout_of(GENERAL_REPLY), _BODY_AT)
    members: dict[str, Member] = {"checksum": (unsigned(1), _ROW - 2)}
    for layout, at in parts:
        members |= {name: (kind, at + offset) for name, (kind, offset) in members_of(layout).items()}
    return composed(members, _ROW)


_CUTS: Final = {
    is_2019: (opaque(size), composed({"answer": (opaque(size), _ROW - size)}, _ROW))
    for is_2019, size in _SIZES.items()
}
"""An answer as bytes, and as the right part of a row."""
_ROW_2013: Final = _row_layout(HEADER_2013)
_ROW_2019: Final = _row_layout(HEADER_2019)


def general_replies(batch: FrameBatch, rows: I64, serials: ArrayLike, results: ArrayLike) -> tuple[U8, I64]:
    """Answer some frames of a batch with 0x8001.

    Id, header edition and version byte are those of the frame that is answered.

    Args:
        batch: verified frames
        rows: which of them to answer
        serials: the platform's serial for each answer
        results: 0 done, 1 failed, 2 bad message, 3 not supported, 4 alarm handled; one for all or for each

    Returns:
        the answers' bytes back to back, flags and escapes included, and `len(rows) + 1` offsets: answer k is
        `data[offsets[k]:offsets[k + 1]]`
    """
    is_2019 = batch.is_2019[rows]
    answers = np.zeros(len(rows), _ROW_2019)
    answers["msg_id"] = is_2019 * PLATFORM_REPLY
    answers["attributes"] = is_2019 * (BIT_2019 | _BODY_SIZE)
    answers["version"] = batch.version[rows]
    answers["id_high"] = batch.key_high[rows]
    answers["id_low"] = batch.key_low[rows]
    as_2013, older = answers.view(_ROW_2013), (~is_2019).nonzero()[0]
    as_2013["msg_id"][older] = PLATFORM_REPLY
    as_2013["attributes"][older] = _BODY_SIZE
    answers["serial"] = serials
    answers["ack_serial"] = batch.serial[rows]
    answers["ack_msg_id"] = batch.msg_id[rows]
    answers["result"] = results
    answers["checksum"] = _checksums(answers)
    return _on_the_wire(answers.view(opaque(_ROW)), is_2019)


def _checksums(answers: Records) -> U64:
    """Fold every row into one byte by exclusive or. The zeros around it change nothing."""
    words: U64 = answers.view(np.uint64).reshape(-1, _ROW // 8)
    folded = words[:, 0] ^ words[:, 1] ^ words[:, 2] ^ words[:, 3]
    for bits in (32, 16, 8):
        folded ^= folded >> np.uint64(bits)
    return folded & np.uint64(0xFF)


def _on_the_wire(rows: Records, is_2019: Flags) -> tuple[U8, I64]:
    """Cut every row at its front, escape, and set the flags, whose places are still zero."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    offsets[1:] = (_SIZES[False] + is_2019 * (_SIZES[True] - _SIZES[False])).cumsum()
    data = np.zeros(offsets[-1], np.uint8)
    for edition, (answer, right_part) in _CUTS.items():
        chosen = (is_2019 == edition).nonzero()[0]
        if len(chosen):
            window(data, answer)[offsets[chosen]] = rows[chosen].view(right_part)["answer"]
    special = (data - np.uint8(ESCAPE) < 2).nonzero()[0]
    if len(special):
        offsets += special.searchsorted(offsets)  # one byte more for everything behind
        escaped = data.tobytes().replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02")
        data = np.frombuffer(bytearray(escaped), np.uint8)
    data[offsets[:-1]] = FLAG
    data[offsets[1:] - 1] = FLAG
    return data, offsets
