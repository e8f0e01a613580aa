"""Messages that come in pieces (分包): what the worker holds until they are whole.

`protocol.reassembly` decides what belongs together. A piece is held as it stands in the log, so that one
whose message stays incomplete goes to quarantine as it came.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt

from protocol.reassembly import (
    MIB,
    MINUTE_US,
    Forgotten,
    Key,
    Limits,
    Reassembly,
    Taken,
    Upload,
    fingerprint_of,
)
from store.pieces import HeldPiece, Place
from store.quarantine import Quarantined

NAMED_MISSING: Final = 100
"""So many missing fragments are named; how many there are is said always."""
DAY_US: Final = 24 * 60 * MINUTE_US


class Hold(StrEnum):
    """Within whose limits a piece is held. Pieces of two holds are never put together."""

    UPLOADS = "uploads"
    """Fragments."""
    PACKETS = "packets"
    """Of media of 2011."""


LIMITS: Final = {
    Hold.UPLOADS: Limits(),
    # The medium's id names it and not a serial, so a terminal may go on when it is in reach again.
    Hold.PACKETS: Limits(patience_us=DAY_US, age_us=DAY_US, bytes=16 * MIB),
}


class Piece(msgspec.Struct, array_like=True):
    """One fragment, with what quarantine needs of it."""

    plain: bytes
    body_start: int
    at_us: int
    log_id: UUID
    position: int
    ordinal: int

    @property
    def body(self) -> bytes:
        return self.plain[self.body_start : -1]

    @property
    def place(self) -> Place:
        return self.log_id, self.position, self.ordinal

    def quarantined(self, reason: str, detail: str, terminal_id: int) -> Quarantined:
        """Give it as an entry of quarantine."""
        return Quarantined(
            received_us=self.at_us,
            reason=reason,
            raw=self.plain,
            log_id=self.log_id,
            position=self.position,
            ordinal=self.ordinal,
            terminal_id=terminal_id,
            msg_id=int.from_bytes(self.plain[:2]),
            detail=detail,
        )


def held(hold: Hold, key: Key, index: int, piece: Piece, terminal_id: int) -> HeldPiece:
    """Give a piece as the table has it."""
    return HeldPiece(
        *piece.place,
        hold=hold.value,
        terminal_id=terminal_id,
        received_us=piece.at_us,
        msg_id=key.msg_id,
        number=key.number,
        total=key.total,
        index=index,
        body_start=piece.body_start,
        raw=piece.plain,
    )


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(dict[Hold, list[Upload[Piece]]])


def _empty() -> dict[Hold, Reassembly[Piece]]:
    return {hold: Reassembly(limits) for hold, limits in LIMITS.items()}


@dataclass(slots=True)
class Fragments:
    """Messages that are not whole yet, of all terminals by their index."""

    holds: dict[Hold, Reassembly[Piece]] = field(default_factory=_empty)

    def take(self, hold: Hold, key: Key, index: int, piece: Piece) -> Taken[Piece]:
        """Take piece `index` (from 1) of a message."""
        return self.holds[hold].take(
            key,
            index,
            piece,
            fingerprint=fingerprint_of(piece.body),
            size=len(piece.plain),
            at_us=piece.at_us,
        )

    def expire(self, now_us: int) -> list[Forgotten[Piece]]:
        """Give up what had its time."""
        return [forgotten for uploads in self.holds.values() for forgotten in uploads.expire(now_us)]

    def waiting(self) -> Iterator[tuple[Hold, Key, int, Piece]]:
        """Give what is held of messages that are not whole: of which each piece is, and which one it is."""
        for hold, uploads in self.holds.items():
            for upload in uploads.waiting():
                for index, piece in upload.pieces.items():
                    yield hold, upload.key, index, piece

    def hold_only(self, pieces: list[HeldPiece], index_of: Mapping[int, int]) -> None:
        """Hold exactly these pieces, in order of receipt; what was whole is remembered. `index_of` gives the
        index of a terminal by its `terminals.id`.
        """
        for hold, uploads in self.holds.items():
            complete = [upload for upload in uploads if upload.is_complete]
            self.holds[hold] = Reassembly(uploads.limits, complete)
        for each in pieces:
            key = Key(index_of[each.terminal_id], each.msg_id, each.number, each.total)
            piece = Piece(each.raw, each.body_start, each.received_us, *each.place)
            self.take(Hold(each.hold), key, each.index, piece)

    def to_array(self) -> npt.NDArray[Any]:
        """Give everything as bytes."""
        kept = {hold: list(uploads) for hold, uploads in self.holds.items()}
        return np.frombuffer(_ENCODER.encode(kept), np.uint8)

    @classmethod
    def from_array(cls, array: npt.NDArray[Any]) -> "Fragments":
        """Restore what `to_array` gave.

        Raises:
            ValueError: another version wrote it.
        """
        try:
            kept = _DECODER.decode(array.tobytes())
        except msgspec.DecodeError as error:
            raise ValueError(f"another version wrote these fragments: {error}") from error
        return cls({hold: Reassembly(limits, kept.get(hold, ())) for hold, limits in LIMITS.items()})


def lost(forgotten: Forgotten[Piece], terminal_id: int) -> list[Quarantined]:
    """Give the fragments of a message that stayed incomplete, and say which are missing."""
    upload = forgotten.upload
    named = ", ".join(map(str, upload.missing(NAMED_MISSING)))
    if upload.missing_count > NAMED_MISSING:
        named += " …"
    detail = f"missing {upload.missing_count} of {upload.key.total} fragments: {named}"
    return [piece.quarantined(forgotten.reason, detail, terminal_id) for piece in forgotten.pieces]
