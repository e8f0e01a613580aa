"""How many messages of a terminal are read one by one, so that none holds up the others.

A location report costs the worker a few microseconds, because they are read as columns; any other message
costs a hundred times that, with what it writes. Within its allowance of bytes a terminal could send 50,000 a
second. So a terminal has a number of messages as well, far above what any has to say. What comes beyond it
was answered and is in the archive; here it is only counted, in quarantine, as `too_many`.

A function of the log alone, however it is cut: numbers follow the time of receipt.
"""

import sys
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from worker.budget import Allowance, Spent

I64: TypeAlias = npt.NDArray[np.int64]

TOO_MANY: Final = "too_many"
"""Why a message is only counted."""

_SECOND_US: Final = 1_000_000
_REGISTER, _MEDIUM = 0x0100, 0x0801

MESSAGES: Final = Allowance(10 * _SECOND_US, each=1_000, together=sys.maxsize)
"""A hundred a second: peripherals that pass on what they measure send ten or twenty."""
WITHOUT_CODE: Final = Allowance(10 * _SECOND_US, each=100, together=10_000)
"""Of what does not count, each to be kept in quarantine. Who lost its code reports every few seconds."""
PIECES: Final = Allowance(10 * _SECOND_US, each=12_000, together=sys.maxsize)
"""Fragments and packets of media: a terminal may send a mebibyte a second in pieces of a kilobyte."""
REGISTRATIONS: Final = Allowance(60 * _SECOND_US, each=6, together=sys.maxsize)
"""A terminal registers when it is installed; one whose registration fails tries again every ten seconds or
more. Each may name another vehicle."""
CLAIMS: Final = Allowance(60 * _SECOND_US, each=10 * REGISTRATIONS.each, together=sys.maxsize)
"""Registrations that do not count: of ten sessions of a terminal, each as much as a terminal registers."""
MEDIA: Final = Allowance(10 * _SECOND_US, each=64, together=sys.maxsize)
"""Each is a file that is synced. Sixteen pictures of each of four cameras are more than a terminal takes."""


LINKS: Final = Allowance(60 * _SECOND_US, each=60, together=sys.maxsize)
"""Beginnings and ends of links that are written down. One on a bad mobile network comes and goes every few
seconds; whoever opens and closes sessions without end, which costs next to nothing, is no better known by
more.
"""


class Asked(NamedTuple):
    """A message that is to be read."""

    row: int
    """Of its frame in the batch."""
    msg_id: int
    is_fragment: bool
    terminal: int
    """By its index."""
    received_us: int


@dataclass(slots=True)
class Reading:
    """What terminals have used of their allowances."""

    messages: Spent = field(default_factory=Spent)
    without_code: Spent = field(default_factory=Spent)
    claims: Spent = field(default_factory=Spent)
    claims_of_session: Spent = field(default_factory=Spent)
    pieces: Spent = field(default_factory=Spent)
    registrations: Spent = field(default_factory=Spent)
    media: Spent = field(default_factory=Spent)
    links: Spent = field(default_factory=Spent)

    def allows(self, asked: Asked) -> bool:
        """Say whether a message is read; if so, it is counted as read."""
        if asked.msg_id == _REGISTER:
            spent, allowance = self.registrations, REGISTRATIONS
        elif asked.is_fragment or asked.msg_id == _MEDIUM:
            spent, allowance = self.pieces, PIECES
        else:
            spent, allowance = self.messages, MESSAGES
        return spent.allows(allowance, asked.terminal, 1, asked.received_us)

    def may_store(self, terminal: int, at_us: int) -> bool:
        """Say whether a terminal may have one more medium stored; if so, it is counted as stored."""
        return self.media.allows(MEDIA, terminal, 1, at_us)

    def may_claim(self, terminal: int, session: int, at_us: int) -> bool:
        """Say whether one more registration that does not count is read; if so, it is counted. So nobody uses
        up what the terminal itself may say, and no session what others of the terminal may claim.
        """
        of_session = self.claims_of_session.allows(REGISTRATIONS, session, 1, at_us)
        return of_session and self.claims.allows(CLAIMS, terminal, 1, at_us)

    def may_keep(self, terminal: int, at_us: int) -> bool:
        """Say whether one more of what a terminal says without its code is kept; if so, it is counted."""
        return self.without_code.allows(WITHOUT_CODE, terminal, 1, at_us)

    def may_link(self, terminal: int, at_us: int) -> bool:
        """Say whether one more beginning or end of a terminal's link is written; if so, it is counted."""
        return self.links.allows(LINKS, terminal, 1, at_us)

    def to_arrays(self) -> dict[str, I64]:
        """Give everything as named arrays; `from_arrays` restores it."""
        return {each.name: getattr(self, each.name).to_array() for each in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        """Restore what `to_arrays` gave.

        Raises:
            KeyError: another version wrote it.
        """
        return cls(**{each.name: Spent.from_array(arrays[each.name]) for each in fields(cls)})
