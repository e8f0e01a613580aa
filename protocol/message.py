"""消息, the messages of the protocol: what one is, and their registry.

The files of `protocol/messages/` declare them, one construct each:

    message(0x0003, "终端注销", "deregister", EMPTY, direction=UP, clause="2013 §8.7")

A declaration that differs between editions is a mapping from the first edition that has each layout; an
edition that is not named has the layout of the newest named one before it. The names inside a declaration
are the names of the fields everywhere: in Python, in JSON and in the conformance vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from construct import Construct, Struct

from protocol.body import read, write
from protocol.edition import Edition
from protocol.errors import BodyError, LocalProtocolError
from protocol.frame import Frame

EMPTY: Final = Struct()
"""A message without a body."""

TERMINAL_REPLY: Final = 0x0001
PLATFORM_REPLY: Final = 0x8001


class Direction(StrEnum):
    """Who sends a message."""

    UP = "up"
    """The terminal, to the platform."""
    DOWN = "down"
    """The platform, to the terminal."""


UP, DOWN = Direction


@dataclass(frozen=True, slots=True)
class MessageType:
    """One kind of message."""

    id: int
    name: str
    chinese: str
    direction: Direction
    layouts: Mapping[Edition, Construct]
    """The declaration by the first edition that has it, oldest first."""
    answer: int | None
    """The id of the message that answers it; None where nothing does."""
    until: Edition = Edition.E2019
    """The last edition that has it."""
    clause: str = ""

    @property
    def since(self) -> Edition:
        """The first edition that has it."""
        return next(iter(self.layouts))

    @property
    def editions(self) -> tuple[Edition, ...]:
        """Every edition that has it."""
        return tuple(edition for edition in Edition if self.since <= edition <= self.until)

    def layout(self, edition: Edition) -> Construct:
        """Give the declaration by which to read a body of a terminal of this edition.

        Devices use messages that their edition does not have yet or any more, so the nearest one serves.
        """
        named = [first for first in self.layouts if first <= edition]
        return self.layouts[named[-1] if named else self.since]


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A body that cannot be read, as a value: it is stored and shown, and answered like any other."""

    raw: bytes
    error: str


MESSAGES: Final[dict[int, MessageType]] = {}
"""Every declared message by id. Filled by the files of `protocol/messages/`."""


def message(
    id: int,
    chinese: str,
    name: str,
    layout: Construct | Mapping[Edition, Construct],
    *,
    direction: Direction,
    answer: int | bool | None = True,
    since: Edition = Edition.E2011,
    until: Edition = Edition.E2019,
    clause: str = "",
) -> MessageType:
    """Declare a message. `answer` is the id that answers it; by default the other side's general reply.

    Raises:
        ValueError: another file has declared this id.
    """
    if id in MESSAGES:
        raise ValueError(f"message {id:#06x} is declared twice: {MESSAGES[id].name} and {name}")
    layouts = layout if isinstance(layout, Mapping) else {since: layout}
    if answer is True:
        answer = PLATFORM_REPLY if direction is UP else TERMINAL_REPLY
    MESSAGES[id] = MessageType(id, name, chinese, direction, dict(layouts), answer or None, until, clause)
    return MESSAGES[id]


def decode_body(id: int, edition: Edition, body: bytes, **known: Any) -> dict[str, Any] | Undecodable:
    """Read a body. Unknown ids and bytes that do not fit are values, not errors.

    `known` reaches the declarations as `this._params`, beside the edition.
    """
    declared = MESSAGES.get(id)
    if declared is None:
        return Undecodable(body, f"message id {id:#06x} is unknown")
    try:
        fields: dict[str, Any] = read(declared.layout(edition), body, edition=edition, **known)
    except BodyError as error:
        return Undecodable(body, str(error))
    return fields


def decode_frame(frame: Frame, edition: Edition, **known: Any) -> dict[str, Any] | Undecodable:
    """Read the body of a frame. One that is encrypted, or only a part of its message, is a value too."""
    if frame.cipher:
        return Undecodable(frame.body, f"the body is encrypted by cipher {frame.cipher}")
    if frame.fragment and frame.fragment[0] > 1:
        total, index = frame.fragment
        return Undecodable(frame.body, f"fragment {index} of {total}")
    return decode_body(frame.msg_id, edition, frame.body, **known)


def encode_body(id: int, edition: Edition, fields: dict[str, Any] | Undecodable, **known: Any) -> bytes:
    """Write a body.

    Raises:
        LocalProtocolError: the id is unknown, or a field is missing or does not fit.
    """
    if isinstance(fields, Undecodable):
        return fields.raw
    declared = MESSAGES.get(id)
    if declared is None:
        raise LocalProtocolError(f"message id {id:#06x} is unknown: give its body as Undecodable")
    return write(declared.layout(edition), fields, edition=edition, **known)
