"""分包补传, asking terminals for fragments that got lost. 2013 §7.9.2, §7.12 and §8.4.

The gateway does not hold fragments, the log does. It remembers which ones have come, by their fingerprints,
and when an upload is quiet for too long it asks for exactly those that are missing: with 0x8800 for a medium
whose id is known, else with 0x8003, which 2011 has not. What is remembered follows from the frames in the log
alone, so a new gateway reads the last of them and goes on.

Only what is said by who has authenticated is remembered. A missing request is safe, and strangers would
have us remember and ask without end.
"""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np

from protocol.commands import wait_s
from protocol.edition import Edition
from protocol.frame import FRAGMENT_BIT, Frame, parse
from protocol.reassembly import (
    Key,
    Limits,
    Reassembly,
    Status,
    fingerprint_of,
    is_sensible,
    key_of,
)
from store.log import LogReader
from store.records import FrameFlag, Frames, RecordKind

MEDIUM: Final = 0x0801
MEDIUM_REPLY: Final = 0x8800
ASK_AGAIN: Final = 0x8003

QUIET_S: Final = 10.0
"""After so long without a new fragment the missing ones are asked for. Terminals wait about as long for an
answer before they send a fragment again by themselves."""

MAX_REQUESTS: Final = 4
"""So often we ask in vain: over 100 s with the waits of `wait_s`. Any new fragment begins anew."""

MAX_ASKED: Final = {Edition.E2011: 125, Edition.E2013: 255, Edition.E2019: 509}
"""Fragments in one 0x8003: a BYTE counts them in 2013, a WORD and the body's length in 2019."""
MAX_ASKED_MEDIUM: Final = {Edition.E2011: 125, Edition.E2013: 255, Edition.E2019: 255}
"""… and in one 0x8800: at most 125 says 2011 §8.43, a BYTE counts them since."""

MAX_NAMED: Final = max(*MAX_ASKED.values(), *MAX_ASKED_MEDIUM.values())
"""No request names more, so no more are looked for."""

REQUESTS_PER_LOOK: Final = 64
"""So many requests are made when the gateway looks, once a second: 30 ms of its loop if all are as long as
can be. What else is due has its turn a second later."""

FRAGMENT_BYTES: Final = 100
"""About what remembering a fragment takes."""
LIMITS: Final = Limits(terminal_bytes=16_384 * FRAGMENT_BYTES)
"""A terminal may have 16 MiB under way, which is more than the worker puts together."""

RECALLED_BYTES: Final = 64 * 1024 * 1024
"""So much of the log is read at a start: less than a second. Of what is older, what has come is asked for
again."""
RECALLED_FRAGMENTS: Final = 1 << 16
"""… and so many fragments of it, the last ones, which take another half second. A picture has some 100."""
_ATTRIBUTES_END: Final = 4

MEDIA_ID_BYTES: Final = 4
_COMPLETE_2011: Final = Struct(">HIB")
_COMPLETE: Final = Struct(">I")
"""Bodies of 0x8800 without numbers of packets, packed without their declaration, which a test compares: one
leaves for every medium.
"""
_PACKETS: Final = slice(8, 12), slice(12, 16)
"""Where 0x0801 of 2011 counts its packets: how many, and which one this is."""
_MAX_PACKETS: Final = 0xFFFF
US: Final = 1_000_000


class Request(NamedTuple):
    """Fragments to ask for."""

    key: Key
    media_id: int | None
    """Of an 0x0801, where it is known."""
    serial: int
    """Of the last fragment that came."""
    missing: list[int]
    """At most `MAX_NAMED`."""


class Arrival(NamedTuple):
    """What a fragment was to its upload."""

    is_complete: bool
    """All fragments have come, now or before."""
    media_id: int | None


class _Plan:
    """When to ask for an upload's missing fragments."""

    __slots__ = ("asked", "due", "media_id", "serial")

    def __init__(self) -> None:
        self.asked = 0
        self.due = 0.0
        self.media_id: int | None = None
        self.serial = 0


class Repairs:
    """The uploads under way on all links. Times are seconds of the loop's clock."""

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        self.quiet_s = quiet_s
        self.requests = 0
        """Requests made."""
        self._uploads: Reassembly[None] = Reassembly(LIMITS)
        self._plans: dict[Key, _Plan] = {}

    def __len__(self) -> int:
        return len(self._uploads)

    def note(self, terminal: int, frame: Frame, edition: Edition, now: float) -> Arrival | None:
        """Remember a fragment of a terminal; None if the frame is none."""
        numbered = upload_of(terminal, frame, edition)
        if numbered is None:
            return None
        key, index = numbered
        taken = self._uploads.take(
            key,
            index,
            None,
            fingerprint=fingerprint_of(frame.body),
            size=FRAGMENT_BYTES,
            at_us=int(now * US),
        )
        for each in taken.forgotten:
            self._plans.pop(each.upload.key, None)
        if len(taken.upload.fingerprints) == 1:
            self._plans[key] = _Plan()  # it begins, or begins anew under a name that was used before
        plan = self._plans.setdefault(key, _Plan())
        plan.serial = frame.serial
        if taken.status is not Status.REPEATED:
            plan.asked, plan.due = 0, now + self.quiet_s
        if key.msg_id == MEDIUM and not frame.cipher and (index == 1 or _counts_packets(frame)):
            plan.media_id = media_id_of(frame.body)
        return Arrival(taken.upload.is_complete, plan.media_id)

    def due(self, now: float, is_there: Callable[[int], bool] = lambda terminal: True) -> Iterator[Request]:
        """Give what to ask for, a few at a time. Say of each that it was `asked`.

        A terminal that is not there cannot be asked: it is waited for anew, and goes on by itself when it is
        back.
        """
        for each in self._uploads.expire(int(now * US)):
            self._plans.pop(each.upload.key, None)
        if len(self._plans) > 2 * self._uploads.known:  # complete ones are forgotten without a word
            self._plans = {key: plan for key, plan in self._plans.items() if key in self._uploads}
        made = 0
        for upload in self._uploads.waiting():
            plan = self._plans[upload.key]
            if now < plan.due or plan.asked >= MAX_REQUESTS:
                continue
            if not is_there(upload.key.terminal):
                plan.due = now + self.quiet_s
                continue
            yield Request(upload.key, plan.media_id, plan.serial, upload.missing(MAX_NAMED))
            made += 1
            if made == REQUESTS_PER_LOOK:
                break

    def asked(self, request: Request, now: float) -> None:
        """Wait for what was asked for, ever longer as long as nothing comes."""
        plan = self._plans[request.key]
        plan.asked += 1
        plan.due = now + wait_s(self.quiet_s, plan.asked)
        self.requests += 1


