"""Sweeps contents of media that no row names: a shelf of 256 at each step, all of them twice a day."""

from datetime import datetime
from functools import cache, partial
from itertools import count
from pathlib import Path

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from store import media
from store.blobs import SHELVES, Blobs

EVERY_S = 12 * 3600 / SHELVES


@cache
def _turns(directory: Path) -> "count[int]":
    """Count the steps of this process."""
    return count()


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Sweep the next shelf."""
    directory = options.data_dir / "media"
    if not directory.exists():
        return Done()
    shelf = next(_turns(directory)) % SHELVES
    swept = Blobs(directory).sweep(shelf, partial(media.named, connection), now.timestamp())
    if not swept:
        return Done()
    what = f"swept {swept} contents of media from shelf {shelf:02x}"
    return Done(what, zh=f"已清理 {swept} 个不再使用的多媒体文件")


CHORE = Chore("media", every_s=EVERY_S, step=step)
