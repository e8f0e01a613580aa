"""All frames of many received chunks at once.

`scan` finds exactly what one `protocol.deframer.Deframer` for each link finds, in a fixed number of numpy
calls for any number of frames.

How: the chunks are joined and their **special** bytes located, 0x7e and 0x7d. None of them stays in the plain
form: flags go, and of an escape the second byte remains and comes to stand for both. So dropping all special
bytes at once makes the plain bytes, and a plain offset is the wire offset less the number of special bytes
before it. Between the flags are pieces; the exclusive or over each and its header tell which are frames.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from protocol.columns.batch import FrameBatch, read_headers
from protocol.columns.dtypes import I64, MARGIN, U8, Flags
from protocol.errors import BadChecksum, BadEscape, BadLength, Garbage, TooLong, TooShort
from protocol.frame import BIT_2019, ESCAPE, FLAG, MAX_FRAME, MIN_PLAIN_2013, MIN_PLAIN_2019

_FLAG: Final = bytes((FLAG,))
_ESCAPE: Final = bytes((ESCAPE,))
_MARGIN: Final = bytes(MARGIN)
_NOWHERE: Final = np.empty(0, np.int64)
_ESCAPED_BITS: Final = np.uint8(0x7C)
"""What 0x01 and 0x02 behind an escape lack of 0x7d and 0x7e."""


class Rejection(NamedTuple):
    """Bytes that are no frame, with the chunk that brought the flag which ended them."""

    source: int
    reason: str
    """`FrameError.reason` of the fault."""
    raw: bytes
    """As received, without the flags; at most `MAX_FRAME` bytes of each piece."""
    pieces: int = 1
    """So many pieces between flags these are, joined by flags."""


@dataclass(frozen=True, slots=True, eq=False)
class WireBatch:
    """What a scan found. Frames and rejections of one chunk are each in their order on the wire."""

    frames: FrameBatch
    source: I64
    """Index of the chunk, for every frame; ascending."""
    raw: Flags
    """The checksum was an unescaped 0x7d: escaping the plain frame does not restore what was received."""
    rejected: list[Rejection]
    tails: list[bytes]
    """For every chunk, what to put before the next bytes of its link; see `rejoin`."""


def scan(chunks: Sequence[bytes], most_rejected: int = sys.maxsize) -> WireBatch:
    """Find the frames in received chunks, one chunk for each link: its last tail, and what it sent since.

    Args:
        most_rejected: of each chunk, 2 at least; what is rejected beyond comes as one garbage
    """
    tails, rejected = [_FLAG] * len(chunks), []
    joined, starts, ends = _joined(chunks)
    wire = np.frombuffer(joined, np.uint8)
    is_whole = (wire[starts] == FLAG) & (wire[ends - 1] == FLAG) & (starts < ends)
    if not is_whole.all():
        trimmed = list(chunks)
        for index in (~is_whole).nonzero()[0].tolist():
            garbage, trimmed[index], tails[index] = _trim(chunks[index])
            if garbage:
                rejected.append(Rejection(index, Garbage.reason, garbage))
        joined, starts, ends = _joined(trimmed)
        wire = np.frombuffer(joined, np.uint8)
    pieces = _parted(joined, wire)
    batch, agrees = read_headers(pieces.plain, pieces.start, pieces.length)
    sums_up = np.bitwise_xor.reduceat(pieces.plain, pieces.start) == 0
    sound = agrees & sums_up
    sound[pieces.misescaped] = False
    source = _sources(pieces, ends)
    raw = np.zeros(len(sound), np.bool_)
    raw[pieces.unescaped] = True
    if sound.all():
        return WireBatch(batch, source, raw, rejected, tails)
    rows = (~sound).nonzero()[0]
    reasons = _reasons(pieces, batch.attributes, agrees, sums_up)
    single, joint = _parted_by_number(source[rows], most_rejected)
    raws = _raws(joined, pieces, rows[single])
    names = map(_REASONS.__getitem__, reasons[rows[single]].tolist())
    rejected += map(Rejection, source[rows[single]].tolist(), names, raws)
    for several in joint:
        joint_raw = _FLAG.join(_raws(joined, pieces, rows[several]))
        of = int(source[rows[several.start]])
        rejected.append(Rejection(of, Garbage.reason, joint_raw, several.stop - several.start))
    rows = sound.nonzero()[0]
    return WireBatch(batch.take(rows), source[rows], raw[rows], rejected, tails)


def rejoin(tail: bytes, data: bytes) -> bytes:
    """Put a link's tail before its next bytes. Most data are whole frames and come back as they are."""
    if tail == _FLAG and data[:1] == _FLAG:
        return data
    return tail + data


def _joined(chunks: Sequence[bytes]) -> tuple[bytes, I64, I64]:
    """Join chunks, a margin behind them, and tell where each begins and ends."""
    lengths = np.fromiter(map(len, chunks), np.int64, len(chunks))
    ends = lengths.cumsum()
    return b"".join([*chunks, _MARGIN]), ends - lengths, ends


def _trim(chunk: bytes) -> tuple[bytes, bytes, bytes]:
    """Part a chunk into what stands before its first flag, from there to its last, and its tail."""
    first, last = chunk.find(_FLAG), chunk.rfind(_FLAG)
    if first < 0:
        return b"", b"", chunk[: MAX_FRAME + 2]
    return chunk[: min(first, MAX_FRAME)], chunk[first : last + 1], chunk[last : last + MAX_FRAME + 2]


