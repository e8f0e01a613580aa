"""When terminals were heard whose link we closed.

Whoever registers as a terminal that has just spoken on another link gets no code (`Sessions.speaks_beside`).
That must not end with the link: one that we close, for what its other end did or somebody did in its name,
says nothing of the terminal. One that closes its link itself is gone, and gets its code at once when it is
back.
"""

from typing import Final

MAX_REMEMBERED: Final = 65_536
"""Terminals that are remembered, some 10 MiB; of more, the oldest are forgotten. Each has authenticated."""


class CutOff:
    """Terminals that had authenticated when we closed their link. Time is that of any clock that does not go
    back, in seconds.
    """

    def __init__(self) -> None:
        self._heard: dict[int, float] = {}
        """By terminal, the one that was cut off last at the end."""

    def __len__(self) -> int:
        return len(self._heard)

    def note(self, key: int, heard: float) -> None:
        """Remember when a terminal was heard last on the link that is closed."""
        self._heard[key] = max(heard, self._heard.pop(key, heard))
        if len(self._heard) > MAX_REMEMBERED:
            del self._heard[next(iter(self._heard))]

    def heard(self, key: int) -> float:
        """Give when it was heard; before all time where nothing is remembered."""
        return self._heard.get(key, float("-inf"))

    def forget(self, key: int) -> None:
        """Take note that it has authenticated again."""
        self._heard.pop(key, None)
