"""A file between somebody who writes quickly and somebody who reads slowly.

What was written and not yet read waits on the disk, up to a size; then the writer waits, for a while. The
file has no name and goes with the process.
"""

import errno
import os
import tempfile
import threading
from pathlib import Path
from typing import Final

from store.storage import DiskFile

SIZE: Final = 256 << 20
"""Bytes that wait: a day of a thousand vehicles, as a file of columns."""
PIECE: Final = 1 << 20
"""Bytes written and read at once."""
PATIENCE_S: Final = 20.0
"""A writer waits so long for the room of a piece: some 50 KB/s are the least that may be read of a full
file."""


class SpoolError(Exception):
    """The writer must not go on."""


class ReaderTooSlow(SpoolError):
    """The spool is full and stays so."""


class ReaderGone(SpoolError):
    """It was closed."""


class Spool:
    """One file, one writer, one reader, each in a thread of its own; used as a ring."""

    def __init__(self, directory: Path | None = None, size: int = SIZE) -> None:
        """`directory` says on which disk; None: where temporary files are."""
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - closed by `close`
        self._descriptor = self._file.fileno()
        self._size = size
        self._written = self._read = 0
        self._is_ended = self._is_closed = False
        self._users = 0
        """Reader and writer, while they use the disk."""
        self._changed = threading.Condition()

    def write(self, data: bytes) -> None:
        """Write all of it, and wait for room where there is none.

        Raises:
            SpoolError: there is none for too long, or nobody reads any more.
            OSError: the disk has no room.
        """
        piece = min(PIECE, self._size)
        for begin in range(0, len(data), piece):
            self._write(data[begin : begin + piece])

    def end(self) -> None:
        """Nothing more is written."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def read(self) -> bytes:
        """Wait for some bytes and give them; none at the end.

        Raises:
            ReaderGone: it was closed before its end.
            OSError: what was written cannot be read.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._is_ended or self._read < self._written)
            if self._is_closed:
                raise ReaderGone
            place = self._read % self._size
            size = min(PIECE, self._written - self._read, self._size - place)
            self._users += 1
        try:  # without the lock: nobody else touches these bytes, and a slow disk holds up nobody else
            data = os.pread(self._descriptor, size, place)
        finally:
            self._leave()
        if len(data) < size:
            raise OSError(errno.EIO, f"{size} bytes were written to the spool, {len(data)} are there")
        with self._changed:
            self._read += size
            self._changed.notify_all()
        return data

    def close(self) -> None:
        """Give the room back; whoever writes or waits is told."""
        with self._changed:
            self._is_closed = True
            self._give_back()
            self._changed.notify_all()

    def _leave(self) -> None:
        """Whoever used the disk has done so."""
        with self._changed:
            self._users -= 1
            self._give_back()

    def _give_back(self) -> None:
        """Close the file once nobody uses it: its number may then be another file's."""
        if self._is_closed and not self._users:
            self._file.close()

    def _write(self, piece: bytes) -> None:
        with self._changed:
            has_room = self._changed.wait_for(
                lambda: self._is_closed or self._written - self._read + len(piece) <= self._size, PATIENCE_S
            )
            if self._is_closed:
                raise ReaderGone
            if not has_room:
                raise ReaderTooSlow(f"nothing was read for {PATIENCE_S:.0f} s")
            place = self._written % self._size
            self._users += 1
        try:
            for part, at in ((piece[: self._size - place], place), (piece[self._size - place :], 0)):
                DiskFile(self._descriptor).write(part, at)
        finally:
            self._leave()
        with self._changed:
            self._written += len(piece)
            self._changed.notify_all()
