"""Messages that come in pieces (分包): what the worker holds until they are whole.

`protocol.reassembly` decides what belongs together. A fragment is held as it stands in the log, so that one
whose message stays incomplete goes to quarantine as it came.
"""

from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt

from protocol.reassembly import Forgotten, Reassembly, Upload
from store.merge import Positions
from store.quarantine import Quarantined

NAMED_MISSING: Final = 100
"""So many missing fragments are named; how many there are is said always."""


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


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Upload[Piece]])


@dataclass(slots=True)
class Fragments:
    """Messages that are not whole yet, of all terminals by their index."""

    uploads: Reassembly[Piece] = field(default_factory=Reassembly)

    def oldest(self) -> Positions:
        """Give where in each log the oldest fragment is that is held: until its message is whole and written,
        or given up, the log keeps it, and not the snapshot alone.
        """
        oldest: Positions = {}
        for upload in self.uploads.waiting():
            for piece in upload.pieces.values():
                oldest[piece.log_id] = min(piece.position, oldest.get(piece.log_id, piece.position))
        return oldest

    def to_array(self) -> npt.NDArray[Any]:
        """Give everything as bytes."""
        return np.frombuffer(_ENCODER.encode(list(self.uploads)), np.uint8)

    @classmethod
    def from_array(cls, array: npt.NDArray[Any]) -> "Fragments":
        """Restore what `to_array` gave.

        Raises:
            ValueError: another version wrote it.
        """
        try:
            return cls(Reassembly(uploads=_DECODER.decode(array.tobytes())))
        except msgspec.DecodeError as error:
            raise ValueError(f"another version wrote these fragments: {error}") from error


def lost(forgotten: Forgotten[Piece], terminal_id: int) -> list[Quarantined]:
    """Give the fragments of a message that stayed incomplete, and say which are missing."""
    upload = forgotten.upload
    named = ", ".join(map(str, upload.missing(NAMED_MISSING)))
    if upload.missing_count > NAMED_MISSING:
        named += " …"
    detail = f"missing {upload.missing_count} of {upload.key.total} fragments: {named}"
    return [piece.quarantined(forgotten.reason, detail, terminal_id) for piece in forgotten.pieces]
