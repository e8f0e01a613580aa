"""The few things the log asks of a disk, in one place, so that a test can put a disk with a power switch
here.

Everything raises `OSError`, as the operating system does; `store.log` gives those a meaning.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Protocol


class LogFile(Protocol):
    """One open file of fixed size that is written at offsets."""

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data`; durable only after `sync`."""

    def sync(self) -> None:
        """Return when everything written is on the medium."""

    def cut(self, size: int) -> None:
        """Give back what lies behind `size`."""

    def close(self) -> None: ...


class Storage(Protocol):
    """Makes, opens and removes the log's files."""

    def create(self, path: Path, head: bytes, size: int) -> LogFile:
        """Make a file of `size` bytes that begins with `head`; durable, name and all, on return."""

    def open(self, path: Path) -> LogFile:
        """Open `path` for writing, making an empty file where there is none."""

    def remove(self, path: Path) -> None: ...

    def free_bytes(self, directory: Path) -> int:
        """Return what an unprivileged process may still use on the file system of `directory`."""

    def forget_cached(self, path: Path) -> None:
        """Make the next read of `path` come from the medium, not from memory."""


class DiskFile:
    """A `LogFile` on a real disk."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes, offset: int) -> None:
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)


class Disk:
    """The real `Storage`."""

    def create(self, path: Path, head: bytes, size: int) -> DiskFile:
        draft = path.with_suffix(".new")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            # The blocks are reserved here, so that later writes cannot meet a full disk and fdatasync finds
            # no change of size to record.
            os.posix_fallocate(descriptor, 0, size)
            os.pwrite(descriptor, head, 0)
            os.fsync(descriptor)
            draft.rename(path)
            sync_directory(path.parent)
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        return DiskFile(descriptor)

    def open(self, path: Path) -> DiskFile:
        return DiskFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))

    def remove(self, path: Path) -> None:
        path.unlink()

    def free_bytes(self, directory: Path) -> int:
        system = os.statvfs(directory)
        return system.f_bavail * system.f_frsize

    def forget_cached(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read it. Whatever else lies under its name, a pipe that nobody writes to for example, is
    refused at once.

    Raises:
        OSError: there is none, it cannot be read, or it is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Have a directory; durable on return where there was none."""
    if not directory.is_dir():
        if not directory.parent.exists():
            make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def keep_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Make a file as a whole; durable, name and directories and all, on return."""
    make_directory(path.parent)
    place_file(path, pieces)
    sync_directory(path.parent)


def place_file(path: Path, pieces: Iterable[bytes], draft: Path | None = None) -> None:
    """Make a file as a whole in a directory that is there; whoever syncs that makes its name durable. Until
    it is whole it is `draft`, which must be nobody else's.
    """
    draft = draft or path.with_suffix(".new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
