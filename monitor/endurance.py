"""How long the log can hold what terminals send while nothing is taken from it: room by rate."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

WINDOW_S: Final = 600.0
"""The rate is that of the last ten minutes: shorter than a rush hour, longer than a burst."""
LEAST_S: Final = 20.0
"""So long must have been looked at before a rate is one."""


class Endurance:
    """Watches the log grow. `now_s` is any clock that only goes forward."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def look(self, log: Mapping[str, Any], now_s: float) -> float | None:
        """Note what the gateway says of its log, and give the seconds that it holds; None where nobody
        can say, because nothing is known yet or nothing comes.
        """
        try:
            written = float(log["durable"])
            room = min(
                float(log["quota_bytes"]) - float(log["used_bytes"]),
                float(log["free_bytes"]) - float(log["free_floor_bytes"]),
            )
        except (KeyError, TypeError, ValueError):
            self._seen.clear()
            return None
        if not (math.isfinite(written) and math.isfinite(room)):
            return None
        if self._seen and written < self._seen[-1][1]:
            self._seen.clear()  # another log
        self._seen.append((now_s, written))
        while now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        since_s, before = self._seen[0]
        if now_s - since_s < LEAST_S or written <= before:
            return None
        return max(0.0, room) * (now_s - since_s) / (written - before)
