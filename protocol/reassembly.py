"""分包消息, messages in pieces: which fragments belong together, what is there, what is missing. 2013 §7.12.

Fragments of one message have consecutive serials, so the serial of the first one, which follows from any of
them, names the message: two uploads of one terminal never mix. A fragment that is sent again is identical to
the original; so one that is not begins another upload under the same name, after a restart of the terminal
say, and the older one is given up.

Nothing here reads a clock: times come with the frames, in microseconds of any clock that only grows. What is
held depends on the frames and times alone, in their order; the gateway holds fingerprints only, for repair
requests, the worker the fragments themselves.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from itertools import chain, islice
from typing import Final, Generic, NamedTuple, TypeVar

import xxhash

from protocol.frame import SERIALS

MINUTE_US: Final = 60_000_000
MIB: Final = 1 << 20

UPLOAD_BYTES: Final = 4 * MIB
"""The largest message that is put together: pictures take some 100 KiB, short videos a few MiB."""
LEAST_FRAGMENT_BYTES: Final = 256
"""Terminals fill their frames; the shortest fragments we know of are a quarter of one."""
MAX_TOTAL: Final = UPLOAD_BYTES // LEAST_FRAGMENT_BYTES
"""No message has more fragments. The header could count four times as many, each of one byte."""

T = TypeVar("T")


class Key(NamedTuple):
    """What the fragments of one message have in common."""

    terminal: int
    msg_id: int
    number: int
    """Serial of the first fragment. Where the body counts packets (0x0801 of 2011), the medium's id."""
    total: int


class Reason(StrEnum):
    """Why an upload is given up before it is complete."""

    MISSING = "fragments_missing"
    """No new fragment came for so long that none will."""
    OVERDUE = "fragments_overdue"
    """New ones went on coming, for longer than any message takes."""
    SUPERSEDED = "fragments_superseded"
    """Another upload took its name."""
    CROWDED_OUT = "fragments_crowded_out"
    """More was being uploaded than we hold."""


class Status(Enum):
    """What a fragment was to its upload."""

    NEW = "new"
    COMPLETING = "completing"
    """It was the last one missing."""
    REPEATED = "repeated"
    """It was there already."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is held, and how long."""

    patience_us: int = 10 * MINUTE_US
    """Without a new fragment for so long an upload is given up. Terminals and our repair requests give up
    within minutes; a complete upload is remembered as long, because fragments are sent again."""
    age_us: int = 30 * MINUTE_US
    """So long after its first fragment an upload is given up, whatever goes on coming: 4 MiB at 20 kbit/s,
    which is the slowest link that carries pictures at all."""
    terminal_uploads: int = 8
    """A terminal uploads from a few cameras, and sends reports and answers beside."""
    terminal_bytes: int = UPLOAD_BYTES
    uploads: int = 16_384
    """Of all terminals together, so that nobody fills our memory with beginnings."""
    bytes: int = 64 * MIB
    complete: int = 262_144
    """Fragments remembered of uploads that are complete."""


@dataclass(slots=True)
class Upload(Generic[T]):
    """A message of which fragments have come."""

    key: Key
    began_us: int
    """When the first fragment came."""
    heard_us: int
    """When the last new fragment came."""
    fingerprints: dict[int, int] = field(default_factory=dict)
    """By index from 1: what tells a repeated fragment from another one."""
    pieces: dict[int, T] = field(default_factory=dict)
    """By index; empty once it is complete."""
    size: int = 0

    @property
    def is_complete(self) -> bool:
        return len(self.fingerprints) == self.key.total

    @property
    def missing_count(self) -> int:
        """How many fragments have not come."""
        return self.key.total - len(self.fingerprints)

    def missing(self, most: int | None = None) -> list[int]:
        """Give the indexes of the fragments that have not come, ascending, at most so many: looking for them
        takes no longer than what has come and what is given together.
        """
        gaps = (index for index in range(1, self.key.total + 1) if index not in self.fingerprints)
        return list(islice(gaps, self.missing_count if most is None else min(most, self.missing_count)))


class Forgotten(NamedTuple, Generic[T]):
    """An upload that was given up."""

    upload: Upload[T]
    reason: Reason

    @property
    def pieces(self) -> list[T]:
        """What had come, by index."""
        return [self.upload.pieces[index] for index in sorted(self.upload.pieces)]


class Taken(NamedTuple, Generic[T]):
    """What became of a fragment."""

    status: Status
    upload: Upload[T]
    whole: list[T]
    """All fragments in order where this one completed the upload, else empty."""
    forgotten: list[Forgotten[T]]
    """What was given up for it."""


def key_of(terminal: int, msg_id: int, serial: int, numbered: tuple[int, int]) -> Key:
    """Name the upload of a fragment, `numbered` (total, index from 1)."""
    total, index = numbered
    return Key(terminal, msg_id, (serial - index + 1) % SERIALS, total)


def is_sensible(total: int, index: int) -> bool:
    """Say whether a fragment's numbers can be right."""
    return 1 <= index <= total <= MAX_TOTAL


def first_missing(there: Container[int], total: int, most: int = 10) -> str:
    """Name the first fragments that are not there: "2, 5, 6 …"; empty where all are. The work follows what is
    there, and not what a header says."""
    found = list(islice((index for index in range(1, total + 1) if index not in there), most + 1))
    return ", ".join(map(str, found[:most])) + (" …" if len(found) > most else "")


def fingerprint_of(body: bytes) -> int:
    """Give what stands for a fragment's body: two different ones never meet by accident."""
    return xxhash.xxh3_64_intdigest(body)


