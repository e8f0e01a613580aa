"""Which entry of the audit an attempt in vain is counted in.

Whoever is not signed in decides how often they try, from how many networks, and at which names. So entries
are folded by name, network and minute, and a minute has few of them: what is beyond is counted in one for all
others.
"""

from typing import Final

ENTRIES_A_MINUTE: Final = 10
"""Of attempts in vain, besides one for all others: with these an attacker makes some 16,000 short rows in a
day and not one more."""


class Folding:
    """The entries of the present minute."""

    def __init__(self) -> None:
        self._minute = -1
        self._entries: set[tuple[str, ...]] = set()

    def entry(self, key: tuple[str, ...], minute: int) -> tuple[tuple[str, ...] | None, bool]:
        """Give the key of the entry that an attempt belongs to, None for that of all others, and whether
        it is the first of this minute's there."""
        if minute != self._minute:
            self._minute, self._entries = minute, set()
        if key not in self._entries and len(self._entries) >= ENTRIES_A_MINUTE:
            key = ()
        is_new = key not in self._entries
        self._entries.add(key)
        return key or None, is_new
