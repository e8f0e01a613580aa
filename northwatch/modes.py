"""Who may see what we write: the user that runs Northwatch, and its group to read. Nobody else.

One rule for all that lies in the data directory and in backups: no file and no directory has a bit of
`FORBIDDEN`. New files get it by the mask of every process of the program; what an older version, a copy or a
person left open is closed when the keeper starts.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FORBIDDEN: Final = 0o027
"""Everything for others, and writing for the group: 0640 and 0750 are the most open."""

NOT_OURS: Final = "database"
"""PostgreSQL keeps its own files closed, and would not start else."""


def keep_to_ourselves() -> None:
    """Have all that this process and its children make obey the rule."""
    os.umask(FORBIDDEN | os.umask(FORBIDDEN))


def open_to_others(data_dir: Path) -> Iterator[Path]:
    """Give what breaks the rule."""
    if _is_open(data_dir):
        yield data_dir
    with contextlib.suppress(OSError):
        for place in sorted(data_dir.iterdir()):
            if _is_open(place):
                yield place
            if place.name == NOT_OURS:
                continue
            # A place of its own may be a link to another disk; below it nothing is followed.
            for directory, names, files in os.walk(place.resolve()):
                yield from filter(_is_open, (Path(directory, name) for name in (*names, *files)))


def close(path: Path) -> bool:
    """Make a file or directory obey the rule, and say whether it does: it may be somebody else's."""
    try:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~FORBIDDEN)
    except OSError:
        return not _is_open(path)
    return True


def _is_open(path: Path) -> bool:
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:  # gone meanwhile
        return False
    return not stat.S_ISLNK(found.st_mode) and bool(found.st_mode & FORBIDDEN)
