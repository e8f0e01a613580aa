"""Additional items (附加信息) of many location reports at once. JT/T 808-2019 §8.18, table 27."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from protocol.columns.chains import walk
from protocol.columns.dtypes import I64, U8, Flags, window

_LENGTH_BITS: Final = 0xFF
_ID_SHIFT: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """All items as columns: the first of each report, then the second of each, and so on."""

    data: U8
    report: I64
    """Which report, as its place in the arrays given."""
    id: I64
    start: I64
    """Offset of the content in `data`."""
    length: I64
    is_whole: Flags
    """For every report: its chain of items ends where the body ends. Items before a break are here all the same."""

    @classmethod
    def read(cls, data: U8, start: I64, length: I64) -> Self:
        """Read the chains of items that begin at `start` and fill `length` bytes."""
        chain = walk(data, start, length, _LENGTH_BITS)
        return cls(
            data,
            chain.body,
            chain.head >> _ID_SHIFT,
            chain.start,
            chain.length,
            chain.end == start + length,
        )

    def find(self, item_id: int) -> tuple[I64, I64]:
        """Give offset and length of an item for every report: of its first one, -1 where there is none."""
        found = (self.id == item_id).nonzero()[0][::-1]  # the first comes last, and stays
        offset, length = np.full((2, len(self.is_whole)), -1)
        offset[self.report[found]] = self.start[found]
        length[self.report[found]] = self.length[found]
        return offset, length

    def numbers(self, item_id: int, size: int) -> I64:
        """Give an unsigned item of `size` bytes for every report, -1 where it is absent or has another size."""
        offset, length = self.find(item_id)
        present = (length == size).nonzero()[0]
        values = np.full(len(offset), -1)
        values[present] = window(self.data, f">u{size}")[offset[present]]
        return values
