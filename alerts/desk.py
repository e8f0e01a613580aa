"""What people may do with an alarm, and when.

           take             handle
    free ────────→ taken ────────→ handled
      ↑              │
      └───release────┘

An alarm stands on the desk until somebody has handled it, whether or not its condition has ended. Taking it
locks it: two operators never handle one alarm. An admin may release or handle what another took, because
people go home.

    DeskError                   the action cannot be done now; nothing has changed
    ├── AlreadyTaken            another one has it (`by` names them)
    ├── AlreadyHandled          it has left the desk
    ├── NotTaken                take it first
    └── ResultInvalid           the result of handling is missing or unknown
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from protocol.words import Ends


class Desk(StrEnum):
    """Where an alarm is on its way over the desk."""

    FREE = "free"
    TAKEN = "taken"
    HANDLED = "handled"


class Action(StrEnum):
    """What a person does with an alarm."""

    TAKE = "take"
    RELEASE = "release"
    HANDLE = "handle"


class Result(StrEnum):
    """What the alarm turned out to be."""

    REAL = "real"
    FALSE_ALARM = "false_alarm"
    TEST = "test"
    OTHER = "other"


class DeskError(Exception):
    """The action cannot be done now; nothing has changed."""


class AlreadyTaken(DeskError):
    """Another one has it."""

    def __init__(self, by: str) -> None:
        super().__init__(f"{by} has taken this alarm.")
        self.by = by


class AlreadyHandled(DeskError):
    """It has left the desk."""

    def __init__(self, by: str) -> None:
        super().__init__(f"{by} has already handled this alarm.")
        self.by = by


class NotTaken(DeskError):
    """Take it first."""

    def __init__(self) -> None:
        super().__init__("Nobody has taken this alarm; take it first.")


class ResultInvalid(DeskError):
    """The result of handling is missing or unknown."""

    def __init__(self, result: str | None) -> None:
        allowed = ", ".join(Result)
        given = f"'{result}' is not a result" if result else "A result is missing"
        super().__init__(f"{given}; allowed are {allowed}.")
        self.result = result


DESK: Final = MappingProxyType(
    {
        (Desk.FREE, Action.TAKE): Desk.TAKEN,
        (Desk.TAKEN, Action.TAKE): Desk.TAKEN,  # by the one who has it: a double click
        (Desk.TAKEN, Action.RELEASE): Desk.FREE,
        (Desk.TAKEN, Action.HANDLE): Desk.HANDLED,
    }
)
"""Every move there is."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts."""

    name: str
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class OnDesk:
    """What decides about an alarm. `by` is who took it, or, once it is handled, who handled it."""

    state: Desk
    by: str | None = None
    ends: Ends = Ends.BY_TERMINAL
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """What an action does to the alarm."""

    state: Desk
    changed: bool
    """False where everything was already so."""
    result: Result | None = None
    ends_alarm: bool = False
    """Handling it ends it, because its terminal never will (`Ends.BY_OPERATOR`)."""


def act(alarm: OnDesk, action: Action, by: Person, *, result: str | None = None) -> Moved:
    """Decide what `action` by a person does to an alarm.

    Args:
        result: one of `Result`; required to handle, ignored otherwise.

    Raises:
        AlreadyTaken, AlreadyHandled, NotTaken, ResultInvalid
    """
    holder = alarm.by or ""
    if alarm.state is Desk.HANDLED:
        raise AlreadyHandled(holder)
    if (alarm.state, action) not in DESK:
        raise NotTaken
    if alarm.state is Desk.TAKEN and holder != by.name and (action is Action.TAKE or not by.is_admin):
        raise AlreadyTaken(holder)
    after = DESK[alarm.state, action]
    if action is not Action.HANDLE:
        return Moved(after, changed=after is not alarm.state)
    if result not in set(Result):
        raise ResultInvalid(result)
    return Moved(
        after,
        changed=True,
        result=Result(result),
        ends_alarm=alarm.ends is Ends.BY_OPERATOR and not alarm.has_ended,
    )
