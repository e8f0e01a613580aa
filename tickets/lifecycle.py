"""What may happen to a repair ticket (派工单), and when.

                  accept              repair
         open ─────────────→ accepted ───────→ repaired
          ↑                      ↑                │
          │ reopen               └─────accept─────┘  the repair did not hold
          │
        closed ←── close · close_on_proof ─── open, accepted, repaired ─── cancel ──→ cancelled

Proof closes a ticket in any open state: a terminal that reports again is repaired, whoever did it. A person
who closes or cancels says why.

    TicketError                 the action cannot be done now; nothing has changed
    ├── TicketClosed            it is closed or cancelled
    ├── NotAllowed              the state does not allow it
    └── NoteMissing             closing and cancelling need a reason, a note needs a text
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Ticket(StrEnum):
    """How far the work is."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REPAIRED = "repaired"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Action(StrEnum):
    """What happens to a ticket."""

    ACCEPT = "accept"
    REPAIR = "repair"
    NOTE = "note"
    CLOSE_ON_PROOF = "close_on_proof"
    CLOSE = "close"
    CANCEL = "cancel"
    REOPEN = "reopen"


class TicketError(Exception):
    """The action cannot be done now; nothing has changed."""


class TicketClosed(TicketError):
    """It is closed or cancelled."""

    def __init__(self, state: Ticket) -> None:
        super().__init__(f"This ticket is {state}.")
        self.state = state


class NotAllowed(TicketError):
    """The state does not allow it."""

    def __init__(self, state: Ticket, action: Action) -> None:
        super().__init__(f"A ticket that is {state} cannot be changed by '{action}'.")
        self.state = state
        self.action = action


class NoteMissing(TicketError):
    """Closing and cancelling need a reason, a note needs a text."""

    def __init__(self, action: Action) -> None:
        super().__init__(f"'{action}' needs a note.")
        self.action = action


LIFECYCLE: Final = MappingProxyType(
    {
        (Ticket.OPEN, Action.ACCEPT): Ticket.ACCEPTED,
        (Ticket.ACCEPTED, Action.ACCEPT): Ticket.ACCEPTED,  # somebody else takes it over
        (Ticket.REPAIRED, Action.ACCEPT): Ticket.ACCEPTED,
        (Ticket.OPEN, Action.REPAIR): Ticket.REPAIRED,  # remote first: often nobody has to drive there
        (Ticket.ACCEPTED, Action.REPAIR): Ticket.REPAIRED,
        (Ticket.CLOSED, Action.REOPEN): Ticket.OPEN,
        **{
            (state, action): after
            for state in (Ticket.OPEN, Ticket.ACCEPTED, Ticket.REPAIRED)
            for action, after in {
                Action.CLOSE_ON_PROOF: Ticket.CLOSED,
                Action.CLOSE: Ticket.CLOSED,
                Action.CANCEL: Ticket.CANCELLED,
            }.items()
        },
        **{(state, Action.NOTE): state for state in Ticket},
    }
)
"""Every move there is."""

CHANGE: Final = MappingProxyType(
    {
        Action.ACCEPT: "accepted",
        Action.REPAIR: "repaired",
        Action.NOTE: "noted",
        Action.CLOSE_ON_PROOF: "closed",
        Action.CLOSE: "closed",
        Action.CANCEL: "cancelled",
        Action.REOPEN: "reopened",
    }
)
"""What the history of the ticket calls it."""

_WITH_NOTE: Final = frozenset({Action.NOTE, Action.CLOSE, Action.CANCEL, Action.CLOSE_ON_PROOF})
_ENDED: Final = frozenset({Ticket.CLOSED, Ticket.CANCELLED})


@dataclass(frozen=True, slots=True)
class Moved:
    """What an action does to the ticket."""

    state: Ticket
    change: str
    assigns: bool
    """The person who acted has the ticket from now on."""


def act(state: Ticket, action: Action, *, note: str = "") -> Moved:
    """Decide what `action` does to a ticket.

    Args:
        note: the text of a note; the reason of closing or cancelling; the proof.

    Raises:
        TicketClosed, NotAllowed, NoteMissing
    """
    if (state, action) not in LIFECYCLE:
        raise TicketClosed(state) if state in _ENDED else NotAllowed(state, action)
    if action in _WITH_NOTE and not note.strip():
        raise NoteMissing(action)
    return Moved(LIFECYCLE[state, action], CHANGE[action], assigns=action is Action.ACCEPT)
