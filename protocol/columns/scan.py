"""All frames of many received chunks at once.

`scan` finds exactly what one `protocol.deframer.Deframer` per link finds (a property test holds it to that), with a
fixed number of numpy calls for any number of frames.

How: the chunks are joined, and the **special** bytes 0x7e and 0x7d located. Every special byte disappears from the
plain form, a flag altogether and an escape by leaving its successor to stand for both, so the plain offset of any
wire offset is that offset less the number of special bytes before it, and one boolean selection turns all wire bytes
into plain bytes. Between flags stand pieces; an exclusive or over every piece tells which are whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from protocol.columns.batch import FrameBatch, read_headers
from protocol.columns.dtypes import I64, MARGIN, U8, Flags
from protocol.deframer import RejectedBytes, deframe
from protocol.errors import Garbage
from protocol.frame import ESCAPE, FLAG, MAX_FRAME

_FLAG: Final = bytes((FLAG,))
_ESCAPE: Final = bytes((ESCAPE,))
_MARGIN: Final = bytes(MARGIN)
_ESCAPED_BITS: Final = 0x7C
"""0x01 and 0x02 behind an escape stand for 0x7d and 0x7e."""


_NOWHERE: Final = np.empty(0, np.int64)


class Rejection(NamedTuple):
    """Bytes that are no frame, with the chunk that brought the flag that ended them."""

    source: int
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True, eq=False)
class WireBatch:
    """What a scan found. Frames and rejections of one chunk are in their order on the wire."""

    frames: FrameBatch
    source: I64
    """Index of the chunk, for every frame."""
    raw: Flags
    """The frame ended with an unescaped checksum 0x7d: escaping its plain form does not restore what came."""
    rejected: list[Rejection]
    tails: list[bytes]
    """For every chunk, what to put before the link's next bytes. See `rejoin`."""


def scan(chunks: Sequence[bytes]) -> WireBatch:
    """Find the frames of received chunks, one chunk per link.

    Args:
        chunks: for each link its last tail and what it has sent since, joined by `rejoin`
    """
    lengths = np.fromiter(map(len, chunks), np.int64, len(chunks))
    joined = b"".join([*chunks, _MARGIN])
    wire = np.frombuffer(joined, np.uint8)
    ends = lengths.cumsum()
    tails, rejected = [_FLAG] * len(chunks), []
    whole = (wire[ends - lengths] == FLAG) & (wire[ends - 1] == FLAG) & (lengths > 0)
    if not whole.all():
        trimmed = list(chunks)
        for index in (~whole).nonzero()[0].tolist():
            garbage, trimmed[index], tails[index] = _trim(chunks[index])
            if garbage:
                rejected.append(Rejection(index, Garbage.reason, garbage))
        joined = b"".join([*trimmed, _MARGIN])
        wire = np.frombuffer(joined, np.uint8)
        ends = np.fromiter(map(len, trimmed), np.int64, len(trimmed)).cumsum()
    pieces = _pieces(wire, _ESCAPE in joined)
    batch, agrees = read_headers(pieces.plain, pieces.start, pieces.length)
    sound = agrees & (np.bitwise_xor.reduceat(pieces.plain, pieces.start) == 0) & ~pieces.is_misescaped
    source = _sources(pieces, ends)
    if sound.all():
        return WireBatch(batch, source, pieces.is_raw, rejected, tails)
    for index in (~sound).nonzero()[0].tolist():
        fault = deframe(joined[pieces.opening[index] + 1 : pieces.closing[index]])
        assert isinstance(fault, RejectedBytes)
        rejected.append(Rejection(int(source[index]), *fault))
    rows = sound.nonzero()[0]
    return WireBatch(batch.take(rows), source[rows], pieces.is_raw[rows], rejected, tails)


def rejoin(tail: bytes, data: bytes) -> bytes:
    """Put a link's tail before its next bytes. Most chunks are whole frames and come back as they are."""
    if tail == _FLAG and data[:1] == _FLAG:
        return data
    return tail + data


def _trim(chunk: bytes) -> tuple[bytes, bytes, bytes]:
    """Part a chunk into what stands before its first flag, from there to its last, and its tail."""
    first, last = chunk.find(_FLAG), chunk.rfind(_FLAG)
    if first < 0:
        return b"", b"", chunk[: MAX_FRAME + 2]
    return chunk[: min(first, MAX_FRAME)], chunk[first : last + 1], chunk[last : last + MAX_FRAME + 2]


class _Pieces(NamedTuple):
    """What stands between flags and is not empty."""

    plain: U8
    start: I64
    length: I64
    opening: I64
    """Offset on the wire of the flag before."""
    closing: I64
    is_raw: Flags
    is_misescaped: Flags


def _pieces(wire: U8, has_escapes: bool) -> _Pieces:
    """Undo the escapes of chunks that begin and end with a flag, and part them at the flags."""
    if has_escapes:
        wire, special, flags, borders, unescaped, misescaped = _unescaped(wire)
    else:
        special = wire == FLAG
        flags = special.nonzero()[0]
        borders = flags - np.arange(len(flags))
        unescaped = misescaped = _NOWHERE
    plain = wire[~special]
    sizes = borders[1:] - borders[:-1]
    filled = sizes.nonzero()[0]
    opening, closing = flags[filled], flags[filled + 1]
    is_raw, is_misescaped = np.zeros((2, len(filled)), np.bool_)
    is_raw[np.searchsorted(closing, unescaped)] = True
    is_misescaped[np.searchsorted(closing, misescaped)] = True
    return _Pieces(plain, borders[filled], sizes[filled], opening, closing, is_raw, is_misescaped)


def _unescaped(wire: U8) -> tuple[U8, Flags, I64, I64, I64, I64]:
    """Resolve escapes in place, as seen from where they stand.

    Returns:
        a copy of the wire in which every escape's successor stands for both; its special bytes; where the flags are;
        where they would be in the plain bytes; single 0x7d before a flag (unescaped checksums, which are not special);
        escapes of nothing
    """
    special = wire - np.uint8(ESCAPE) < 2
    at = special.nonzero()[0]
    is_flag = wire[at] == FLAG
    escapes = at[~is_flag]
    codes = wire[escapes + 1]
    wire = wire.copy()
    wire[escapes + 1] = codes ^ np.uint8(_ESCAPED_BITS)
    unescaped = misescaped = _NOWHERE
    wrong = codes - np.uint8(1) > 1
    if wrong.any():
        escapes, codes = escapes[wrong], codes[wrong]
        wire[escapes + 1] = codes
        unescaped, misescaped = escapes[codes == FLAG], escapes[codes != FLAG]
        special[unescaped] = False
        still = special[at]
        at, is_flag = at[still], is_flag[still]
    ranks = is_flag.nonzero()[0]
    flags = at[ranks]
    return wire, special, flags, flags - ranks, unescaped, misescaped


def _sources(pieces: _Pieces, ends: I64) -> I64:
    """Tell from which chunk each piece came, given where the chunks end."""
    if len(pieces.closing) == len(ends) and (pieces.closing + 1 == ends).all():
        return np.arange(len(ends))  # one frame from each link, the usual tick
    return np.searchsorted(ends, pieces.closing, "right")
