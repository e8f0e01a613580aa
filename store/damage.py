"""Damage in a log: where it is, and how readers come past it on a person's word.

Nothing is skipped in silence: a reader that meets bytes which are not what was written stops there, and
terminals are answered and wait in the log. A person then looks (`northwatch log`) and decides:

    find → keep the bytes beside the logs → audit → pass by

Exactly the damaged stretch is left out. It ends at the next record whose checksum holds; that begins with the
salt of the segment, so no terminal can have put one there. Where nothing is found, or the segment is of a
version without salt, it ends where the records of the segment do. Segments are not written: a file
beside them says what readers pass, and who has taken note of it.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from store.log import MIB, LogCorrupt, LogName, LogReader, Skip, keep_skips, skips_in
from store.merge import logs_in
from store.storage import keep_file

DIRECTORY: Final = "damaged"
"""Below that of the logs, where a log that is removed takes nothing along."""
READ_BYTES: Final = 4 * MIB


class Damage(NamedTuple):
    """A stretch of a log that is not what was written."""

    log: LogName
    begin: int
    end: int
    """Where readers can go on."""
    what: str
    data: bytes
    """What stands there; less than the stretch where a file is cut short."""
    head: bytes = b""
    """What can stand for the head of a segment, where that is what is damaged."""


def find(log: LogReader, *, is_archived: bool) -> Damage | None:
    """Read what worker, or worker and archive, have not done with, and give the first damage that readers do
    not pass yet.

    Raises:
        LogError: it cannot be read for another reason, or the head of the only segment is damaged.
    """
    try:
        position = max(min(log.consumed(), log.archived()) if is_archived else log.consumed(), log.start)
        while records := log.read(position, READ_BYTES):
            position = records[-1].next_position
    except LogCorrupt as corrupt:
        if corrupt.is_head:
            head = log.head_for(corrupt.position)
            end = corrupt.position + len(head)
            with corrupt.path.open("rb") as file:
                return Damage(log.name, corrupt.position, end, str(corrupt), file.read(len(head)), head)
        end, data = log.behind_damage(corrupt.position)
        return Damage(log.name, corrupt.position, end, str(corrupt), data)
    return None


def keep(logs: Path, damage: Damage) -> Path:
    """Keep the bytes of a damaged stretch in a file of their own, durable on return, and give its path."""
    path = logs / DIRECTORY / f"{damage.log.log_id}-{damage.begin}.bin"
    keep_file(path, [damage.data])
    return path


def pass_by(log: LogReader, damage: Damage, kept: Path, *, by: str, at: datetime) -> None:
    """Let readers pass a stretch whose bytes are kept."""
    skip = Skip(damage.begin, damage.end, by, at, kept.name, head=damage.head.hex())
    before = [each for each in skips_in(log.directory) if each.begin != damage.begin]
    keep_skips(log.directory, [*before, skip])


def unseen(logs: Path) -> Iterator[tuple[int, Skip]]:
    """Give what readers passed and nobody has taken note of, with the slot of its log."""
    for slot, directory in logs_in(logs).items():
        yield from ((slot, each) for each in skips_in(directory) if not each.seen_by)


def see(logs: Path, by: str) -> int:
    """Take note of all that readers passed, and say how many stretches these were."""
    count = 0
    for directory in logs_in(logs).values():
        skips = skips_in(directory)
        fresh = sum(not each.seen_by for each in skips)
        if fresh:
            keep_skips(
                directory,
                [each if each.seen_by else msgspec.structs.replace(each, seen_by=by) for each in skips],
            )
        count += fresh
    return count
