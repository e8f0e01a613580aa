"""What was not let in, folded: one record for each terminal and minute, whatever it sends.

Nothing of it is written but this. Numbers may be invented, so only some are named in a minute; what the
others sent is counted together.
"""

from typing import Final

from store.records import Refused

MINUTE_S: Final = 60.0

MOST_NAMED: Final = 100
"""In a minute: a page of them, and 10 KB of the log."""


class Refusals:
    """Counts until the minute is over."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], tuple[int, str]] = {}
        """By terminal and reason, how many frames, and from where the last of them came."""
        self._since = 0.0
        self.total: dict[str, int] = {}
        """Frames by reason, since the start."""

    def note(self, identity: str, reason: str, peer: str, now: float) -> None:
        """Count a frame that was refused."""
        self.total[reason] = self.total.get(reason, 0) + 1
        if not self._counted:
            self._since = now
        if (identity, reason) not in self._counted and len(self._counted) >= MOST_NAMED:
            identity = ""
        frames, _ = self._counted.get((identity, reason), (0, ""))
        self._counted[identity, reason] = frames + 1, peer

    def take(self, now: float) -> list[Refused]:
        """Give what is to be written, when a minute is over."""
        if not self._counted or now - self._since < MINUTE_S:
            return []
        counted, self._counted = self._counted, {}
        return [
            Refused(identity, reason, frames, peer) for (identity, reason), (frames, peer) in counted.items()
        ]
