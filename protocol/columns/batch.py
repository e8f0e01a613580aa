"""Many verified frames as columns: one array per header field, one element per frame."""

from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike

from protocol.columns.dtypes import (
    I32,
    I64,
    MARGIN,
    U8,
    U16,
    U64,
    Flags,
    composed,
    gathered,
    layout_of,
    members_of,
    unsigned,
)
from protocol.frame import (
    BIT_2019,
    CIPHER_BITS,
    CIPHER_SHIFT,
    FRAGMENT,
    FRAGMENT_BIT,
    HEADER_2013,
    HEADER_2019,
    LENGTH_BITS,
)


def with_numeric_id(declaration: Any) -> np.dtype[np.void]:
    """Give a header's layout, the id as numbers as well.

    `id_low` are the eight bytes that end where the id ends, `id_high` the two before them. What of them is
    not the id belongs to the fields before it.
    """
    layout = layout_of(declaration)
    members = members_of(layout)
    kind, offset = members["raw_id"]
    end = offset + kind.itemsize
    members |= {"id_low": (unsigned(8), end - 8), "id_high": (unsigned(2), end - 10)}
    return composed(members, layout.itemsize)


_LAYOUT: Final = with_numeric_id(HEADER_2013)
"""Headers begin alike and end alike: it reads message id and attributes where a header begins, and id and
serial as far before its end, whichever header it is."""
_LATER_2019: Final = HEADER_2019.sizeof() - HEADER_2013.sizeof()
_VERSION_AT: Final = members_of(layout_of(HEADER_2019))["version"][1]
_ID_BITS: Final = np.array([(1 << 48) - 1, (1 << 64) - 1], np.uint64)
"""The part of `id_low` that is the id, by whether the header is that of 2019."""

_LAYOUT_SHIFT: Final = 13
"""Brings the attributes' bits for fragments and for the 2019 header down to 0 and 1."""
_ATTRIBUTES: Final = np.arange(8) << _LAYOUT_SHIFT
_AROUND_2013: Final = HEADER_2013.sizeof() + 1 + np.where(_ATTRIBUTES & FRAGMENT_BIT, FRAGMENT.sizeof(), 0)
"""By the upper bits of the attributes: how many bytes header and checksum are."""
_AROUND_2019: Final = np.where(
    _ATTRIBUTES & BIT_2019, _AROUND_2013 + HEADER_2019.sizeof() - HEADER_2013.sizeof(), np.iinfo(np.int64).min
)
"""The same for the 2019 header; no number of bytes where bit 14 does not announce it."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Verified plain frames in one buffer, with their headers as columns.

    `data` may hold other bytes between the frames and goes on for `MARGIN` bytes behind the last one. Offsets
    are into `data`. A terminal is looked up by its **key**, the number that its id is: the six-byte and the
    ten-byte id of one SIM are the same key, as they are the same identity.
    """

    data: U8
    start: I64
    length: I64
    """Header, body and checksum."""
    msg_id: I32
    attributes: I64
    serial: I32
    is_2019: Flags
    """The frame has the 2019 header."""
    version: U8
    """协议版本号 of a 2019 header, else 0."""
    key_high: U16
    key_low: U64
    body_start: I64
    body_length: I64

    def __len__(self) -> int:
        return len(self.start)

    @property
    def is_fragment(self) -> Flags:
        """The body is one part of a longer one."""
        parts: Flags = (self.attributes & FRAGMENT_BIT) != 0
        return parts

    @property
    def cipher(self) -> I64:
        """数据加密方式, 0 where the body can be read as it is."""
        return (self.attributes & CIPHER_BITS) >> CIPHER_SHIFT

    @classmethod
    def from_plain(cls, data: Any, lengths: ArrayLike) -> "tuple[FrameBatch, I64]":
        """Read plain frames that stand back to back, as the log keeps them.

        Checksums were verified before the frames were written and are not computed again.

        Args:
            data: any buffer of bytes
            lengths: of each frame

        Returns:
            the frames whose header agrees with their length, and the indices of the others

        Raises:
            ValueError: the lengths do not add up to the data
        """
        return cls.from_padded(np.frombuffer(b"".join((data, bytes(MARGIN))), np.uint8), lengths, MARGIN)

    @classmethod
    def from_padded(cls, data: U8, lengths: ArrayLike, margin: int) -> "tuple[FrameBatch, I64]":
        """Do the same with data that goes on for `margin` bytes already, `MARGIN` or more, without a copy."""
        length = np.asarray(lengths, np.int64)
        ends = length.cumsum()
        size = len(data) - margin
        if size != (ends[-1] if len(ends) else 0):
            raise ValueError(f"the frames' lengths do not add up to the {size} bytes given")
        batch, agrees = read_headers(data, ends - length, length)
        if agrees.all():
            return batch, np.empty(0, np.int64)
        return batch.take(agrees.nonzero()[0]), (~agrees).nonzero()[0]

    def take(self, rows: I64 | Flags) -> Self:
        """Give the batch of some rows, over the same data."""
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self)[1:]}
        return type(self)(self.data, **columns)

    def packed(self, rows: I64 | Flags | None = None) -> tuple[U8, I64]:
        """Give the bytes of some rows back to back, and their lengths: what the log keeps.

        Costs next to nothing where the rows already stand back to back.
        """
        start = self.start if rows is None else self.start[rows]
        length = self.length if rows is None else self.length[rows]
        if not len(start):
            return self.data[:0], length
        ends = start + length
        breaks = (start[1:] != ends[:-1]).nonzero()[0]
        if not len(breaks):
            return self.data[start[0] : ends[-1]], length
        runs = zip([start[0], *start[breaks + 1]], [*ends[breaks], ends[-1]], strict=True)
        return np.concatenate([self.data[begin:end] for begin, end in runs]), length

    def plain(self, row: int) -> bytes:
        """Give one frame's header, body and checksum."""
        return self.data[self.start[row] : self.start[row] + self.length[row]].tobytes()

    def body(self, row: int) -> bytes:
        """Give one frame's body."""
        return self.data[self.body_start[row] : self.body_start[row] + self.body_length[row]].tobytes()


def read_headers(data: U8, start: I64, length: I64) -> tuple[FrameBatch, Flags]:
    """Read the header at every `start`, and tell where header, body and checksum add up to `length`.

    A frame with bit 14 whose length only the 2013 header explains has that one (see `protocol.frame`). The
    columns of what does not add up mean nothing.
    """
    front = gathered(data, start, _LAYOUT)
    attributes = front["attributes"].astype(np.int64)
    body_length = attributes & LENGTH_BITS
    around = length - body_length
    layout = attributes >> _LAYOUT_SHIFT
    is_2019 = around == _AROUND_2019[layout]
    # Arithmetic instead of choices: in a mixed fleet no processor predicts these.
    back = gathered(data, start + is_2019 * _LATER_2019, _LAYOUT)
    batch = FrameBatch(
        data=data,
        start=start,
        length=length,
        msg_id=front["msg_id"].astype(np.int32),
        attributes=attributes,
        serial=back["serial"].astype(np.int32),
        is_2019=is_2019,
        version=data[start + _VERSION_AT] * is_2019,
        key_high=back["id_high"] * is_2019,
        key_low=back["id_low"] & _ID_BITS.take(is_2019),
        body_start=start + around - 1,
        body_length=body_length,
    )
    return batch, is_2019 | (around == _AROUND_2013[layout])
