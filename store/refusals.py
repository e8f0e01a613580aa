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

Their texts are for the person who asked. What is wrong with a value has a code and parameters beside it, so
that a page says it in its own language.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

Params = Mapping[str, str | int]

PROBLEMS: Final = MappingProxyType(
    {
        "too_large": "has more than {mib} MiB",
        "not_text": "is neither UTF-8 nor GB18030 text",
        "zero_byte": "contains a zero byte",
        "not_csv": "is no CSV: {error}",
        "no_lines": "there is no line under the header",
        "too_many_lines": "has more than {lines} lines; import the file in parts",
        "unknown_column": "is no column; known are {known}",
        "column_twice": "stands twice in the header",
        "no_key_column": "the header needs plate 车牌号 or identity 终端号",
        "too_many_cells": "has {cells} cells, the header has {columns}",
        "nothing_named": "has neither plate nor identity",
        "too_long": "has more than {characters} characters",
        "unseen_characters": "has characters that are not seen",
        "bad_plate": "has to be 1 to {characters} characters",
        "unknown_color": "is no plate colour; known are {known}",
        "bad_identity": "has to be 1 to {digits} digits, not all of them zero",
        "unknown_edition": "is one of {known}",
        "stands_already": "{value} stands in line {line} already",
        "installed_elsewhere": "{identity} is installed in {plate}; remove it there first",
        "has_another": "{plate} has the terminal {identity}; remove that one first",
        "ends_too_early": "must be after begins_at",
        "no_hex_digit": "{letter} is no hex digit",
        "half_a_byte": "{digits} hex digits are half a byte too many",
        "too_many_bytes": "at most {bytes} bytes are explained at a time",
        "unknown_profile": "is one of {known}",
        "password_length": "has to be {least} to {most} characters",
        "password_is_name": "is little more than the person's name",
        "password_is_common": "is one of those that are guessed first",
        "password_unchanged": "is the present one",
        "no_reason": "1 to {characters} characters: who asked for it, and why",
    }
)
"""What can be wrong with a value, by its code."""


def sentence(code: str, params: Params) -> str:
    """Say in English what is wrong. A text that is no code says it itself."""
    return PROBLEMS[code].format(**params) if code in PROBLEMS else code


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

    def __init__(self, field: str, code: str, **params: str | int) -> None:
        self.field = field
        self.code = code
        self.params = params
        self.problem = sentence(code, params)
        super().__init__(f"{field}: {self.problem}")


class BadCursor(Refused):
    """A list's `cursor` was not made by that list."""

    def __init__(self) -> None:
        super().__init__("The cursor was not made by this list; begin again without it.")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line of an import file. `line` counts from 1, the header line included."""

    line: int
    column: str
    code: str
    params: Params = field(default_factory=dict)

    @property
    def problem(self) -> str:
        return sentence(self.code, self.params)


class RosterInvalid(Refused):
    """Lines of an import file are wrong; nothing was entered."""

    def __init__(self, faults: list[Fault]) -> None:
        count = "1 line is" if len(faults) == 1 else f"{len(faults)} lines are"
        super().__init__(f"{count} wrong; nothing was entered.")
        self.faults = faults
