"""Find what cannot be written among much that can, and tell it from what cannot be written now.

Pure: how to try is the caller's business.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import psycopg

from store.cursors import CursorMoved
from store.log import LogError

T = TypeVar("T")

WAITS: Final = (
    "08",  # connection
    "25006",  # read-only
    "25P03",  # … that was idle for too long
    "40",  # serialisation, deadlock
    "42501",  # no privilege
    "42P01",  # a table is missing, …
    "42703",  # … a column, …
    "42883",  # … a function, …
    "3F000",  # … the schema: another version's, or half restored
    "53",  # disk, memory, connections
    "55",  # locked, or not in the state for it
    "57",  # shut down, cancelled, starting
    "58",  # the server's files
)
"""SQLSTATEs, and beginnings of them, that say nothing about the data: trying again later is right."""
MOST_TRIES: Final = 400
"""So often is tried to tell what can be written from what cannot: some twenty that cannot among thousands.
What is still undecided then is taken for what cannot. It is kept, and nobody waits."""


def is_not_now(error: BaseException) -> bool:
    """Say whether an error is of the moment: the database, the log, the disk. Anything else is about what was
    written.
    """
    if isinstance(error, psycopg.Error):
        if error.sqlstate is not None:
            return error.sqlstate.startswith(WAITS)
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return isinstance(error, LogError | OSError | CursorMoved | MemoryError)


def poisonous(
    things: Sequence[T], can_be_written: Callable[[Sequence[T]], bool], most_tries: int = MOST_TRIES
) -> list[T]:
    """Give the things that cannot be written even alone, in order, by halving: k things among n take some
    2 k log n tries, and never more than `most_tries`.

    Things that only fail together with others are not found.
    """
    bad: list[T] = []
    stack = [things] if things else []
    while stack:
        part = stack.pop()
        if most_tries > 0 and can_be_written(part):
            most_tries -= 1
            continue
        if most_tries <= 0 or len(part) == 1:
            bad += part
            most_tries -= 1
            continue
        most_tries -= 1
        middle = len(part) // 2
        stack += [part[middle:], part[:middle]]
    return bad
