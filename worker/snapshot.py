"""The worker's state in a file, so that a start reads seconds of the log and not all of it.

One file, replaced as a whole: written beside, synced, renamed. It says of which logs and up to which
positions it is; a file that is damaged or of another version is as good as none.

`Saver` writes it in a thread while the worker goes on, which stands still only for a copy in memory, and so
seldom that the disk is not kept busy: a snapshot may be as large as what was read of the log since the last
one, and a little more for a quiet log.
"""

import io
import os
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import numpy as np
import zstandard

from store.merge import Positions
from store.storage import make_directory
from worker.fleet import Arrays, Fleet

FILE_NAME = "snapshot.npz"
VERSION = 10
"""Goes up whenever the meaning of a state changes while its arrays look the same."""
PACKING_LEVEL = 1  # of zstd: half the bytes for next to no time

CALM_BYTES_PER_S: Final = 32 << 10
"""Snapshots of a quiet log may write so much: 2.8 GB a day. Ticks alone move the position every second."""
SELDOM: Final = 60
"""A snapshot is due after so many of its least intervals, however large it is: a start has to read the log
from there on."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A fleet as it was when the logs had been read up to `positions`."""

    positions: Positions
    fleet: Fleet


class Saver:
    """Replaces the snapshot every so often, beside the work.

    Args:
        least_s: the least time between two snapshots. With 0 each is due at once, and is on the disk before
            the work goes on.
    """

    def __init__(self, directory: Path, least_s: float) -> None:
        self._directory = directory
        self._least_s = least_s
        self._thread = ThreadPoolExecutor(1, "snapshot")
        self._saving: Future[None] | None = None
        self._began = float("-inf")
        self._size = self._read_bytes = 0
        """Of the last snapshot; of the log since."""

    def read(self, size: int) -> None:
        """Note that so much of the log was read."""
        self._read_bytes += size

    def is_due(self, now: float) -> bool:
        """Whether one may be begun: none is being written, and the last one is paid for. `now` is the time in
        seconds by a clock that does not go back.
        """
        if self._saving is not None:
            return False
        passed_s = now - self._began
        if passed_s < self._least_s:
            return False
        is_paid_for = self._size <= self._read_bytes + CALM_BYTES_PER_S * passed_s
        return is_paid_for or passed_s >= SELDOM * self._least_s

    def begin(self, snapshot: Snapshot, now: float) -> None:
        """Copy the snapshot in memory and begin to write it. Ask `finished` whether it is on the disk."""
        self._began, self._read_bytes = now, 0
        arrays = {name: array.copy() for name, array in snapshot.fleet.to_arrays().items()}
        self._size = sum(array.nbytes for array in arrays.values())
        self._saving = self._thread.submit(_write, self._directory, dict(snapshot.positions), arrays)

    def finished(self, *, wait: bool = False) -> bool:
        """Whether one that was begun has come to be on the disk since the last time this was asked.

        Raises:
            OSError: it could not be written.
        """
        if self._saving is None or not (wait or self._least_s == 0 or self._saving.done()):
            return False
        saving, self._saving = self._saving, None
        saving.result()
        return True

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown()


def _write(directory: Path, positions: Positions, arrays: Arrays) -> None:
    make_directory(directory)
    draft = directory / f"{FILE_NAME}.new"
    with draft.open("wb") as file:
        np.savez(
            file,
            version=np.int64(VERSION),
            logs=np.array([list(log_id.bytes) for log_id in positions], np.uint8).reshape(-1, 16),
            positions=np.array(list(positions.values()), np.int64),
            allow_pickle=False,
            **arrays,
        )
        file.flush()
        os.fsync(file.fileno())
    draft.replace(directory / FILE_NAME)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(directory: Path) -> Snapshot | None:
    """Read the snapshot; None where there is no usable one."""
    try:
        with np.load(directory / FILE_NAME, allow_pickle=False) as arrays:
            if arrays["version"] != VERSION:
                return None
            logs = [UUID(bytes=each.tobytes()) for each in arrays["logs"]]
            positions = dict(zip(logs, arrays["positions"].tolist(), strict=True))
            fleet = Fleet.from_arrays({name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Snapshot(positions, fleet)


def pack(fleet: Fleet) -> bytes:
    """Give a fleet as bytes, for those who keep it elsewhere."""
    buffer = io.BytesIO()
    np.savez(buffer, version=np.int64(VERSION), allow_pickle=False, **fleet.to_arrays())
    return zstandard.compress(buffer.getvalue(), PACKING_LEVEL)


def unpack(packed: bytes) -> Fleet:
    """Restore what `pack` gave.

    Raises:
        ValueError: another version packed it.
    """
    with np.load(io.BytesIO(zstandard.decompress(packed)), allow_pickle=False) as arrays:
        if arrays["version"] != VERSION:
            raise ValueError(f"the fleet is of version {arrays['version']}, this is {VERSION}")
        return Fleet.from_arrays({name: arrays[name] for name in arrays.files})
