"""Who may say what: the table by which every frame is marked and answered.

Standing is what a terminal is to us. A **stranger** has never proved who it is, and nobody has accepted it;
a **registered** one has authenticated with our code at some time; an **accepted** one was entered, or let in,
by a person. What a frame counts for follows from that, from whether its session has authenticated, and from
whether a person allows this terminal to speak without its code:

| standing    | authenticated | allowed | flag            | answered under `known` |
|-------------|---------------|---------|-----------------|------------------------|
| any         | yes           | either  | `AUTHENTICATED` | as the answer table    |
| no stranger | no            | yes     | none            | as the answer table    |
| no stranger | no            | no      | `UNPROVEN`      | 0x8001/1               |
| stranger    | no            | either  | `LOBBY`         | 0x8001/1               |

Under `open` all of them are answered as the answer table says (`gateway.reception`). The flag stands beside
the frame in the log, and nobody decides it anew.
"""

from enum import Enum
from itertools import product
from typing import Final, NamedTuple

from gateway.fleet import Fleet
from store.records import FrameFlag


class Standing(Enum):
    """What a terminal is to us."""

    STRANGER = "stranger"
    REGISTERED = "registered"
    ACCEPTED = "accepted"


class Case(NamedTuple):
    """What a verdict depends on."""

    only_known: bool
    """The policy is `known`."""
    standing: Standing
    is_authenticated: bool
    is_allowed: bool
    """A person lets the terminal speak without its code."""


class Verdict(NamedTuple):
    """What becomes of what a terminal says."""

    flags: int
    """`FrameFlag` bits."""
    is_refused: bool
    """What is only reported is answered with a failure."""

    @property
    def counts(self) -> bool:
        """It is more than kept."""
        return not self.flags & (FrameFlag.UNPROVEN | FrameFlag.LOBBY)


_EITHER: Final = (False, True)
_NO_STRANGERS: Final = (Standing.REGISTERED, Standing.ACCEPTED)

_TABLE: Final = (
    # standing, authenticated, allowed, flag, whether `known` refuses it
    (tuple(Standing), True, _EITHER, FrameFlag.AUTHENTICATED, False),
    (_NO_STRANGERS, False, (True,), 0, False),
    (_NO_STRANGERS, False, (False,), FrameFlag.UNPROVEN, True),
    ((Standing.STRANGER,), False, _EITHER, FrameFlag.LOBBY, True),
)

VERDICTS: Final[dict[Case, Verdict]] = {
    Case(only_known, standing, is_authenticated, is_allowed): Verdict(int(flags), only_known and is_refused)
    for standings, is_authenticated, allowed, flags, is_refused in _TABLE
    for only_known, standing, is_allowed in product(_EITHER, standings, allowed)
}
"""The table, row by row and for both policies."""


class Standings:
    """What every terminal is to us: by the copy of the fleet, and by who has authenticated since."""

    def __init__(self, fleet: Fleet, *, only_known: bool) -> None:
        self.only_known = only_known
        self._fleet = fleet
        self._proved: set[str] = set()
        """Who has authenticated, here or at another gateway process, and the copy does not say so yet."""

    def of(self, identity: str) -> Standing:
        """Give the standing of a terminal."""
        terminal = self._fleet.terminal(identity)
        if terminal.known:
            return Standing.ACCEPTED
        if terminal.registered or identity in self._proved:
            return Standing.REGISTERED
        return Standing.STRANGER

    def verdict(self, identity: str, *, is_authenticated: bool) -> Verdict:
        """Say what becomes of what a terminal says in a session."""
        is_allowed = self._fleet.terminal(identity).speaks_without_code
        return VERDICTS[Case(self.only_known, self.of(identity), is_authenticated, is_allowed)]

    def prove(self, identity: str) -> bool:
        """Remember that a terminal has authenticated, and tell whether that changes its standing."""
        before = self.of(identity)
        if not self._fleet.terminal(identity).registered:
            self._proved.add(identity)
        return self.of(identity) is not before

    def is_worthless(self, identity: str, epoch: int) -> bool:
        """Tell whether a code of this epoch is one no more."""
        return epoch < self._fleet.terminal(identity).epoch

    def is_blocked(self, identity: str) -> bool:
        """Tell whether a terminal is let in no more."""
        return self._fleet.terminal(identity).blocked

    def refreshed(self) -> None:
        """Forget of whom the copy knows by now."""
        self._proved -= {each for each in self._proved if self._fleet.terminal(each).registered}
