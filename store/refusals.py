"""What the store says when a person asks for something that cannot be.

    Refused                     the request cannot be done; nothing was changed
    ├── NotFound                there is no such thing
    ├── AlreadyExists           the name, plate or identity is taken
    ├── AlreadyBound            the terminal or the vehicle has another partner
    ├── NotBound                there is nothing to unbind
    ├── LastAdmin               somebody must be able to sign in as an admin
    ├── Unacceptable            a value is not allowed (`field` names it)
    ├── BadCursor               a list's `cursor` was not made by that list
    └── RosterInvalid           lines of an import file are wrong (`faults` lists them)

Their texts are for the person who asked.
"""

from dataclasses import dataclass


class Refused(Exception):
    """The request cannot be done; nothing was changed."""


class NotFound(Refused):
    """There is no such thing."""

    def __init__(self, what: str, which: object) -> None:
        super().__init__(f"There is no {what} {which}.")


class AlreadyExists(Refused):
    """The name, plate or identity is taken."""


class AlreadyBound(Refused):
    """The terminal or the vehicle has another partner."""


class NotBound(Refused):
    """There is nothing to unbind."""


class LastAdmin(Refused):
    """Somebody must be able to sign in as an admin."""


class Unacceptable(Refused):
    """A value is not allowed."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class BadCursor(Refused):
    """A list's `cursor` was not made by that list."""

    def __init__(self) -> None:
        super().__init__("The cursor was not made by this list; begin again without it.")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line of an import file. `line` counts from 1, the header line included."""

    line: int
    field: str
    problem: str


class RosterInvalid(Refused):
    """Lines of an import file are wrong; nothing was entered."""

    def __init__(self, faults: list[Fault]) -> None:
        count = "1 line is" if len(faults) == 1 else f"{len(faults)} lines are"
        super().__init__(f"{count} wrong; nothing was entered.")
        self.faults = faults
