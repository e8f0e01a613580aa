"""Additional items (附加信息) of many location reports at once. JT/T 808-2019 §8.18, table 27."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from protocol.columns.chains import HEAD, walk
from protocol.columns.dtypes import I64, U8, Flags, unsigned, window


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """All items as columns; those of one report are in their order."""

    data: U8
    report: I64
    """Which report, as its place in the arrays given."""
    id: U8
    start: I64
    """Offset of the content in `data`."""
    length: I64
    is_whole: Flags
    """For every report: its chain of items ends where the body ends. What stands before a break is here."""

    @classmethod
    def read(cls, data: U8, start: I64, length: I64) -> Self:
        """Read the chains of items that begin at `start` and fill `length` bytes."""
        chain = walk(data, start, length)
        return cls(data, chain.body, data[chain.head], chain.head + HEAD, chain.length, chain.is_whole)

    def find(self, item_id: int) -> tuple[I64, I64]:
        """Give offset and length of an item for every report: of its first one, -1 where there is none."""
        found = (self.id == item_id).nonzero()[0][::-1]  # the first comes last, and stays
        offset, length = np.full((2, len(self.is_whole)), -1)
        offset[self.report[found]] = self.start[found]
        length[self.report[found]] = self.length[found]
        return offset, length

    def numbers(self, item_id: int, size: int) -> tuple[I64, npt.NDArray[Any]]:
        """Give the reports that have an item of `size` bytes, and the unsigned number that it is.

        Of a report with several the first one comes last, so that it stays when they are assigned in order.
        """
        found = ((self.id == item_id) & (self.length == size)).nonzero()[0][::-1]
        return self.report[found], window(self.data, unsigned(size))[self.start[found]]
