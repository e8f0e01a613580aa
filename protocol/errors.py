"""Everything that protocol code raises.

- `ProtocolError`
    - `RemoteProtocolError`: the other side sent something wrong
        - `FrameError`: bytes between two flags are no frame; `reason` is stable and goes to metrics and
          quarantine
            - `Garbage`, `TooLong`, `BadEscape`, `TooShort`, `BadChecksum`, `BadLength`
        - `BodyError`: a verified frame's body does not fit its declaration (inside `protocol` only: callers
          of `decode_body` receive an `Undecodable` value instead)
    - `LocalProtocolError`: our own side asked for something that the protocol cannot carry
"""

from typing import ClassVar


class ProtocolError(Exception):
    """Something against the protocol."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something against the protocol."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for something that the protocol cannot carry."""


class FrameError(RemoteProtocolError):
    """Bytes between two flags are no frame.

    The first line of each kind's docstring is its message.
    """

    reason: ClassVar[str] = "frame"

    def __init__(self, detail: str = "") -> None:
        meaning = (self.__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{meaning} ({detail})" if detail else meaning)


class Garbage(FrameError):
    """Bytes before the first flag of a link."""

    reason = "garbage"


class TooLong(FrameError):
    """More bytes between two flags than any frame can have."""

    reason = "too_long"


class BadEscape(FrameError):
    """0x7d is followed by neither 0x01 nor 0x02."""

    reason = "bad_escape"


class TooShort(FrameError):
    """Too few bytes for a header and a checksum."""

    reason = "too_short"


class BadChecksum(FrameError):
    """The exclusive or over header and body is not the checksum."""

    reason = "bad_checksum"


class BadLength(FrameError):
    """The body is not as long as the header says."""

    reason = "bad_length"


class BodyError(RemoteProtocolError):
    """A body does not fit the declaration of its message."""


FRAME_ERRORS: dict[str, type[FrameError]] = {
    error.reason: error for error in (Garbage, TooLong, BadEscape, TooShort, BadChecksum, BadLength)
}
"""Every reason for which bytes are rejected, with its error."""
