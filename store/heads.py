"""The heads of the archive 链头: one line for every chunk, in a file that outlives chunks and database.

Every line is JSON and names the hash of the line before it, so that none can be changed, left out or moved
without the next one saying so. A line is appended and synced after its chunk is on the disk. Whoever copies
the file elsewhere, or only its last line, holds everything before it: nobody who can write to this disk can
then make another past that fits.

Errors:
    HeadsBroken     a line does not follow from the one before it, or is none
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec

from store.chunk import HASH_BYTES
from store.storage import open_regular, sync_directory

FILE_NAME: Final = "heads"


class HeadsBroken(Exception):
    """Line `line` (from 1) of the heads is not what was appended."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"heads, line {line}: {what}")
        self.line, self.what = line, what


class Sealed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="head", tag="sealed"):
    """A chunk was written."""

    previous: str
    """Hash of the line before, in hex; empty in the first one."""
    at: datetime
    chunk: int
    day: date
    root: str
    blocks: int
    frames: int
    since: datetime
    """Earliest receipt in the chunk."""
    until: datetime
    file_bytes: int
    cause: str = ""
    """Why its records are set aside; empty where they are sorted by terminal."""


class Removed(msgspec.Struct, frozen=True, kw_only=True, tag_field="head", tag="removed"):
    """The chunks of a day are deleted, because the time for which they must be kept is over."""

    previous: str
    at: datetime
    day: date
    why: str


Head: TypeAlias = Sealed | Removed
_DECODER: Final = msgspec.json.Decoder(Head)


def hash_of(line: bytes) -> str:
    """Give what the line after this one begins with."""
    return hashlib.blake2b(line, digest_size=HASH_BYTES).hexdigest()


def lines(path: Path) -> list[bytes]:
    """Give the whole lines of the file; none where there is no file."""
    try:
        with open_regular(path) as file:
            *whole, _ = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    return whole


def read(whole: Sequence[bytes]) -> list[Head]:
    """Read all lines, each of which must follow from the one before it.

    Raises:
        HeadsBroken: one does not.
    """
    previous, heads = "", []
    for number, line in enumerate(whole, 1):
        head = _decoded(line)
        if head is None:
            raise HeadsBroken(number, "this is no head")
        if head.previous != previous:
            raise HeadsBroken(
                number, "it does not follow from the line before: one was changed or is missing"
            )
        previous = hash_of(line)
        heads.append(head)
    return heads


def backwards(whole: Sequence[bytes]) -> Iterator[Head]:
    """Give what can be read of the lines, the last one first, and trust nothing."""
    for line in reversed(whole):
        head = _decoded(line)
        if head is not None:
            yield head


class SetAside(NamedTuple):
    """A chunk whose records are kept as they were, because something among them defies sorting."""

    chunk: int
    day: str
    """As 2026-03-01."""
    cause: str


def set_aside(read: Iterable[Head]) -> list[SetAside]:
    """Give the chunks that are set aside and not removed, in order."""
    known = list(read)
    removed = {each.day for each in known if isinstance(each, Removed)}
    return sorted(
        SetAside(each.chunk, each.day.isoformat(), each.cause)
        for each in known
        if isinstance(each, Sealed) and each.cause and each.day not in removed
    )


def append(path: Path, head: Head) -> None:
    """Append a line that follows from the last one; durable on return. What a crash left of a line is cut
    off."""
    whole = lines(path)
    follows = msgspec.structs.replace(head, previous=hash_of(whole[-1]) if whole else "")
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        end = sum(len(line) + 1 for line in whole)
        os.ftruncate(descriptor, end)
        os.pwrite(descriptor, msgspec.json.encode(follows) + b"\n", end)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(path.parent)


def _decoded(line: bytes) -> Head | None:
    try:
        head: Head = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return head
