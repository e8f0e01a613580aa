"""Rows in the order of their terminals: what one terminal said stands together, in order of arrival.

A batch is brought into this order once, before anything is decoded. From then on the rules find what came
before a report in the row above it, state is read and written once for each terminal, in the order in which
it lies in memory, and the rows go into the table as its index has them.
"""

from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

I64: TypeAlias = npt.NDArray[np.int64]
Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows of the same key (a terminal, or a lane of one) that follow each other."""

    key: I64
    """Of every row; equal ones stand together."""
    first: I64
    """Where each run begins."""
    last: I64

    @classmethod
    def of(cls, key: I64) -> Self:
        """Find the runs."""
        if not len(key):
            return cls(key, np.zeros(0, np.int64), np.zeros(0, np.int64))
        begins = (key[1:] != key[:-1]).nonzero()[0] + 1
        return cls(key, np.append(0, begins), np.append(begins - 1, len(key) - 1))

    def __len__(self) -> int:
        return len(self.first)

    @property
    def keys(self) -> I64:
        """The key of each run."""
        return self.key[self.first]

    @property
    def lengths(self) -> I64:
        """How many rows each run has."""
        return self.last - self.first + 1

    def before(self, values: Array, known: Array) -> Array:
        """Give for every row the value of the one before it, and for the first of a run what was `known`
        of it, one for each run.
        """
        before = np.empty_like(values)
        before[1:] = values[:-1]
        before[self.first] = known
        return before

    def spread(self, values: Array) -> Array:
        """Give to every row what is said of its run."""
        return np.repeat(values, self.lengths)

    def of_rows(self, rows: I64) -> I64:
        """Give the number of the run in which each of some rows is."""
        return np.searchsorted(self.first, rows, "right") - 1


def newest(key: I64, rows: I64) -> I64:
    """Give of `rows`, which are in the order of `key`, the last one of each key."""
    keys = key[rows]
    return rows[np.append(keys[1:] != keys[:-1], True)] if len(rows) else rows
