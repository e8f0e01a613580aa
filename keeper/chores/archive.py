"""Seals what the worker has consumed into the archive, and lets go of days that were kept long enough.

The worker comes first: what it has not consumed is not archived, and a log of which the archive is behind
grows. `keeper.archive = false` stops sealing, and logs are then deleted when they are consumed.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from keeper.retention import are_held, due
from protocol.columns import identities
from store import archive, expiry
from store.archive import BEIJING, SECOND_US, Archivist, Cadence
from store.chunk import About

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchiveDay:
    """A day of receipt."""

    day: date

    @property
    def begins_at(self) -> datetime:
        return datetime.combine(self.day, time(), UTC) - BEIJING

    @property
    def ends_at(self) -> datetime:
        return self.begins_at + timedelta(days=1)


@cache
def archivist(data_dir: Path, chunk_bytes: int) -> Archivist:
    """Give the one of this process: it remembers where the archive ends."""
    return Archivist(data_dir / "archive", data_dir / "log", identities, Cadence(chunk_bytes))


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Seal one chunk, or else remove the oldest day that is due."""
    if not options.archive:
        return _let_go(connection, options, now)
    seals = archivist(options.data_dir, options.chunk_bytes)
    sealed = seals.step(int(now.timestamp() * SECOND_US))
    done = _let_go(connection, options, now) if sealed is None else _sealed(sealed)
    return done._replace(tells={"set_aside": [each._asdict() for each in seals.set_aside]})


def _sealed(about: About) -> Done:
    amount = f"{about.frames} frames, {about.frame_bytes / MIB:.1f} MiB"
    zh = f"已封存 {about.day} 的第 {about.number} 个归档块，共 {about.frames} 帧"
    return Done(f"sealed chunk {about.number} of {about.day}: {amount}", more=True, zh=zh)


def _let_go(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Remove the oldest day that has been kept long enough. A hold on any part of a day keeps all of it."""
    directory = options.data_dir / "archive"
    days = due([ArchiveDay(day) for day in archive.days(directory)], options.retention, now)
    holds = expiry.holds(connection) if days else []
    for each in days:
        if not are_held(each, holds):
            why = f"kept for {options.retention.tracks.days} days"
            count = archive.remove_day(directory, each.day, why=why, now=now)
            zh = f"已删除 {each.day} 的 {count} 个到期归档块"
            chunks = "chunk" if count == 1 else "chunks"
            return Done(f"removed {count} {chunks} of {each.day}", more=True, zh=zh)
    return Done()


CHORE = Chore("archive", every_s=5, step=step)
