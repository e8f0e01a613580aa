"""The worker's state in a file, so that a start reads seconds of the log and not all of it.

One file, replaced as a whole: written beside, synced, renamed. It says of which log and up to which
position it is; a file that is damaged, of another log or of another version is as good as none.
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

from worker.fleet import Fleet

FILE_NAME = "snapshot.npz"
VERSION = 2
"""Goes up whenever the meaning of a state changes while its arrays look the same."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A fleet as it was when the log had been read up to `position`."""

    log_id: UUID
    position: int
    fleet: Fleet


def save(directory: Path, snapshot: Snapshot) -> None:
    """Replace the snapshot; when this returns, it is on the disk."""
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / f"{FILE_NAME}.new"
    about = np.array([VERSION, snapshot.position], np.int64)
    with draft.open("wb") as file:
        np.savez(
            file,
            about=about,
            log_id=np.frombuffer(snapshot.log_id.bytes, np.uint8),
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


def load(directory: Path, log_id: UUID) -> Snapshot | None:
    """Read the snapshot of this log; None where there is no usable one."""
    try:
        with np.load(directory / FILE_NAME, allow_pickle=False) as arrays:
            version, position = arrays["about"].tolist()
            if version != VERSION or arrays["log_id"].tobytes() != log_id.bytes:
                return None
            fleet = Fleet.from_arrays({name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Snapshot(log_id, position, fleet)
