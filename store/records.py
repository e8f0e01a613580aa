"""What a log holds: records of raw frames, link events and ticks, as bytes and as columns.

The gateway writes them, the worker reads them; this file is the one place that knows their layout. A record
is cheap to build from columns and cheap to read as columns, because one record carries all frames of one
event-loop tick. The log itself (`store.log`) frames records with a length, a checksum and the receive time,
and never looks inside a payload.

A **session** is one terminal on one link, from the moment its first valid frame arrives until the link
closes, the terminal deregisters or another link takes it over. Session numbers only grow, across processes
and restarts, so they are the connection epoch: what an older session says cannot change what a newer one
established. Their low bits are the **slot** of the gateway process, so that no two processes give the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[np.uint64]
Halves: TypeAlias = npt.NDArray[np.uint16]
Bytes: TypeAlias = npt.NDArray[np.uint8]

SLOT_BITS = 8
"""Low bits of a session number: the slot."""

FRAME_HEAD = np.dtype([("session", "<u8"), ("length", "<u2"), ("flags", "<u2")])
"""What stands before the bytes of the frames: whose, how long, and `FrameFlag` bits."""


class RecordKind(IntEnum):
    """The first byte of every record."""

    FRAMES = 1
    REJECTED = 2
    SESSION_OPENED = 3
    SESSION_CLOSED = 4
    TICK = 5
    STARTED = 6
    CLONED = 7
    DECIDED = 8
    REFUSED = 9


class FrameFlag(IntEnum):
    """What the gateway knew about a frame when it wrote it."""

    AUTHENTICATED = 1
    """The terminal had authenticated in this session before this frame."""
    RAW = 2
    """The bytes are as received, flags and escapes included, because they cannot be restored from the
    plain frame.
    """
    UNPROVEN = 4
    """Who has a code, or was accepted, said it without: it is kept and changes nothing."""
    LOBBY = 8
    """A stranger said it: it changes what is known of a lobby entry, and nothing else."""


class CloseReason(IntEnum):
    """Why a session ended."""

    PEER_CLOSED = 1
    TAKEN_OVER = 2
    IDLE = 3
    DEREGISTERED = 4
    STOPPING = 5
    BLOCKED = 6
    GARBAGE = 7
    ERROR = 8
    RENEWED = 9
    """It goes on under a newer number, because another session of its terminal was newer and ended."""
    SLOW_READER = 10
    """The other end left its answers unread."""
    NEW_CODE = 11
    """The code by which it authenticated was made worthless."""


@dataclass(frozen=True, slots=True)
class Frames:
    """All verified frames of one event-loop tick, in order of arrival.

    `data` holds them back to back: header, body and checksum, unescaped, without the 0x7e flags. Restoring
    the wire bytes is escaping them again; a frame for which that is not true carries `FrameFlag.RAW`.
    """

    sessions: Words
    lengths: Halves
    flags: Halves
    data: Bytes

    def payload(self) -> bytes:
        head = np.empty(len(self.sessions), FRAME_HEAD)
        head["session"] = self.sessions
        head["length"] = self.lengths
        head["flags"] = self.flags
        return len(head).to_bytes(4, "little") + head.tobytes() + self.data.tobytes()

    @classmethod
    def from_payload(cls, payload: bytes | memoryview) -> "Frames":
        count = int.from_bytes(payload[:4], "little")
        head = np.frombuffer(payload, FRAME_HEAD, count, 4)
        data = np.frombuffer(payload, np.uint8, offset=4 + count * FRAME_HEAD.itemsize)
        return cls(head["session"], head["length"], head["flags"], data)

    @staticmethod
    def count(payload: bytes | memoryview) -> int:
        """Say how many frames a payload holds."""
        return int.from_bytes(payload[:4], "little")

    @classmethod
    def data_begins(cls, payload: bytes | memoryview) -> int:
        """Say where in a payload the bytes of the frames begin."""
        return 4 + cls.count(payload) * FRAME_HEAD.itemsize

    @classmethod
    def joined(cls, payloads: Sequence[bytes | memoryview], margin: int = 0) -> "Frames":
        """Read many payloads as one: a record costs two pieces of bytes and no array. The data goes on for
        `margin` zero bytes behind the last frame.
        """
        ends = [cls.data_begins(each) for each in payloads]
        pairs = list(zip(payloads, ends, strict=True))
        head = np.frombuffer(b"".join([each[4:end] for each, end in pairs]), FRAME_HEAD)
        data = b"".join([*(each[end:] for each, end in pairs), bytes(margin)])
        return cls(head["session"], head["length"], head["flags"], np.frombuffer(data, np.uint8))


class Rejected(msgspec.Struct, frozen=True, array_like=True):
    """Bytes between two flags that are no frame, kept as received. `session` is 0 where no terminal is
    known.
    """

    session: int
    reason: str
    raw: bytes
    peer: str = ""


class SessionOpened(msgspec.Struct, frozen=True, array_like=True):
    """A terminal appeared on a link. Always written before the session's first frame."""

    session: int
    link: int
    identity: str
    """The terminal's id as hex without leading zeros."""
    peer: str
    """Address and port of the other end."""


