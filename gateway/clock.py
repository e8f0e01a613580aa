"""The clock by which receipt is told: the wall's, but it does not run backwards.

The worker merges the logs of several gateways by receive time (`store.merge`), so the times in a log must
rise. A wall clock that is set back a little (NTP, a leap second) is followed at half speed until it has
caught up. One that is set back by more than `LARGEST_SLEW_US` was wrong before; it is followed at once,
because following it slowly would give wrong times for as long again. All gateways of a machine decide the
same, for they see the same clocks.
"""

from typing import Final

LARGEST_SLEW_US: Final = 60_000_000
"""Two minutes of times that are up to a minute wrong are bearable."""


class ReceiveClock:
    """Gives receive times. Both clocks are arguments, in microseconds."""

    def __init__(self) -> None:
        self._last_us: int | None = None
        self._seen_us = 0

    def at(self, wall_us: int, steady_us: int) -> int:
        """Give the receive time for what the wall clock and a clock that nobody sets show now."""
        last_us, elapsed_us = self._last_us, steady_us - self._seen_us
        now_us = wall_us
        if last_us is not None and 0 < last_us + elapsed_us - wall_us <= LARGEST_SLEW_US:
            now_us = max(wall_us, last_us + elapsed_us // 2)
        self._last_us, self._seen_us = now_us, steady_us
        return now_us
