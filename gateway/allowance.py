"""What a link may ask of us over some time: a token bucket for each link, as columns.

A link **owes** what it made us do, counted in bytes, and pays some of it back every second. One that owes
more than its burst is not read until it has paid: it slows itself, TCP slows the sender, and nothing is lost.
A link that carries several terminals has the allowance of several, up to a bound.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Slots = npt.NDArray[np.intp]

BY_HAND_BYTES: Final = 1024
"""A frame that is received by itself counts as so many more: it takes 15 to 30 µs, in which a thousand bytes
of reports are read.
"""

FAULT_BYTES: Final = 4 * 1024
"""A piece that is no frame counts as so many more: it becomes a row in quarantine."""

MAX_SHARES: Final = 16
"""Who forwards a whole fleet over one link has the allowance of so many terminals."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one terminal may send."""

    bytes_per_s: float = 1024 * 1024
    """16,000 reports a second, and more than a mobile network carries from one vehicle. So nothing that a
    terminal does for good reason is slowed: not a blind zone of a day sent at once (0x0704, less than 2 MB),
    not pictures.
    """
    burst_bytes: float = 8 * 1024 * 1024
    """At once, before the rate matters."""


class Accounts:
    """What all links owe, by slot."""

    def __init__(self, capacity: int, allowance: Allowance) -> None:
        self.allowance = allowance
        self.owed: npt.NDArray[np.float64] = np.zeros(capacity)
        self._shares: npt.NDArray[np.float64] = np.ones(capacity)
        self._paid_at = 0.0

    def open(self, slot: int) -> None:
        """Begin anew with a link."""
        self.owed[slot], self._shares[slot] = 0, 1

    def share(self, slot: int, terminals: int) -> None:
        """Say how many terminals a link carries."""
        self._shares[slot] = min(max(terminals, 1), MAX_SHARES)

    def pay(self, now: float) -> None:
        """Let all links pay for the time since the last call."""
        rate, self._paid_at = self.allowance.bytes_per_s * (now - self._paid_at), now
        self.owed -= rate * self._shares
        np.maximum(self.owed, 0, out=self.owed)

    def is_overdrawn(self, slot: int) -> bool:
        """Tell whether a link owes more than it may."""
        return bool(self.owed[slot] > self.allowance.burst_bytes * self._shares[slot])

    def overdrawn(self) -> Slots:
        """Give the slots of the links that owe more than they may."""
        return (self.owed > self.allowance.burst_bytes * self._shares).nonzero()[0]