class SessionClosed(msgspec.Struct, frozen=True, array_like=True):
    """A session ended; `reason` is a `CloseReason`."""

    session: int
    reason: int


class Tick(msgspec.Struct, frozen=True, array_like=True):
    """The log's clock, once a second: time-outs are judged here and nowhere else. Says as well that the
    gateway of this slot lives.
    """

    sessions_open: int = 0


class Started(msgspec.Struct, frozen=True, array_like=True):
    """A gateway opened this log: every session of its predecessor in the same slot is over."""

    process: str = ""


class Cloned(msgspec.Struct, frozen=True, array_like=True):
    """Two links went on speaking as one terminal, beside each other. Written again each minute."""

    session: int
    """The current one of the terminal."""
    peers: tuple[str, str]
    """Address and port of the newer link and of the older one."""
    frames: tuple[int, int]
    """How much each has said since both are there."""
    take_overs: int
    """How often the terminal's link was replaced within the last ten minutes, as far as counted."""


class Decided(msgspec.Struct, frozen=True, array_like=True):
    """From here on holds what people have decided up to a version (`store.decisions`). Written by every
    gateway when it starts and whenever it learns of a newer one; an older one than before says nothing.
    """

    version: int


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """What was not let in of a terminal and not written, folded over a minute: frames of one that is
    blocked, or for which the lobby has no place.
    """

    identity: str
    """The terminal's id as hex without leading zeros; empty where there are too many to name."""
    reason: str
    frames: int
    peer: str = ""
    """Address and port of the last of them."""


Event: TypeAlias = Rejected | SessionOpened | SessionClosed | Tick | Started | Cloned | Decided | Refused

_KINDS: dict[type[Event], RecordKind] = {
    Rejected: RecordKind.REJECTED,
    SessionOpened: RecordKind.SESSION_OPENED,
    SessionClosed: RecordKind.SESSION_CLOSED,
    Tick: RecordKind.TICK,
    Started: RecordKind.STARTED,
    Cloned: RecordKind.CLONED,
    Decided: RecordKind.DECIDED,
    Refused: RecordKind.REFUSED,
}
_DECODERS = {kind: msgspec.msgpack.Decoder(event) for event, kind in _KINDS.items()}
_encoder = msgspec.msgpack.Encoder()


def encode(record: Frames | Event) -> tuple[RecordKind, bytes]:
    """Give the kind and the payload under which the log keeps `record`."""
    if isinstance(record, Frames):
        return RecordKind.FRAMES, record.payload()
    return _KINDS[type(record)], _encoder.encode(record)


def decode(kind: int, payload: bytes | memoryview) -> Frames | Event:
    """Read what `encode` wrote.

    Raises:
        ValueError: the kind is unknown, which means that a newer gateway wrote this log.
    """
    if kind == RecordKind.FRAMES:
        return Frames.from_payload(payload)
    return decode_event(kind, payload)


def decode_event(kind: int, payload: bytes | memoryview) -> Event:
    """Read an event.

    Raises:
        ValueError: the kind is unknown, which means that a newer gateway wrote this log.
    """
    decoder = _DECODERS.get(RecordKind(kind))
    if decoder is None:  # pragma: no cover - RecordKind() has already refused it
        raise ValueError(f"record kind {kind} is unknown")
    return decoder.decode(payload)
