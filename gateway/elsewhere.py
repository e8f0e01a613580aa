"""Whether a terminal speaks at another gateway process: asked only when somebody wants its code.

Processes tell each other who has authenticated and whose session ended (`gateway.siblings`), but not that it
still speaks: that would be news of every terminal, again and again. So who registers here as a terminal that
has authenticated elsewhere gets no code at first, and the others are asked. Where it spoke of late, they say
so, and whoever registers next gets none either. Where nobody says so in time its link there is dead, and the
next gets the code: a terminal that has lost its link, and tries again as devices do, has it the second time.
"""

from typing import Final

ANSWER_S: Final = 3.0
"""A process answers in its next turn; while its log is slow, that is a second or two."""


class Elsewhere:
    """Terminals that have authenticated at another process, as far as it was told. Time is an argument, in
    seconds of any clock that does not go back.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, int] = {}
        """By terminal, the newest session in which it did."""
        self._asked: dict[int, float] = {}
        """Of which of them the others were asked, and when."""

    def proved(self, key: int, session: int) -> None:
        """Take note that a terminal has authenticated there."""
        self._sessions[key] = session
        self._asked.pop(key, None)

    def speaks(self, key: int) -> None:
        """Take note that it spoke there of late."""
        self._asked.pop(key, None)

    def ended(self, key: int, session: int) -> None:
        """Take note that a session there has ended."""
        if self._sessions.get(key) == session:
            self.here(key)

    def here(self, key: int) -> None:
        """Take note that it has authenticated here, which ends what it has there."""
        self._sessions.pop(key, None)
        self._asked.pop(key, None)

    def may_speak(self, key: int, now: float) -> tuple[bool, bool]:
        """Tell whether a terminal is to be taken for one that speaks there, and whether to ask for it."""
        if key not in self._sessions:
            return False, False
        asked = self._asked.setdefault(key, now)
        if now - asked < ANSWER_S:
            return True, asked == now
        self.here(key)
        return False, False
