"""How much terminals may use in a time of the log. Pure, and a function of the log alone."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

I64: TypeAlias = npt.NDArray[np.int64]


class Allowance(NamedTuple):
    """So much in each period of the log's time."""

    period_us: int
    each: int
    """Of one terminal or session, in bytes or in number."""
    together: int
    """Of all."""


@dataclass(slots=True)
class Spent:
    """What terminals by their index, or sessions by their number, have used in the period of the last one."""

    period: int = -1
    total: int = 0
    by_number: dict[int, int] = field(default_factory=dict)

    def allows(self, allowance: Allowance, number: int, size: int, at_us: int) -> bool:
        """Say whether who has this number may use so much more; if so, it is used."""
        period = at_us // allowance.period_us
        if period != self.period:
            self.period, self.total, self.by_number = period, 0, {}
        used = self.by_number.get(number, 0) + size
        if used > allowance.each or self.total + size > allowance.together:
            return False
        self.total += size
        self.by_number[number] = used
        return True

    def to_array(self) -> I64:
        """Give everything as an array."""
        return np.array([(self.period, self.total), *self.by_number.items()], np.int64)

    @classmethod
    def from_array(cls, array: npt.NDArray[Any]) -> "Spent":
        """Restore what `to_array` gave."""
        (period, total), *spent = array.tolist()
        return cls(period, total, {number: size for number, size in spent})
