"""业务数据, the messages of JT/T 809: what one is, their groups, and the registry.

The files of `protocol/jt809/messages/` declare them, one construct each:

    message(0x1003, "主链路注销请求", "log out of the main link", Struct(…), answer=0x1004)

A declaration that differs between dialects is a mapping from the first dialect that has each layout; a
dialect that is not named has the layout of the newest named one before it.

Link messages are the body of their frame. All others are **sub-messages** (子业务): the frame's id names a
group such as 0x1200, and its body is an envelope (`Envelope`) around the sub-message:

    {"plate_number", "plate_color", "sub_msg_id": "0x1202", "data_length", "sub_body": {…}}

Platforms mix dialects. A body that does not fit the layout of the peer's own dialect, but fits another one to
the last byte, is read by that, and its fields name it: `layout` "V2" or the name of a variant. Likewise
`envelope` names the envelope where it is not the one that the dialect has. Writing follows both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

from construct import Construct, Int8ub, Struct

from protocol.adapters import Text, as_bytes
from protocol.body import REST, read, write
from protocol.errors import BodyError, LocalProtocolError
from protocol.jt809.adapters import HexId, as_id
from protocol.jt809.cipher import Keys, apply
from protocol.jt809.dialect import Dialect
from protocol.jt809.framing import MAX_PLAIN, Frame
from protocol.message import EMPTY, LAYOUT, Undecodable

Layouts: TypeAlias = Mapping[Dialect, Construct]
"""Declarations by the first dialect that has each, oldest first."""

ENVELOPE: Final = "envelope"
"""The field that names an envelope which is not the one that the dialect has."""

LENGTH_SIZE: Final = 4


class Direction(StrEnum):
    """Who sends a message."""

    UP = "up"
    """The subordinate platform (下级平台): us, to a government platform."""
    DOWN = "down"
    """The superior platform (上级平台)."""


class Link(StrEnum):
    """Which of the two connections a message belongs to. While one is down, the other carries all."""

    MAIN = "main"
    """主链路: the subordinate platform has connected."""
    SUB = "sub"
    """从链路: the superior platform has connected back."""


class Envelope(StrEnum):
    """What stands in front of a sub-message."""

    VEHICLE = "vehicle"
    """Plate and colour, sub-message id, length."""
    PLAIN = "plain"
    """Sub-message id and length."""
    VEHICLE_NO_LENGTH = "vehicle, no length"
    PLAIN_NO_LENGTH = "plain, no length"

    @property
    def has_vehicle(self) -> bool:
        """It names a vehicle."""
        return self in (Envelope.VEHICLE, Envelope.VEHICLE_NO_LENGTH)

    @property
    def has_length(self) -> bool:
        """It counts the bytes of the sub-message."""
        return self in (Envelope.VEHICLE, Envelope.PLAIN)

    @classmethod
    def of(cls, has_vehicle: bool, has_length: bool) -> "Envelope":
        """Give the envelope with these parts."""
        return next(e for e in cls if (e.has_vehicle, e.has_length) == (has_vehicle, has_length))


SUB_MESSAGE: Final = Struct("sub_msg_id" / HexId * "子业务类型标识 sub-message id")
VEHICLE: Final = (
    Struct(
        "plate_number" / Text(21) * "车牌号 plate",
        "plate_color"
        / Int8ub
        * "车牌颜色 JT/T 415-2006 §5.4.12: 1 blue, 2 yellow, 3 black, 4 white, 9 other",
    )
    + SUB_MESSAGE
)


@dataclass(frozen=True, slots=True)
class Group:
    """业务数据类型: a frame id whose body is a sub-message in an envelope."""

    id: int
    name: str
    chinese: str
    envelopes: Mapping[Dialect, Envelope]
    """By the first dialect that has it, oldest first."""


@dataclass(frozen=True, slots=True)
class MessageType:
    """One kind of message: of a link, or a sub-message."""

    id: int
    name: str
    chinese: str
    link: Link
    layouts: Layouts
    """The declaration by the first dialect that has it, oldest first."""
    answer: int | None
    """The id of the message that answers it; None where nothing does."""
    since: Dialect
    """The first dialect that has it."""
    clause: str = ""
    variants: Mapping[str, Layouts] = field(default_factory=dict)
    """Layouts that platforms use although no dialect has them, by a name for each, and by dialect."""
    envelopes: Mapping[Dialect, Envelope] | None = None
    """Where its envelope is not the one of its group."""

    @property
    def direction(self) -> Direction:
        """Who sends it: ids from 0x9000 on come from the superior platform."""
        return Direction.DOWN if self.id >= 0x9000 else Direction.UP

    @property
    def group(self) -> Group | None:
        """The group of a sub-message; None for a message of a link."""
        return GROUPS.get(self.id & 0xFF00)

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """Every dialect that has it."""
        return tuple(dialect for dialect in Dialect if dialect >= self.since)

    def layout(self, dialect: Dialect) -> Construct:
        """Give the declaration by which to read what a peer of this dialect sends."""
        return newest(self.layouts, dialect)

    def other_layouts(self, dialect: Dialect) -> Iterator[tuple[str, Construct]]:
        """Give what else a body may fit: the other dialects' layouts, then variants."""
        own = self.layout(dialect)
        yield from ((first.value, layout) for first, layout in self.layouts.items() if layout is not own)
        yield from ((name, newest(layouts, dialect)) for name, layouts in self.variants.items())

    def layout_named(self, name: str | None, dialect: Dialect) -> Construct:
        """Give the layout that the field `layout` of a decoded body names; without one, the dialect's own.

        Raises:
            LocalProtocolError: there is no layout of this name.
        """
        if name is None:
            return self.layout(dialect)
        for other, layout in self.other_layouts(dialect):
            if other == name:
                return layout
        raise LocalProtocolError(f"message {self.id:#06x} has no other layout named {name!r}")


