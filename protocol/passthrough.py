"""透传消息, contents of 0x0900 and 0x8900 that have a meaning of their own: their registry.

Most contents belong to somebody else and stay bytes. One that is declared is read as well, as the field
`content` beside `content_hex`; written is `content_hex`, or `content` where that is absent.
"""

from dataclasses import dataclass
from typing import Any, Final

from construct import Construct

from protocol.adapters import as_bytes
from protocol.body import known_in, read, write
from protocol.errors import BodyError, LocalProtocolError
from protocol.message import Direction


@dataclass(frozen=True, slots=True)
class Passthrough:
    """One kind of content."""

    type: int
    """透传消息类型."""
    direction: Direction
    name: str
    chinese: str
    declaration: Construct
    clause: str = ""


PASSTHROUGHS: Final[dict[tuple[Direction, int], Passthrough]] = {}
"""Every declared content by direction and type. Filled by the files of `protocol/messages/`."""


def passthrough(
    type: int, chinese: str, name: str, declaration: Construct, *, direction: Direction, clause: str = ""
) -> Passthrough:
    """Declare the content of a type.

    Raises:
        ValueError: this content is declared already.
    """
    if (direction, type) in PASSTHROUGHS:
        raise ValueError(f"content {type:#04x} {direction} is declared twice")
    PASSTHROUGHS[direction, type] = Passthrough(type, direction, name, chinese, declaration, clause)
    return PASSTHROUGHS[direction, type]


def read_content(direction: Direction, context: Any) -> dict[str, Any] | None:
    """Give the content that a message carries, None where it is not declared or does not fit."""
    declared = PASSTHROUGHS.get((direction, context.passthrough_type))
    if declared is None:
        return None
    try:
        content: dict[str, Any] = read(
            declared.declaration, as_bytes(context.content_hex), **known_in(context)
        )
    except BodyError:
        return None
    return content


def write_content(direction: Direction, context: Any) -> bytes:
    """Give the bytes of `content_hex`, or those of `content` where there is none.

    Raises:
        LocalProtocolError: the content does not fit, or there is neither.
    """
    if context.get("content_hex") is not None:
        return as_bytes(context.content_hex)
    declared = PASSTHROUGHS.get((direction, context.passthrough_type))
    if declared is None or context.get("content") is None:
        raise LocalProtocolError("content_hex is missing, and there is no declared content either")
    return write(declared.declaration, context.content, **known_in(context))
