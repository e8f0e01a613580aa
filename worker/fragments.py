"""0x0704 that come in pieces (分包): many location reports divided over several frames.

The fragments of one message have consecutive serials (JT/T 808-2013 §4.4.3), so the serial of the first
names the message. When all are there, their bodies are one. A message that stays incomplete goes to
quarantine, fragment by fragment. Other messages in pieces are not put together here.
"""

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from store.quarantine import Quarantined

Key: TypeAlias = tuple[int, int, int, int]
"""Terminal, message id, serial of the first fragment, number of fragments."""

INCOMPLETE: Final = "incomplete"
"""The reason of quarantine."""
PATIENCE_US: Final = 10 * 60 * 1_000_000
"""After its first fragment a message has so long to become complete: terminals give up resending within
minutes.
"""
MAX_FRAGMENTS: Final = 64
"""64 KiB of reports; terminals that we know send at most a few frames."""
MAX_MESSAGES: Final = 4096
"""Incomplete messages of all terminals together, so that nobody fills our memory with first fragments."""

_SERIALS: Final = 1 << 16


class Piece(msgspec.Struct, array_like=True):
    """One fragment, with what quarantine needs of it."""

    plain: bytes
    body: bytes
    at_us: int
    position: int
    ordinal: int


class Message(msgspec.Struct, array_like=True):
    """A message of which pieces have come."""

    terminal: int
    msg_id: int
    first_serial: int
    total: int
    since_us: int
    pieces: dict[int, Piece]
    is_done: bool = False
    """It was complete. It is remembered for a while, because fragments are sent again."""

    @property
    def key(self) -> Key:
        return self.terminal, self.msg_id, self.first_serial, self.total


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Message])


@dataclass(slots=True)
class Fragments:
    """Messages that are not complete yet, oldest first."""

    messages: dict[Key, Message] = field(default_factory=dict)

    def add(
        self, terminal: int, msg_id: int, serial: int, numbered: tuple[int, int], piece: Piece
    ) -> bytes | None:
        """Take one fragment, `numbered` (total, index from 1), and give the whole body if it was the
        last one missing.
        """
        total, index = numbered
        first_serial = (serial - index + 1) % _SERIALS
        key = terminal, msg_id, first_serial, total
        message = self.messages.get(key)
        if message is None:
            message = self.messages[key] = Message(terminal, msg_id, first_serial, total, piece.at_us, {})
        if message.is_done or index in message.pieces:
            return None
        message.pieces[index] = piece
        if len(message.pieces) < total:
            return None
        body = b"".join(message.pieces[number].body for number in range(1, total + 1))
        message.is_done, message.pieces = True, {}
        return body

    def give_up(self, now_us: int) -> list[tuple[Message, Piece]]:
        """Forget messages that had their time, or are too many, and give what was there of them."""
        lost: list[tuple[Message, Piece]] = []
        for key, message in list(self.messages.items()):
            if len(self.messages) <= MAX_MESSAGES and message.since_us > now_us - PATIENCE_US:
                break  # they stand in the order in which they began
            del self.messages[key]
            lost += [(message, message.pieces[index]) for index in sorted(message.pieces)]
        return lost

    def to_array(self) -> npt.NDArray[Any]:
        """Give everything as bytes."""
        return np.frombuffer(_ENCODER.encode(list(self.messages.values())), np.uint8)

    @classmethod
    def from_array(cls, array: npt.NDArray[Any]) -> "Fragments":
        """Restore what `to_array` gave.

        Raises:
            ValueError: another version wrote it.
        """
        messages = _DECODER.decode(array.tobytes())
        return cls({each.key: each for each in messages})


def is_sensible(total: int, index: int) -> bool:
    """Say whether a fragment's numbers can be those of a message that we put together."""
    return 1 <= index <= total <= MAX_FRAGMENTS


def lost_piece(message: Message, piece: Piece, terminal_id: int) -> Quarantined:
    """Give a fragment whose message stayed incomplete."""
    return Quarantined(
        received_us=piece.at_us,
        reason=INCOMPLETE,
        raw=piece.plain,
        position=piece.position,
        ordinal=piece.ordinal,
        terminal_id=terminal_id,
        msg_id=message.msg_id,
        detail=f"of {message.total} fragments",
    )