def newest(by_dialect: Mapping[Dialect, Any], dialect: Dialect) -> Any:
    """Give what is named for this dialect, for the newest one before it, or else for the first."""
    named = [first for first in by_dialect if first <= dialect]
    return by_dialect[named[-1] if named else next(iter(by_dialect))]


MESSAGES: Final[dict[int, MessageType]] = {}
"""Every declared message by id. Filled by the files of `protocol/jt809/messages/`."""

GROUPS: Final[dict[int, Group]] = {}
"""Every group by the id that frames have."""


def group(
    id: int, chinese: str, name: str, envelope: Envelope | Mapping[Dialect, Envelope] = Envelope.VEHICLE
) -> Group:
    """Declare a group of sub-messages."""
    envelopes = {Dialect.V1: envelope} if isinstance(envelope, Envelope) else dict(envelope)
    GROUPS[id] = Group(id, name, chinese, envelopes)
    return GROUPS[id]


def message(
    id: int,
    chinese: str,
    name: str,
    layout: Construct | Layouts = EMPTY,
    *,
    answer: int | None = None,
    link: Link | None = None,
    since: Dialect | None = None,
    clause: str = "",
    variants: Mapping[str, Construct | Layouts] | None = None,
    envelopes: Mapping[Dialect, Envelope] | None = None,
) -> MessageType:
    """Declare a message. By default what subordinates send goes by the main link, the rest by the other.

    Raises:
        ValueError: another file has declared this id.
    """
    if id in MESSAGES:
        raise ValueError(f"message {id:#06x} is declared twice: {MESSAGES[id].name} and {name}")
    layouts = by_dialect(layout, since or Dialect.V1)
    since = since or next(iter(layouts))
    link = link or (Link.SUB if id >= 0x9000 else Link.MAIN)
    others = {other: by_dialect(variant, since) for other, variant in (variants or {}).items()}
    MESSAGES[id] = MessageType(id, name, chinese, link, layouts, answer, since, clause, others, envelopes)
    return MESSAGES[id]


def by_dialect(layout: Construct | Layouts, since: Dialect) -> Layouts:
    """Give a layout that is the same in all dialects as a mapping too."""
    return dict(layout) if isinstance(layout, Mapping) else {since: layout}


def decode_body(id: int, dialect: Dialect, body: bytes) -> dict[str, Any] | Undecodable:
    """Read the body of a frame. Unknown ids and bytes that do not fit are values, not errors.

    Of an enveloped sub-message that cannot be read, `sub_body` is {"raw": bytes, "error": str}.
    """
    if id not in GROUPS:
        return _read(id, dialect, body)[0]
    try:
        return _read_enveloped(GROUPS[id], dialect, body)
    except BodyError as error:
        return Undecodable(body, str(error))


def decode_frame(frame: Frame, dialect: Dialect, keys: Keys | None = None) -> dict[str, Any] | Undecodable:
    """Read the body of a frame, decrypted where that is needed."""
    body = frame.body
    if frame.is_encrypted:
        if keys is None:
            return Undecodable(body, "the body is encrypted, and this peer's M1, IA1 and IC1 are not known")
        body = apply(body, frame.encrypt_key, keys)
    return decode_body(frame.msg_id, dialect, body)


