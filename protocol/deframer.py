"""Frames out of a byte stream, in any chunking. `protocol.columns.scan` finds exactly the same.

The rules, in terms of the whole stream of a link:

- A frame is what stands between two 0x7e. One 0x7e may end a frame and start the next; two 0x7e with nothing
  between them are passed over.
- Bytes before the first 0x7e of the link are `garbage`.
- Content longer than `MAX_FRAME` bytes is `too_long`. Everything is decided at flags, so a piece of garbage
  or of overlong content is rejected once, when its flag arrives, with its first `MAX_FRAME` bytes as `raw`.
- Then escapes are undone: 0x7d not followed by 0x01 or 0x02 is `bad_escape`, except a single 0x7d at the
  very end, where some devices send their checksum unescaped. Such a frame is accepted and is not canonical:
  escaping its plain form does not give the received bytes.
- Then `protocol.frame.verify` decides. The next flag always starts anew, so a bad frame costs itself only,
  and where an end flag was lost the following frame survives.

What a `Deframer` remembers between chunks is its `tail`: empty or garbage without a flag at the start of a
link, later 0x7e and the content so far; never more than `MAX_FRAME` + 2 bytes.
"""

from dataclasses import dataclass
from typing import NamedTuple

from protocol.errors import FrameError, Garbage, TooLong
from protocol.frame import ESCAPE, MAX_FRAME, escape, unescape, verify


class PlainFrame(NamedTuple):
    """A verified frame without flags and escapes: header, body and checksum."""

    plain: bytes
    is_canonical: bool = True
    """Escaping `plain` gives the received bytes."""

    @property
    def wire(self) -> bytes:
        """The frame as it was received, flags and escapes included."""
        if self.is_canonical:
            return b"\x7e" + escape(self.plain) + b"\x7e"
        return b"\x7e" + escape(self.plain[:-1]) + self.plain[-1:] + b"\x7e"


class RejectedBytes(NamedTuple):
    """Bytes between two flags that are no frame, as received."""

    reason: str
    """`FrameError.reason` of the fault."""
    raw: bytes
    """Without the flags; at most `MAX_FRAME` bytes."""


def deframe(content: bytes) -> PlainFrame | RejectedBytes:
    """Read what stands between two flags."""
    if len(content) > MAX_FRAME:
        return RejectedBytes(TooLong.reason, content[:MAX_FRAME])
    try:
        plain = unescape(content)
        verify(plain)
    except FrameError as error:
        return RejectedBytes(error.reason, content)
    return PlainFrame(plain, content[-1] != ESCAPE)


@dataclass(slots=True)
class Deframer:
    """The framing of one link. Feed it bytes as they arrive."""

    tail: bytes = b""
    """What stands after the last flag, with that flag."""

    def feed(self, data: bytes) -> list[PlainFrame | RejectedBytes]:
        """Take received bytes and give, in order, all that they complete."""
        before, *contents = data.split(b"\x7e")
        if not contents:
            self.tail = (self.tail + data)[: MAX_FRAME + 2]
            return []
        found: list[PlainFrame | RejectedBytes] = []
        if self.tail[:1] == b"\x7e":
            contents.insert(0, self.tail[1:] + before)
        elif self.tail + before:
            found.append(RejectedBytes(Garbage.reason, (self.tail + before)[:MAX_FRAME]))
        found.extend(deframe(content) for content in contents[:-1] if content)
        self.tail = b"\x7e" + contents[-1][: MAX_FRAME + 1]
        return found
