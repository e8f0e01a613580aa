"""The worker's state in a file, so that a start reads seconds of the log and not all of it.

One file, replaced as a whole: written beside, synced, renamed. It says of which logs and up to which
positions it is; a file that is damaged or of another version is as good as none.
"""

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import zstandard

from store.merge import Positions
from worker.fleet import Fleet

FILE_NAME = "snapshot.npz"
VERSION = 3
"""Goes up whenever the meaning of a state changes while its arrays look the same."""
PACKING_LEVEL = 1  # of zstd: half the bytes for next to no time


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A fleet as it was when the logs had been read up to `positions`."""

    positions: Positions
    fleet: Fleet


def save(directory: Path, snapshot: Snapshot) -> None:
    """Replace the snapshot; when this returns, it is on the disk."""
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / f"{FILE_NAME}.new"
    positions = snapshot.positions
    with draft.open("wb") as file:
        np.savez(
            file,
            version=np.int64(VERSION),
            logs=np.array([list(log_id.bytes) for log_id in positions], np.uint8).reshape(-1, 16),
            positions=np.array(list(positions.values()), np.int64),
            allow_pickle=False,
            **snapshot.fleet.to_arrays(),
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
