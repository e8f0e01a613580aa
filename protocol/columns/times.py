"""BCD times of a whole batch, by table.

Six bytes YY MM DD hh mm ss are three pairs, and each pair is one of 65,536 numbers: a table for each, filled
once by the declaration's own reading, turns a time into three look-ups and two additions.
"""

from functools import cache
from typing import Final

import numpy as np

from protocol.adapters import NO_TIME, BcdTime
from protocol.columns.dtypes import I64, U8

_IMPOSSIBLE: Final = -(1 << 60)
"""What a pair that no time has adds to the sum: it stays below zero, which no time of this century is."""


def times_us(bcd: U8) -> I64:
    """Read `u8[n, 6]` (contiguous rows) as µs of UTC since 1970, `NO_TIME` where the bytes are no time."""
    first_of_month, month_end, day_and_hour, minute_and_second = _tables()
    pairs = bcd.view(">u2")
    month = pairs[:, 0].astype(np.intp)
    times = first_of_month[month]
    times += day_and_hour[pairs[:, 1].astype(np.intp)]
    times += minute_and_second[pairs[:, 2].astype(np.intp)]
    times[(times < 0) | (times >= month_end[month])] = NO_TIME
    return times


@cache
def _tables() -> tuple[I64, I64, I64, I64]:
    """Give µs by pair: where the month starts, where it ends, day and hour in it, minute and second."""
    first_of_month = _read((0, 1), [0, 0, 0x01, 0, 0, 0])
    last_days = [_read((0, 1), [0, 0, day, 0x23, 0x59, 0x59]) for day in (0x28, 0x29, 0x30, 0x31)]
    month_end = np.max(last_days, axis=0) + 1  # the next second is one too far, the next µs as well
    start_of_2000 = [0x00, 0x01, 0x01, 0x00, 0x00, 0x00]
    origin = int(first_of_month[0x0001])
    day_and_hour = _read((2, 3), start_of_2000)
    minute_and_second = _read((4, 5), start_of_2000)
    for table in (day_and_hour, minute_and_second):
        table[table != _IMPOSSIBLE] -= origin
    return first_of_month, month_end, day_and_hour, minute_and_second


def _read(columns: tuple[int, int], template: list[int]) -> I64:
    """Let the declaration read a time for every value of two of its bytes."""
    times = np.tile(np.array(template, np.uint8), (1 << 16, 1))
    times[:, columns] = np.arange(1 << 16).astype(">u2").view(np.uint8).reshape(-1, 2)
    microseconds: I64 = BcdTime.column(times)
    return np.where(microseconds == NO_TIME, _IMPOSSIBLE, microseconds)