class _Pieces(NamedTuple):
    """What stands between two flags and is not empty."""

    plain: U8
    """All of them back to back, and the margin."""
    start: I64
    length: I64
    opening: I64
    """Offset on the wire of the flag before."""
    closing: I64
    unescaped: I64
    """Indices of pieces that end with a single 0x7d."""
    misescaped: I64
    """Indices of pieces with an escape of something else, again for each."""


def _parted(joined: bytes, wire: U8) -> _Pieces:
    """Undo the escapes of chunks that begin and end with a flag, and part them at the flags.

    `wire` are the bytes of `joined`.
    """
    unescaped = misescaped = _NOWHERE
    if _ESCAPE in joined:
        plain, flags, borders, unescaped, misescaped = _resolved(wire)
    else:
        plain = np.frombuffer(joined.replace(_FLAG, b""), np.uint8)
        flags = (wire == FLAG).nonzero()[0]
        borders = flags - np.arange(len(flags))
    sizes = borders[1:] - borders[:-1]
    filled = sizes.nonzero()[0]
    closing = flags[filled + 1]
    return _Pieces(
        plain=plain,
        start=borders[filled],
        length=sizes[filled],
        opening=flags[filled],
        closing=closing,
        unescaped=closing.searchsorted(unescaped),
        misescaped=closing.searchsorted(misescaped),
    )


def _resolved(wire: U8) -> tuple[U8, I64, I64, I64, I64]:
    """Undo escapes.

    Returns:
        the plain bytes, the flags, where these would be among the plain bytes, every 0x7d before a flag (a
        checksum that was not escaped: it stays), and every escape of something else
    """
    is_special = wire - np.uint8(ESCAPE) < 2
    special = is_special.nonzero()[0]
    is_escape = wire[special] == ESCAPE
    escape_ranks = is_escape.nonzero()[0]
    escapes = special[escape_ranks]
    codes = wire[escapes + 1]
    unescaped = misescaped = _NOWHERE
    is_wrong = codes - np.uint8(1) > 1
    if is_wrong.any():
        wrong, follower = escapes[is_wrong], codes[is_wrong]
        unescaped, misescaped = wrong[follower == FLAG], wrong[follower != FLAG]
        is_special[unescaped] = False
        remains = is_special[special]
        special, is_escape = special[remains], is_escape[remains]
        escape_ranks = is_escape.nonzero()[0]
        escapes = special[escape_ranks]
        codes = wire[escapes + 1]
    droppable = bytearray(wire)
    np.frombuffer(droppable, np.uint8)[escapes] = FLAG
    plain = np.frombuffer(droppable.replace(_FLAG, b""), np.uint8)
    # What a wrong escape leaves behind is written to its own piece, which is rejected.
    plain[escapes - escape_ranks] = codes ^ _ESCAPED_BITS
    ranks = (~is_escape).nonzero()[0]
    flags = special[ranks]
    return plain, flags, flags - ranks, unescaped, misescaped


def _sources(pieces: _Pieces, ends: I64) -> I64:
    """Tell from which chunk each piece came, given where the chunks end."""
    if len(pieces.closing) == len(ends) and (pieces.closing + 1 == ends).all():
        return np.arange(len(ends))  # one frame from each link, the usual tick
    return ends.searchsorted(pieces.closing, "right")


def _raws(joined: bytes, pieces: _Pieces, rows: I64) -> Iterator[bytes]:
    """Give what stands in some pieces, as received."""
    places = zip(pieces.opening[rows].tolist(), pieces.closing[rows].tolist(), strict=True)
    return (joined[opening + 1 : min(closing, opening + 1 + MAX_FRAME)] for opening, closing in places)


def _parted_by_number(source: I64, most: int) -> tuple[I64, list[slice]]:
    """Choose of ascending sources which come one by one, at most so many of each; give the rest of each as a
    range.
    """
    begins = source.searchsorted(source, "left")
    ends = source.searchsorted(source, "right")
    is_single = (np.arange(len(source)) - begins < most - 1) | (ends - begins <= most)
    borders = np.flatnonzero(np.diff(np.concatenate([[True], is_single, [True]])))
    parts = [slice(begin, end) for begin, end in borders.reshape(-1, 2).tolist()]
    return is_single.nonzero()[0], parts


_REASONS: Final = (
    TooLong.reason,
    BadEscape.reason,
    TooShort.reason,
    BadChecksum.reason,
    BadLength.reason,
)


def _reasons(pieces: _Pieces, attributes: I64, agrees: Flags, sums_up: Flags) -> I64:
    """Name the fault of every piece by its place in `_REASONS`, in the order of `protocol.deframer` and
    `protocol.frame.verify`.
    """
    is_misescaped = np.zeros(len(agrees), np.bool_)
    is_misescaped[pieces.misescaped] = True
    shortest = np.where(attributes & BIT_2019, MIN_PLAIN_2019, MIN_PLAIN_2013)
    faults = (
        pieces.closing - pieces.opening - 1 > MAX_FRAME,
        is_misescaped,
        ~agrees & (pieces.length < shortest),
        ~sums_up,
    )
    found: I64 = np.select(faults, range(len(faults)), len(faults))
    return found
