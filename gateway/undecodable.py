"""Links that send reports which cannot be decoded, again and again: each is answered, as every durable frame
of a known id is, and each is work for the worker and room in quarantine. Like garbage it ends the link.

The gateway decodes no reports. What it sees for nothing is a body of 0x0200 that is shorter than its fixed
part (JT/T 808-2013 §8.12 table 23), whole and not enciphered. A link **owes** one for each of them; a report
that is long enough takes one back, and so does each second. So nobody is given up whose terminal, or one of
many that are forwarded over a link, has odd firmware: less than half of the reports, or than one a second.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Slots = npt.NDArray[np.intp]

LOCATION: Final = 0x0200
LEAST_LOCATION: Final = 28
"""Bytes of its fixed part."""
WHOLE_BITS: Final = 0x3FFF
"""Of a header's attributes: length, cipher, and whether it is a fragment. Below 1024 they are the length of a
body that stands as it is.
"""

BUDGET: Final = 1000.0
"""A link may owe so many: what odd firmware kept for hours is said at once."""

PAID_PER_S: Final = 1.0


def is_short(plain: bytes) -> bool:
    """Tell whether a frame is a report that cannot be decoded."""
    return plain[:2] == b"\x02\x00" and int.from_bytes(plain[2:4]) & WHOLE_BITS < LEAST_LOCATION


def is_report(plain: bytes) -> bool:
    """Tell whether a frame is a report at all."""
    return plain[:2] == b"\x02\x00"


class Undecodable:
    """What all links owe, by slot."""

    def __init__(self, capacity: int) -> None:
        self._owed: npt.NDArray[np.float64] = np.zeros(capacity)
        self._paid_at: npt.NDArray[np.float64] = np.zeros(capacity)
        self._until = -np.inf
        """From then on nobody owes anything."""

    def open(self, slot: int) -> None:
        """Begin anew with a link."""
        self._owed[slot] = 0

    def is_owed(self, now: float) -> bool:
        """Tell whether any link may owe something. `now` is the loop's clock."""
        return now < self._until

    def note(
        self, slots: Slots, short: npt.NDArray[np.intp], reports: npt.NDArray[np.intp], now: float
    ) -> npt.NDArray[np.bool_]:
        """Take note of what links sent, and say which of them are to be given up.

        Args:
            slots: of the links, each once
            short: how many reports each sent that cannot be decoded …
            reports: … of so many
        """
        owed = self._owed[slots] - (now - self._paid_at[slots]) * PAID_PER_S
        owed = np.maximum(np.maximum(owed, 0) + 2 * short - reports, 0)
        self._owed[slots], self._paid_at[slots] = owed, now
        self._until = max(self._until, now + float(owed.max(initial=0)) / PAID_PER_S)
        is_enough: npt.NDArray[np.bool_] = owed > BUDGET
        return is_enough
