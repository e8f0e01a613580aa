"""Whose the open sessions are: a sorted array that costs what changes in it, and not what is in it.

A fleet of 100,000 on mobile links opens and closes some thirty sessions a second. So new sessions go behind
the old ones into room that doubles, closed ones are marked, and the array is rewritten when half of it is
marked.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from store.merge import SLOTS
from worker.runs import Runs

I64: TypeAlias = npt.NDArray[np.int64]

SESSION: Final = np.dtype(
    [
        ("number", "<i8"),
        ("terminal", "<i8"),
        ("link", "<i8"),  # UNKNOWN_LINK where its beginning was not seen
        ("renewed", "<i8"),  # the number under which it goes on; SAME where it has no other
        ("claim", "<i8"),
    ]
)
UNKNOWN_LINK: Final = 0
SAME: Final = 0
UNKNOWN: Final = -1
"""In the place of a terminal: the session is closed, or was never open."""
NO_CLAIM: Final = 0
"""In the place of a claim: the session has said nothing of itself that waits for its authentication."""
LEAST_ROOM: Final = 64


class Sessions:
    """The open sessions, each with the index of its terminal, and with a number for what it has claimed and
    not proved.
    """

    __slots__ = ("_closed", "_count", "_rows")

    def __init__(self, rows: "npt.NDArray[np.void] | None" = None) -> None:
        self._rows = np.zeros(0, SESSION) if rows is None else rows.copy()
        """Ascending by number. Behind `_count` there is room."""
        self._count = len(self._rows)
        self._closed = 0
        """So many of the rows are marked as closed."""

    def __len__(self) -> int:
        return self._count - self._closed

    def __repr__(self) -> str:
        return f"<Sessions {len(self)} open>"

    def open(self, opened: Mapping[int, int], links: Mapping[int, int] = MappingProxyType({})) -> None:
        """Remember whose sessions these are: session number → index, and on which links. One that is open
        stays whose it is.
        """
        numbers = np.array(sorted(opened), np.int64)
        terminals = np.array([opened[number] for number in numbers.tolist()], np.int64)
        at, is_there = self._find(numbers)
        for place, terminal in zip(at[is_there].tolist(), terminals[is_there].tolist(), strict=True):
            if self._rows["terminal"][place] == UNKNOWN:
                self._rows["terminal"][place] = terminal
                self._closed -= 1
        new = np.zeros(int((~is_there).sum()), SESSION)
        new["number"], new["terminal"] = numbers[~is_there], terminals[~is_there]
        new["link"] = [links.get(number, UNKNOWN_LINK) for number in new["number"].tolist()]
        if len(new):
            self._insert(new, int(at[~is_there][0]))

    def close(self, numbers: Collection[int]) -> None:
        """Forget sessions: no frame of theirs can follow."""
        at, is_there = self._find(np.array(sorted(numbers), np.int64))
        at = at[is_there]
        self._closed += int((self._rows["terminal"][at] != UNKNOWN).sum())
        for name, nothing in (("terminal", UNKNOWN), ("renewed", SAME), ("claim", NO_CLAIM)):
            self._rows[name][at] = nothing
        if 2 * self._closed > self._count:
            self._replace(self.to_array())

    def keep(self, slot: int, numbers: Collection[int]) -> None:
        """Forget all sessions of a gateway but these."""
        rows = self.to_array()
        self._replace(rows[(slots_of(rows["number"]) != slot) | np.isin(rows["number"], list(numbers))])

    def terminals(self, numbers: I64) -> I64:
        """Return the index of the terminal of each session, -1 where the session is not known."""
        return self._of("terminal", numbers, UNKNOWN)

    def on_links(self, links: Collection[int]) -> dict[tuple[int, int], list[int]]:
        """Return the open sessions on some links, ascending, by link and terminal."""
        rows = self.to_array()
        found: dict[tuple[int, int], list[int]] = {}
        for row in rows[np.isin(rows["link"], list(links))]:
            found.setdefault((int(row["link"]), int(row["terminal"])), []).append(int(row["number"]))
        return found

    def renew(self, older: int, number: int) -> bool:
        """Let a session go on under another number, which is open, and say whether it claims something."""
        (old, new), _ = self._find(np.array([older, number], np.int64))
        renewed, claim = self._rows["renewed"], self._rows["claim"]
        renewed[old], renewed[renewed == older] = number, number
        claim[new], claim[old] = claim[old], NO_CLAIM
        return bool(claim[new] != NO_CLAIM)

    def newest(self, numbers: I64) -> I64:
        """Return the number under which each session goes on."""
        if not self._rows["renewed"][: self._count].any():
            return numbers
        renewed = self._of("renewed", numbers, SAME)
        return np.where(renewed == SAME, numbers, renewed)

    def claim(self, claims: Mapping[int, int]) -> None:
        """Remember what sessions that are open claim, by their numbers, or that it waits no more."""
        at, is_there = self._find(np.array(list(claims), np.int64))
        self._rows["claim"][at[is_there]] = np.array(list(claims.values()), np.int64)[is_there]

    def claims(self, numbers: I64) -> I64:
        """Return the claim of each session, `NO_CLAIM` where none waits."""
        if not self._rows["claim"][: self._count].any():
            return np.full(len(numbers), NO_CLAIM, np.int64)
        return self._of("claim", numbers, NO_CLAIM)

    def to_array(self) -> "npt.NDArray[np.void]":
        """Return the open sessions as an array of their own, ascending by number."""
        rows = self._rows[: self._count]
        open_rows: npt.NDArray[Any] = rows[rows["terminal"] != UNKNOWN]
        return open_rows

    def copy(self) -> Self:
        """Return sessions that change independently of these."""
        return type(self)(self.to_array())

    def _of(self, name: str, numbers: I64, unknown: int) -> I64:
        runs = Runs.of(numbers)  # a terminal that has much to say says it at once
        at, is_there = self._find(runs.keys)
        found = np.full(len(runs.keys), unknown, np.int64)
        found[is_there] = self._rows[name][at[is_there]]
        return runs.spread(found)

    def _find(self, numbers: I64) -> tuple[I64, npt.NDArray[np.bool_]]:
        """Return where each number stands or would stand, and whether it does."""
        known = self._rows["number"][: self._count]
        at = np.searchsorted(known, numbers)
        is_there = at < self._count
        is_there[is_there] = known[at[is_there]] == numbers[is_there]
        return at, is_there

    def _insert(self, new: "npt.NDArray[np.void]", at: int) -> None:
        """Put rows in. Numbers grow with time, so few rows, if any, stand behind their place `at`."""
        count = self._count + len(new)
        if count > len(self._rows):
            roomy = np.zeros(max(LEAST_ROOM, 2 * count), SESSION)
            roomy[: self._count] = self._rows[: self._count]
            self._rows = roomy
        tail = np.concatenate([self._rows[at : self._count], new])
        self._rows[at:count] = tail[np.argsort(tail["number"], kind="stable")]
        self._count = count

    def _replace(self, rows: "npt.NDArray[np.void]") -> None:
        self._rows, self._count, self._closed = rows, len(rows), 0


def claim_of(edition: int) -> int:
    """Give what stands in the place of a claim by this edition, as its number."""
    return NO_CLAIM + 1 + edition


def slots_of(sessions: I64) -> I64:
    """Tell by whose gateway sessions are, by their numbers."""
    return sessions & (SLOTS - 1)
