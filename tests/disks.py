"""A disk that misbehaves on purpose: the log's `Storage` with a power switch, faults and a size."""

import errno
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from store.storage import Disk, DiskFile

Undo = tuple[int, bytes]
"""Where something was written, and what stood there before."""


@dataclass
class Doubt:
    """What of a file is in memory only."""

    unsynced: list[Undo] = field(default_factory=list)
    given_up: list[Undo] = field(default_factory=list)
    """Of failed syncs: a later sync reports success, and yet these may never have reached the medium."""


class FaultyFile(DiskFile):
    """A real file that remembers how to undo what was not synced."""

    def __init__(self, disk: "FaultyDisk", path: Path, descriptor: int) -> None:
        super().__init__(descriptor)
        self.path = path
        self.disk = disk

    def write(self, data: bytes, offset: int) -> None:
        self.disk.act("write")
        with self.path.open("rb") as file:
            file.seek(offset)
            before = file.read(len(data)).ljust(len(data), b"\0")
        self.disk.doubts[self.path].unsynced.append((offset, before))
        super().write(data, offset)

    def sync(self) -> None:
        doubt = self.disk.doubts[self.path]
        unsynced, doubt.unsynced = doubt.unsynced, []
        try:
            self.disk.act("sync")
        except OSError:
            doubt.given_up += unsynced
            raise
        super().sync()


class FaultyDisk(Disk):
    """A real disk in all that it keeps. What it does wrong is set by a test."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.doubts: defaultdict[Path, Doubt] = defaultdict(Doubt)
        self.fails: Callable[[str], bool] = lambda action: False
        """Given "write", "sync" or "create", says whether that fails now."""
        self.free = 1 << 40

    def act(self, action: str) -> None:
        if self.fails(action):
            raise OSError(errno.EIO, f"{action} fails because the test says so")

    def create(self, path: Path, head: bytes, size: int) -> FaultyFile:
        self.act("create")
        super().create(path, head, size).close()
        return self.open(path)

    def open(self, path: Path) -> FaultyFile:
        return FaultyFile(self, path, super().open(path)._descriptor)

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.doubts.pop(path, None)

    def free_bytes(self, directory: Path) -> int:
        return self.free

    def forget_cached(self, path: Path) -> None:
        doubt = self.doubts[path]
        self._lose(path, doubt.given_up)
        doubt.given_up = []

    def lose_power(self) -> None:
        """Everything not synced is in doubt, as after the plug was pulled."""
        for path, doubt in self.doubts.items():
            self._lose(path, doubt.given_up + doubt.unsynced)
        self.doubts.clear()

    def _lose(self, path: Path, undo: list[Undo]) -> None:
        """Lose writes: some whole, some in part; of those to one place the latest first."""
        one_place = path.name == "head"
        survivors = self.chance.randint(0, len(undo)) if one_place else 0
        for offset, before in reversed(undo[survivors:]):
            kept = (
                0 if one_place else self.chance.choice([0, self.chance.randint(0, len(before)), len(before)])
            )
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.seek(offset + kept)
                file.write(before[kept : max(kept, size - offset)])