def upload_of(terminal: int, frame: Frame, edition: Edition) -> tuple[Key, int] | None:
    """Say which upload a frame is a fragment of and which one, from 1; None for a message in one piece."""
    if frame.fragment:
        total, index = frame.fragment
        if total == 1 or not is_sensible(total, index):
            return None
        return key_of(terminal, frame.msg_id, frame.serial, frame.fragment), index
    if edition is Edition.E2011 and may_count_packets(frame):
        total, index = (int.from_bytes(frame.body[place]) for place in _PACKETS)
        return Key(terminal, MEDIUM, media_id_of(frame.body), total), index
    return None


def may_count_packets(frame: Frame) -> bool:
    """Say whether a frame may be one packet of several of a medium in the layout of 2011."""
    if frame.msg_id != MEDIUM or frame.fragment or frame.cipher or len(frame.body) < _PACKETS[-1].stop:
        return False
    total, index = (int.from_bytes(frame.body[place]) for place in _PACKETS)
    return 1 < total <= _MAX_PACKETS and is_sensible(total, index)


def _counts_packets(frame: Frame) -> bool:
    return frame.fragment is None


def media_id_of(body: bytes) -> int:
    """Give the medium's id, with which 0x0801 begins in all editions."""
    return int.from_bytes(body[:MEDIA_ID_BYTES])


def request_message(request: Request, edition: Edition) -> tuple[int, dict[str, Any]] | None:
    """Give id and fields of the message that asks; None where the edition has none."""
    if request.key.msg_id == MEDIUM and request.media_id is not None:
        missing = request.missing[: MAX_ASKED_MEDIUM[edition]]
        fields = {"ack_serial": request.serial, "media_id": request.media_id, "package_ids": missing}
        return MEDIUM_REPLY, fields
    if edition is Edition.E2011:
        return None
    return ASK_AGAIN, {
        "original_serial": request.key.number,
        "package_ids": request.missing[: MAX_ASKED[edition]],
    }


def complete_body(media_id: int, serial: int, edition: Edition) -> bytes:
    """Give the body of a 0x8800 that says that a medium is complete: 2011 counts 0, later editions end."""
    return _COMPLETE_2011.pack(serial, media_id, 0) if edition is Edition.E2011 else _COMPLETE.pack(media_id)


def recent_fragments(directory: Path, now_us: int) -> Iterator[tuple[Frame, int]]:
    """Give the fragments that an earlier gateway wrote to its log lately, of terminals that had
    authenticated, with when each was received.

    Raises:
        LogError: the log cannot be read.
    """
    reader = LogReader(directory)
    position = reader.tail(RECALLED_BYTES)
    last: deque[tuple[bytes, int]] = deque(maxlen=RECALLED_FRAGMENTS)
    while records := reader.read(position):
        position = records[-1].next_position
        for record in records:
            is_recent = record.received_at_us > now_us - LIMITS.patience_us
            if record.kind is RecordKind.FRAMES and is_recent:
                fragments = _fragments(Frames.from_payload(record.payload))
                last.extend((plain, record.received_at_us) for plain in fragments)
    reader.close()
    for plain, received_us in last:
        yield parse(plain), received_us


def _fragments(frames: Frames) -> Iterator[bytes]:
    """Give the fragments among frames, and the packets that a medium of 2011 may be divided into."""
    ends = np.cumsum(frames.lengths, dtype=np.int64)
    heads = frames.data[np.add.outer(ends - frames.lengths, np.arange(_ATTRIBUTES_END))]
    is_piece = (heads[:, 2] & FRAGMENT_BIT >> 8) != 0
    is_piece |= (heads[:, 0] == MEDIUM >> 8) & (heads[:, 1] == MEDIUM & 0xFF)
    is_piece &= (frames.flags & (FrameFlag.RAW | FrameFlag.AUTHENTICATED)) == FrameFlag.AUTHENTICATED
    for row in is_piece.nonzero()[0].tolist():
        yield frames.data[ends[row] - int(frames.lengths[row]) : ends[row]].tobytes()
