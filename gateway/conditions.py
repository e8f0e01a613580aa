"""Saying once that something broke, and once that it works, however often it changes between."""


class Condition:
    """Something that is in order or not, and what was said about it last."""

    def __init__(self, *, bad_after_s: float = 0.0, good_after_s: float = 0.0) -> None:
        """It must have been bad, or good, for so long before that is said."""
        self._patience_s = {True: bad_after_s, False: good_after_s}
        self.is_said_bad = False
        self._other_since: float | None = None
        """Since when it has been otherwise than was said."""

    def is_news(self, *, bad: bool, now: float) -> bool:
        """Take note of how it is at `now`, and tell whether that is to be said."""
        if bad == self.is_said_bad:
            self._other_since = None
            return False
        if self._other_since is None:
            self._other_since = now
        if now - self._other_since < self._patience_s[bad]:
            return False
        self.is_said_bad, self._other_since = bad, None
        return True