class Reassembly(Generic[T]):
    """Uploads under way, of any number of terminals, within `limits`."""

    def __init__(self, limits: Limits | None = None, uploads: Iterable[Upload[T]] = ()) -> None:
        """Begin with `uploads`, in the order in which iterating gave them."""
        self.limits = limits or Limits()
        self._waiting: dict[Key, Upload[T]] = {}
        """Not complete yet; the one heard longest ago first."""
        self._complete: dict[Key, Upload[T]] = {}
        """Remembered, because fragments are sent again; in the same order."""
        self._begun: dict[Key, Upload[T]] = {}
        """Those that wait; the one begun longest ago first."""
        self._of_terminal: dict[int, dict[Key, Upload[T]]] = {}
        """Those that wait, by terminal."""
        self._size = self._remembered = 0
        for upload in uploads:
            self._add(upload)
        self._begun = {each.key: each for each in sorted(self.waiting(), key=_began)}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Upload[T]]:
        """Give everything that has to be kept to go on later."""
        return chain(self._complete.values(), self._waiting.values())

    @property
    def known(self) -> int:
        """How many uploads are remembered, those that are complete as well."""
        return len(self._waiting) + len(self._complete)

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting or key in self._complete

    def waiting(self) -> Iterator[Upload[T]]:
        """Give the uploads that are not complete, the one heard longest ago first."""
        return iter(self._waiting.values())

    def take(self, key: Key, index: int, piece: T, *, fingerprint: int, size: int, at_us: int) -> Taken[T]:
        """Take fragment `index` (from 1) of an upload. A message in one piece is an upload too.

        Args:
            piece: what to hold of it
            fingerprint: `fingerprint_of` its body
            size: bytes that holding it takes
            at_us: when it was received
        """
        forgotten: list[Forgotten[T]] = []
        upload = self._waiting.get(key) or self._complete.get(key)
        if upload is not None and upload.fingerprints.get(index, fingerprint) != fingerprint:
            forgotten += self._forget(upload, Reason.SUPERSEDED)
            upload = None
        if upload is not None and index in upload.fingerprints:
            return Taken(Status.REPEATED, upload, [], forgotten)
        if upload is None:
            upload = Upload(key, at_us, at_us)
        else:
            self._remove(upload)
        upload.heard_us = at_us
        upload.fingerprints[index] = fingerprint
        upload.pieces[index] = piece
        upload.size += size
        whole: list[T] = []
        if upload.is_complete:
            whole = [upload.pieces[number] for number in range(1, key.total + 1)]
            upload.pieces, upload.size = {}, 0
        self._add(upload)
        forgotten += self._make_room(key.terminal)
        return Taken(Status.COMPLETING if whole else Status.NEW, upload, whole, forgotten)

    def expire(self, now_us: int) -> list[Forgotten[T]]:
        """Give up what had its time: what was heard too long ago, and what began too long ago."""
        forgotten: list[Forgotten[T]] = []
        for uploads in (self._complete, self._waiting):
            while uploads and _oldest(uploads).heard_us <= now_us - self.limits.patience_us:
                forgotten += self._forget(_oldest(uploads), Reason.MISSING)
        while self._begun and _oldest(self._begun).began_us <= now_us - self.limits.age_us:
            forgotten += self._forget(_oldest(self._begun), Reason.OVERDUE)
        return forgotten

    def _make_room(self, terminal: int) -> list[Forgotten[T]]:
        """Give up what is too much, for one terminal and in all."""
        forgotten: list[Forgotten[T]] = []
        limits, none = self.limits, dict[Key, Upload[T]]()
        while self._remembered > limits.complete:
            self._forget(_oldest(self._complete), Reason.CROWDED_OUT)
        while (own := self._of_terminal.get(terminal, none)) and (
            len(own) > limits.terminal_uploads
            or sum(upload.size for upload in own.values()) > limits.terminal_bytes
        ):
            forgotten += self._forget(_oldest(own), Reason.CROWDED_OUT)
        while len(self._waiting) > limits.uploads or self._size > limits.bytes:
            forgotten += self._forget(_oldest(self._waiting), Reason.CROWDED_OUT)
        return forgotten

    def _forget(self, upload: Upload[T], reason: Reason) -> list[Forgotten[T]]:
        """Forget an upload; that is worth a word only if it is not complete."""
        self._remove(upload)
        self._begun.pop(upload.key, None)
        return [] if upload.is_complete else [Forgotten(upload, reason)]

    def _add(self, upload: Upload[T]) -> None:
        """Put an upload behind all others."""
        if upload.is_complete:
            self._complete[upload.key] = upload
            self._remembered += upload.key.total
            self._begun.pop(upload.key, None)
            return
        self._waiting[upload.key] = upload
        self._begun.setdefault(upload.key, upload)
        self._of_terminal.setdefault(upload.key.terminal, {})[upload.key] = upload
        self._size += upload.size

    def _remove(self, upload: Upload[T]) -> None:
        key = upload.key
        if self._waiting.pop(key, None) is None:
            del self._complete[key]
            self._remembered -= key.total
            return
        own = self._of_terminal[key.terminal]
        del own[key]
        if not own:
            del self._of_terminal[key.terminal]
        self._size -= upload.size


def _oldest(uploads: dict[Key, Upload[T]]) -> Upload[T]:
    """Give the first one."""
    return next(iter(uploads.values()))


def _began(upload: Upload[T]) -> int:
    return upload.began_us
