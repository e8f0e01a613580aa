"""Contents of media, each in a file that is named by its SHA-256: `media/ab/abcdef…`.

The same content is one file, however often and from wherever it comes. A file is on the disk before the
transaction that refers to it commits, so what the database names is there. What no row names any more, or
never did because the transaction failed, is swept, but not before it has been lying there for a day.

Errors:
    OSError     as the system says it: the caller waits and tries again.
"""

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from store.storage import make_directory, open_regular, place_file, sync_directory

GRACE_S: Final = 86_400.0
"""A file without a row stays so long: its transaction may still be waiting for the database."""
SHELVES: Final = 256
"""Directories, by the first two digits of the hash."""


class Blobs:
    """The files of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, digest: bytes) -> Path:
        """Say where the content with this SHA-256 is, if it is there."""
        name = digest.hex()
        return self.directory / name[:2] / name

    def put(self, content: bytes) -> bytes:
        """Keep a content; durable on return. Gives its SHA-256."""
        (digest,) = self.put_all([content])
        return digest

    def put_all(self, contents: Sequence[bytes]) -> list[bytes]:
        """Keep contents; durable on return. Gives their SHA-256.

        That is a sync for each that is new, and one for each directory in which any of them is.
        """
        if not contents:
            return []
        digests = [hashlib.sha256(content).digest() for content in contents]
        wanted = {self.path(digest): content for digest, content in zip(digests, contents, strict=True)}
        with self._held(fcntl.LOCK_SH):
            new = {path: content for path, content in wanted.items() if not _is_wanted(path, len(content))}
        for path, content in new.items():
            path.parent.mkdir(exist_ok=True)
            place_file(path, [content], _draft(path))
        # Also where nothing is new: who gave a name first may have been killed before it was durable.
        for directory in dict.fromkeys(path.parent for path in wanted):
            sync_directory(directory)
        sync_directory(self.directory)
        sync_directory(self.directory.parent)
        return digests

    def get(self, digest: bytes) -> bytes:
        """Read a content."""
        return self.path(digest).read_bytes()

    def fault(self, digest: bytes) -> str | None:
        """Read a content, and say what is wrong with its file; None where nothing is."""
        try:
            with open_regular(self.path(digest)) as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return "the file is missing"
        except OSError as error:
            return f"the file cannot be read: {error.strerror}"
        return None if actual == digest.hex() else f"its content is another one, with SHA-256 {actual}"

    def sweep(self, shelf: int, is_named: Callable[[list[bytes]], set[bytes]], now_s: float) -> int:
        """Delete what has no row and is old from one of the `SHELVES`, and say how many files that were.

        Args:
            is_named: gives those of some hashes that rows name
            now_s: the time of files, in seconds since 1970
        """
        directory = self.directory / f"{shelf:02x}"
        old = {path for path in _files(directory) if path.stat().st_mtime < now_s - GRACE_S}
        digests = {digest: path for path in old if (digest := _digest(path)) is not None}
        orphans = digests.keys() - is_named(list(digests))
        drafts = [path for path in old if path.suffix]
        swept = 0
        for path in [*drafts, *(digests[each] for each in orphans)]:
            with self._held(fcntl.LOCK_EX):
                if path.stat().st_mtime < now_s - GRACE_S:  # it may have been wanted since
                    path.unlink()
                    swept += 1
        return swept

    @contextlib.contextmanager
    def _held(self, kind: int) -> Iterator[None]:
        """Keep the sweep away from what is being put."""
        make_directory(self.directory)
        with (self.directory / "lock").open("ab") as file:
            fcntl.flock(file, kind)
            yield


def _draft(path: Path) -> Path:
    """Say where a content is written: the same may come to another process, or thread, at the same time."""
    return path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")


def _is_wanted(path: Path, size: int) -> bool:
    """Say whether a content is there, and keep it from being swept: it has been wanted just now."""
    try:
        os.utime(path)
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _files(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def _digest(path: Path) -> bytes | None:
    try:
        return bytes.fromhex(path.name)
    except ValueError:
        return None
