"""消息, the messages of the protocol: what one is, and their registry.

The files of `protocol/messages/` declare them, one construct each:

    message(0x0003, "终端注销", "deregister", EMPTY, direction=UP, clause="2013 §8.7")

A declaration that differs between editions is a mapping from the first edition that has each layout; an
edition that is not named has the layout of the newest named one before it. The names inside a declaration
are the names of the fields everywhere: in Python, in JSON and in the conformance vectors.

Real devices send the layout of another edition than their header says, or one that the standard has not
(`variants`). A body that does not fit the layout of its own edition, but fits another one to the last byte,
is read by that; its fields then name it: `layout` "2013" or the name of the variant. Writing follows
`layout` too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from construct import Construct, Struct

from protocol.body import REST, read, write
from protocol.ciphers import decipher, no_keys
from protocol.edition import Edition
from protocol.errors import BodyError, LocalProtocolError
from protocol.frame import Frame

EMPTY: Final = Struct()
"""A message without a body."""

LAYOUT: Final = "layout"
"""The field that names the layout by which a body was read, where that is not its own edition's."""

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
    since: Edition
    """The first edition that has it."""
    until: Edition = Edition.E2019
    """The last edition that has it."""
    clause: str = ""
    variants: Mapping[str, Construct] = field(default_factory=dict)
    """Layouts that devices use although no edition has them, by a name for each."""

    @property
    def editions(self) -> tuple[Edition, ...]:
        """Every edition that has it."""
        return tuple(edition for edition in Edition if self.since <= edition <= self.until)

    def layout(self, edition: Edition) -> Construct:
        """Give the declaration by which to read a body of a terminal of this edition.

        Devices use messages that their edition does not have yet or any more, so the nearest one serves.
        """
        return self.layouts[self._first(edition)]

    def own_layout(self, edition: Edition) -> str:
        """Give the name of that declaration: the first edition that has it."""
        return self._first(edition).value

    def _first(self, edition: Edition) -> Edition:
        named = [first for first in self.layouts if first <= edition]
        return named[-1] if named else next(iter(self.layouts))

    def other_layouts(self, edition: Edition) -> Iterator[tuple[str, Construct]]:
        """Give what else a body may fit: the other editions' layouts, the nearest first, then variants."""
        own, order = self._first(edition), list(Edition)
        others = sorted(
            (first for first in self.layouts if first != own),
            key=lambda first: abs(order.index(first) - order.index(own)),
        )
        yield from ((first.value, self.layouts[first]) for first in others)
        yield from self.variants.items()

    def layout_named(self, name: str | None, edition: Edition) -> Construct:
        """Give the layout that the field `layout` of a decoded body names; without a name, the edition's own.

        Raises:
            LocalProtocolError: there is no layout of this name.
        """
        if name in (None, self.own_layout(edition)):
            return self.layout(edition)
        for other, layout in self.other_layouts(edition):
            if other == name:
                return layout
        raise LocalProtocolError(f"message {self.id:#06x} has no other layout named {name!r}")


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A body that cannot be read, as a value: it is stored and shown, and answered like any other."""

    raw: bytes
    error: str


MESSAGES: Final[dict[int, MessageType]] = {}
"""Every declared message by id. Filled by the files of `protocol/messages/`."""


RESERVED: Final = {
    range(0x0F00, 0x1000): "终端上行消息保留 reserved for terminals",
    range(0x8F00, 0x9000): "平台下行消息保留 reserved for platforms",
    range(0xE000, 0xF000): "厂商自定义上行消息 the maker's own, by terminals",
    range(0xF000, 0x10000): "厂商自定义下行消息 the maker's own, by platforms",
}
"""Ids that a standard sets aside without a meaning (2013 appendix B, from 0xE000 on 2019): their bodies stay
raw.
"""


def _unknown(id: int) -> str:
    kind = next((kind for ids, kind in RESERVED.items() if id in ids), "unknown")
    return f"message id {id:#06x} is {kind}"


def message(
    id: int,
    chinese: str,
    name: str,
    layout: Construct | Mapping[Edition, Construct],
    *,
    direction: Direction,
    answer: int | bool | None = True,
    since: Edition | None = None,
    until: Edition = Edition.E2019,
    clause: str = "",
    variants: Mapping[str, Construct] | None = None,
) -> MessageType:
    """Declare a message. `answer` is the id that answers it; by default the other side's general reply.

    Raises:
        ValueError: another file has declared this id.
    """
    if id in MESSAGES:
        raise ValueError(f"message {id:#06x} is declared twice: {MESSAGES[id].name} and {name}")
    layouts = dict(layout) if isinstance(layout, Mapping) else {since or Edition.E2011: layout}
    if answer is True:
        answer = PLATFORM_REPLY if direction is UP else TERMINAL_REPLY
    since = since or next(iter(layouts))
    MESSAGES[id] = MessageType(
        id, name, chinese, direction, layouts, answer or None, since, until, clause, dict(variants or {})
    )
    return MESSAGES[id]


def decode_body(id: int, edition: Edition, body: bytes, **known: Any) -> dict[str, Any] | Undecodable:
    """Read a body. Unknown ids and bytes that do not fit are values, not errors.

    `known` reaches the declarations as `this._params`, beside the edition. `profile` is the terminal's, see
    `protocol.profile`.
    """
    declared = MESSAGES.get(id)
    if declared is None:
        return Undecodable(body, _unknown(id))
    known |= {"edition": edition}
    preferred = _preferred(id, known)
    if preferred:
        fields = _read_as(declared.layout_named(preferred, edition), body, known)
        if fields is not None:
            return {LAYOUT: preferred, **fields}
    try:
        own: dict[str, Any] = read(declared.layout(edition), body, **known)
    except BodyError as error:
        return _read_otherwise(declared, edition, body, known) or Undecodable(body, str(error))
    # Where the profile wants another layout than the edition's own, the own one is what has to be named.
    return {LAYOUT: declared.own_layout(edition), **own} if preferred else own


def _preferred(id: int, known: dict[str, Any]) -> str | None:
    """Give the layout that the terminal's profile wants to be used first."""
    profile = known.get("profile")
    return profile.layouts.get(id) if profile else None


def _read_otherwise(
    declared: MessageType, edition: Edition, body: bytes, known: dict[str, Any]
) -> dict[str, Any] | None:
    for name, layout in declared.other_layouts(edition):
        fields = _read_as(layout, body, known)
        if fields is not None:
            return {LAYOUT: name, **fields}
    return None


def _read_as(layout: Construct, body: bytes, known: dict[str, Any]) -> dict[str, Any] | None:
    """Read a body by a layout that covers it to the last byte; None where it does not."""
    try:
        fields: dict[str, Any] = read(layout, body, **known)
    except BodyError:
        return None
    return None if REST in fields else fields


def decode_frame(frame: Frame, edition: Edition, **known: Any) -> dict[str, Any] | Undecodable:
    """Read the body of a frame. One that is encrypted, or only a part of its message, is a value too.

    It is deciphered where `profile` explains the cipher and `keys` has the key, see `protocol.ciphers`.
    """
    profile, keys = known.get("profile"), known.pop("keys", no_keys)
    try:
        frame = decipher(frame, profile.ciphers if profile else {}, keys)
    except BodyError as error:
        return Undecodable(frame.body, str(error))
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
        raise LocalProtocolError(f"{_unknown(id)}: give its body as Undecodable")
    layout = declared.layout_named(fields.get(LAYOUT) or _preferred(id, known), edition)
    return write(layout, fields, edition=edition, **known)