def _read(id: int, dialect: Dialect, body: bytes) -> tuple[dict[str, Any] | Undecodable, bool]:
    """Read a message without its envelope, and tell whether a layout covers all of its bytes."""
    declared = MESSAGES.get(id)
    if declared is None or id in GROUPS:
        return Undecodable(body, f"message id {id:#06x} is unknown"), False
    own: dict[str, Any] | Undecodable
    try:
        own = fields = read(declared.layout(dialect), body)
        if REST not in fields:
            return fields, True
    except BodyError as error:
        own = Undecodable(body, str(error))
    for name, layout in declared.other_layouts(dialect):
        try:
            fields = read(layout, body)
        except BodyError:
            continue
        if REST not in fields:
            return {LAYOUT: name, **fields}, True
    return own, False


def _read_enveloped(group: Group, dialect: Dialect, body: bytes) -> dict[str, Any]:
    has_vehicle = not _starts_with_sub_id(group, body)
    fields: dict[str, Any] = read(VEHICLE if has_vehicle else SUB_MESSAGE, body)
    sub_id, behind = as_id(fields["sub_msg_id"]), fields.pop(REST, b"")
    if sub_id & 0xFF00 != group.id:
        raise BodyError(f"sub_msg_id: {sub_id:#06x} is not of the group {group.id:#06x}")
    attempts = [
        (has_length, *_read(sub_id, dialect, content), rest)
        for has_length, content, rest in _contents(behind)
    ]
    has_length, sub, _, rest = next((found for found in attempts if found[2]), attempts[0])
    if has_length:
        fields["data_length"] = int.from_bytes(behind[:LENGTH_SIZE])
    fields["sub_body"] = {"raw": sub.raw, "error": sub.error} if isinstance(sub, Undecodable) else sub
    envelope = Envelope.of(has_vehicle, has_length)
    if envelope != envelope_of(sub_id, dialect):
        fields[ENVELOPE] = envelope.value
    return {**fields, REST: rest} if rest else fields


def _starts_with_sub_id(group: Group, body: bytes) -> bool:
    """Tell an envelope without a vehicle: its first bytes are an id of the group. No plate can start so.

    0x12 to 0x1b are control characters; behind 0x92 to 0x9b GBK never has a byte below 0x40.
    """
    return body[:1] == bytes((group.id >> 8,)) and body[1:2] < b"\x40"


def _contents(behind: bytes) -> Iterator[tuple[bool, bytes, bytes]]:
    """Give what the sub-message may be, and what stands behind it, the most likely first.

    It is as the length says. Where that says wrong, it is all there is, or there is no length in front; that
    is the likelier one where the four bytes would be more than any frame has.
    """
    said, there = int.from_bytes(behind[:LENGTH_SIZE]), behind[LENGTH_SIZE:]
    counted, uncounted = (True, there, b""), (False, behind, b"")
    if len(behind) < LENGTH_SIZE:
        yield uncounted
        return
    if said <= len(there):
        yield True, there[:said], there[said:]
    if said != len(there):
        yield from (uncounted, counted) if said > MAX_PLAIN else (counted, uncounted)


def envelope_of(sub_id: int, dialect: Dialect) -> Envelope:
    """Give the envelope that a sub-message has in this dialect."""
    declared, group = MESSAGES.get(sub_id), GROUPS[sub_id & 0xFF00]
    own = declared.envelopes if declared else None
    envelope: Envelope = newest(own or group.envelopes, dialect)
    return envelope


def encode_body(id: int, dialect: Dialect, fields: dict[str, Any] | Undecodable) -> bytes:
    """Write the body of a frame. `data_length` is computed.

    Raises:
        LocalProtocolError: the id is unknown, or a field is missing or does not fit.
    """
    if isinstance(fields, Undecodable):
        return fields.raw
    if id not in GROUPS:
        return _write(id, dialect, fields)
    if "sub_msg_id" not in fields:
        raise LocalProtocolError("field 'sub_msg_id' is missing")
    sub_id = as_id(fields["sub_msg_id"])
    if sub_id & 0xFF00 != id:
        raise LocalProtocolError(f"sub-message {sub_id:#06x} is not of the group {id:#06x}")
    envelope = Envelope(fields.get(ENVELOPE) or envelope_of(sub_id, dialect))
    head = write(VEHICLE if envelope.has_vehicle else SUB_MESSAGE, {**fields, REST: b""})
    sub = _write(sub_id, dialect, fields.get("sub_body") or {})
    length = len(sub).to_bytes(LENGTH_SIZE) if envelope.has_length else b""
    return head + length + sub + as_bytes(fields.get(REST, b""))


def _write(id: int, dialect: Dialect, fields: dict[str, Any]) -> bytes:
    if "raw" in fields:
        return as_bytes(fields["raw"])
    declared = MESSAGES.get(id)
    if declared is None:
        raise LocalProtocolError(f"message id {id:#06x} is unknown: give its body as `raw`")
    return write(declared.layout_named(fields.get(LAYOUT), dialect), fields)
