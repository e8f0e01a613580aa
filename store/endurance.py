"""How long a log can hold what terminals send while nothing is taken from it: room by rate."""

from collections import deque
from typing import Final

WINDOW_S: Final = 600.0
"""The rate is that of the last ten minutes: shorter than a rush hour, longer than a burst."""
LEAST_S: Final = 20.0
"""So long must have been looked at before a rate is one."""
STEP_S: Final = 1.0
"""What is noted more often is left out."""


class Endurance:
    """Watches a log grow. Times are of any clock that seldom goes backward."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def note(self, written: float, now_s: float) -> None:
        """Note how many bytes were ever written."""
        if self._seen:
            before_s, before = self._seen[-1]
            if written < before or now_s < before_s:
                self._seen.clear()  # another log, or another time
            elif now_s - before_s < STEP_S:
                return
        self._seen.append((now_s, written))
        while now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()

    def holds_s(self, room: float) -> float | None:
        """Give the seconds for which `room` bytes are enough; None where nobody can say, because it has not
        been watched for long or nothing comes.
        """
        if not self._seen:
            return None
        (since_s, before), (now_s, written) = self._seen[0], self._seen[-1]
        if now_s - since_s < LEAST_S or written <= before:
            return None
        return max(0.0, room) * (now_s - since_s) / (written - before)

    def forget(self) -> None:
        """Begin anew."""
        self._seen.clear()
